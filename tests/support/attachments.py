"""Links, perf events, cgroup programs and network programs of every kind that a kernel takes.

Everything is made in an `ExitStack` and undone with it.  What the kernel refuses is written down in
`refused`, not raised, so that one table serves all kernels.  Run as a program, it makes them all,
tells what there is as one line of JSON and holds it until its standard input closes:

    python -m tests.support.attachments [links] [perf] [cgroups] [net]
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tests.support import asm, load
from tests.support.btfbuild import BtfBuilder, BtfIndex
from tests.support.load import AnyFd, Fd, int_fd

_KIND_FUNC, _KIND_STRUCT, _KIND_TYPEDEF = 12, 4, 8
_PERF_IOC_SET_BPF = 0x40042408
_PERF_IOC_ENABLE = 0x2400
_SOFTWARE, _TRACEPOINT, _HW_CACHE = 1, 2, 3
COOKIE = 0x1122334455667788


class Scene:
    """What was attached: `ids` is label -> link id, `refused` label -> reason."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.ids: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.links: dict[str, Fd] = {}
        self._vmlinux: BtfIndex | None = None
        self._progs: dict[tuple[object, ...], Fd] = {}

    @property
    def vmlinux(self) -> BtfIndex:
        """The kernel's BTF by names."""
        if self._vmlinux is None:
            self._vmlinux = BtfIndex.vmlinux()
        return self._vmlinux

    def kernel_id(self, kind: int, name: str) -> int:
        """A type id of the kernel's BTF; KeyError when it is missing."""
        return self.vmlinux.ids[kind, name]

    def prog(
        self, type: str, value: int = 0, *, attach: str | int = 0, name: str = "", flags: int = 0
    ) -> Fd:
        """A program that returns `value`; one for each set of words."""
        key = (type, value, attach, name, flags)
        if key not in self._progs:
            fd = load.prog_load(type, asm.ret(value), attach=attach, name=name or type, flags=flags)
            self._progs[key] = self.stack.enter_context(fd)
        return self._progs[key]

    def bound_prog(
        self, type: str, attach: str, kind: int, target: str, value: int = 0, copy: int = 0
    ) -> Fd:
        """A program bound to a function or typedef of the kernel's BTF."""
        key = (type, attach, target, copy)
        if key not in self._progs:
            id = self.kernel_id(kind, target)
            name = attach.rpartition("_")[2]
            fd = load.prog_load(type, asm.ret(value), attach=attach, attach_btf_id=id, name=name)
            self._progs[key] = self.stack.enter_context(fd)
        return self._progs[key]

    def link(self, label: str, make: Callable[[], Fd]) -> None:
        """Keep a link, or write down why there is none."""
        try:
            fd = make()
        except (OSError, LookupError, ValueError) as error:
            reason = error.reason if isinstance(error, load.KernelRefusal) else str(error)
            self.refused[label] = reason
            return
        self.links[label] = self.stack.enter_context(fd)
        self.ids[label] = load.object_id(fd, "link")

    def attempt(self, label: str, make: Callable[[], object]) -> None:
        """Do something that the kernel may refuse."""
        try:
            make()
        except (OSError, KeyError, ValueError) as error:
            self.refused[label] = str(error)


def memory(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Bytes at an address; keep the result for as long as the address is used."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


@contextlib.contextmanager
def mounted(fs_type: str) -> Iterator[str]:
    """A file system of this type, mounted for the time of the body where it is not."""
    with open("/proc/self/mounts", errors="surrogateescape") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == fs_type:
                yield fields[1]
                return
    libc = ctypes.CDLL(None, use_errno=True)
    path = tempfile.mkdtemp(prefix="pybt-")
    try:
        if libc.mount(fs_type.encode(), path.encode(), fs_type.encode(), ctypes.c_ulong(0), None):
            raise OSError(ctypes.get_errno(), "mount of %s" % fs_type)
        try:
            yield path
        finally:
            libc.umount2(path.encode(), 2)
    finally:
        os.rmdir(path)


# --- perf events --------------------------------------------------------------------------------


def perf_attr(type: int, config: int, config1: int = 0, config2: int = 0) -> bytes:
    """A `struct perf_event_attr` that counts and neither samples nor inherits."""
    size = 112
    attr = struct.pack("=IIQQQQQIIQQ", type, size, config, 0, 0, 0, 0, 0, 0, config1, config2)
    return attr.ljust(size, b"\0")


def perf_open(attr: bytes, pid: int = -1, cpu: int = 0) -> Fd:
    """A perf event on one CPU."""
    return load.perf_event_open(attr, pid, cpu)


def tracepoint_event(name: str) -> Fd:
    """A perf event of a tracepoint named ``group/event``."""
    with mounted("tracefs") as path, open("%s/events/%s/id" % (path, name)) as stream:
        number = int(stream.read())
    return perf_open(perf_attr(_TRACEPOINT, number))


def _pmu(name: str) -> int:
    with open("/sys/bus/event_source/devices/%s/type" % name) as stream:
        return int(stream.read())


def kprobe_event(function: str, offset: int = 0, *, is_return: bool = False) -> Fd:
    """A perf event of the kprobe PMU."""
    name = memory(function.encode() + b"\0")
    config = 1 if is_return else 0
    return perf_open(perf_attr(_pmu("kprobe"), config, ctypes.addressof(name), offset))


def kprobe_behind_entry() -> Fd:
    """A kprobe at the second instruction: behind endbr64 (4 bytes) or the call of ftrace (5)."""
    try:
        return kprobe_event("vfs_fsync_range", 4)
    except OSError:
        return kprobe_event("vfs_fsync_range", 5)


def uprobe_event(
    path: str, offset: int, *, is_return: bool = False, counter: int = 0, pid: int = -1
) -> Fd:
    """A perf event of the uprobe PMU; `counter` is the offset of a USDT semaphore."""
    name = memory(os.fsencode(path) + b"\0")
    config = (1 if is_return else 0) | counter << 32
    return perf_open(perf_attr(_pmu("uprobe"), config, ctypes.addressof(name), offset), pid)


def set_bpf(event: AnyFd, prog: AnyFd) -> None:
    """Attach a program the old way, without a link."""
    fcntl.ioctl(int_fd(event), _PERF_IOC_SET_BPF, int_fd(prog))


def probe_target(stack: contextlib.ExitStack) -> tuple[str, int]:
    """(path, file offset) of an instruction that nobody executes, for uprobes."""
    folder = tempfile.mkdtemp(prefix="pybt-up-")
    stack.callback(shutil.rmtree, folder)
    path = folder + "/target"
    shutil.copy("/bin/true", path)
    with open(path, "rb") as stream:
        head = stream.read(64)
        entry, program_headers = struct.unpack_from("<QQ", head, 24)
        size, count = struct.unpack_from("<HH", head, 54)
        stream.seek(program_headers)
        for _ in range(count):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", stream.read(size))
            if kind == 1 and address <= entry < address + length:
                return path, entry - address + offset
    raise ValueError("no entry point in %s" % path)


# --- links --------------------------------------------------------------------------------------


def add_links(scene: Scene) -> None:
    """Every type of link."""
    _simple_links(scene)
    _iterators(scene)
    _network_links(scene)
    _perf_links(scene)
    _multi_links(scene)
    _map_links(scene)


def _simple_links(scene: Scene) -> None:
    def raw() -> Fd:
        return scene.prog("raw_tracepoint", name="raw_tp")

    scene.link("raw_tp", lambda: load.raw_tracepoint_open(raw(), "sys_enter"))
    scene.link("raw_tp_cookie", lambda: load.raw_tracepoint_open(raw(), "sched_switch", COOKIE))
    bound: list[tuple[str, str, str, int, str]] = [
        ("tp_btf", "tracing", "trace_raw_tp", _KIND_TYPEDEF, "btf_trace_sched_switch"),
        ("fentry", "tracing", "trace_fentry", _KIND_FUNC, "bpf_fentry_test1"),
        ("fexit", "tracing", "trace_fexit", _KIND_FUNC, "bpf_fentry_test2"),
        ("fmod_ret", "tracing", "modify_return", _KIND_FUNC, "bpf_modify_return_test"),
        ("lsm", "lsm", "lsm_mac", _KIND_FUNC, "bpf_lsm_file_mprotect"),
    ]
    for row in bound:
        label = row[0]
        scene.link(label, partial(_bound_link, scene, row))
        if label in ("fentry", "tp_btf"):
            cookie = struct.pack("=IIQ", 0, 0, COOKIE + 1)
            scene.link(label + "_cookie", partial(_bound_link, scene, row, cookie))
    scene.link("freplace", lambda: _extension(scene))
    for number, (label, type, attach) in enumerate(
        (
            ("cgroup_egress", "cgroup_skb", "cgroup_inet_egress"),
            ("cgroup_device", "cgroup_device", "cgroup_device"),
            ("cgroup_connect", "cgroup_sock_addr", "cgroup_inet4_connect"),
        )
    ):
        scene.link(
            label,
            lambda row=(type, attach, number): _cgroup_link(scene, *row),  # type: ignore[misc]
        )
    scene.link("lsm_cgroup", lambda: _lsm_cgroup(scene))


def _cgroup_link(scene: Scene, type: str, attach: str, number: int) -> Fd:
    path = scene.stack.enter_context(load.temp_cgroup())
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    scene.stack.callback(os.close, fd)
    return load.link_create(scene.prog(type, 1, attach=attach), fd, attach)


def _lsm_cgroup(scene: Scene) -> Fd:
    prog = scene.bound_prog("lsm", "lsm_cgroup", _KIND_FUNC, "bpf_lsm_socket_bind", 1)
    path = scene.stack.enter_context(load.temp_cgroup())
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    scene.stack.callback(os.close, fd)
    return load.link_create(prog, fd, "lsm_cgroup")


def _extension(scene: Scene) -> Fd:
    """A freplace program on the global function of another program."""
    from tests.support.asm import R0, R1, Item
    from tests.support.debuginfo import Source

    source = Source()
    source.global_function("main", "pt_global_main")
    func = source.global_function("pub", "pt_global_sub", [("a", source.int)])
    body: list[Item] = [asm.label("main"), asm.mov64(R1, 1), asm.call_sub("pub"), asm.ret(0)]
    body += [asm.label("pub"), asm.mov64(R0, R1), asm.exit_()]
    target = scene.stack.enter_context(source.load("xdp", body, name="pt_global_main"))
    other = Source()
    other.global_function(0, "pt_replacement", [("a", other.int)])
    replacement = scene.stack.enter_context(
        other.load(
            "ext", [asm.ret(2)], name="pt_replacement", attach_btf_id=func, attach_prog=target
        )
    )
    return load.raw_tracepoint_open(replacement)


def _bound_link(scene: Scene, row: tuple[str, str, str, int, str], cookie: bytes = b"") -> Fd:
    """A link of a program bound to a function; a copy of the program for one with a cookie."""
    if cookie:
        return load.link_create(scene.bound_prog(*row[1:], 0, 1), 0, row[2], 0, cookie)
    return load.raw_tracepoint_open(scene.bound_prog(*row[1:]))


def _iterators(scene: Scene) -> None:
    """Iterators with each kind of target."""
    pid = os.getpid()
    array = scene.stack.enter_context(load.map_create("array", 4, 8, 2, name="iterated"))

    def iterator(target: str, info: bytes = b"") -> Fd:
        prog = scene.bound_prog("tracing", "trace_iter", _KIND_FUNC, "bpf_iter_" + target)
        data = memory(info)
        extra = struct.pack("=QI", ctypes.addressof(data), len(info)) if info else b""
        return load.link_create(prog, 0, "trace_iter", 0, extra)

    plain = "task task_file task_vma bpf_map bpf_prog bpf_link ksym tcp udp unix netlink ipv6_route"
    for name in plain.split():
        scene.link("iter_" + name, partial(iterator, name))
    for name in ("task", "task_file", "task_vma"):
        scene.link(f"iter_{name}_tid", partial(iterator, name, struct.pack("=III", pid, 0, 0)))
        scene.link(f"iter_{name}_pid", partial(iterator, name, struct.pack("=III", 0, pid, 0)))
    scene.link("iter_map_elem", lambda: iterator("bpf_map_elem", struct.pack("=I", int_fd(array))))
    with open("/proc/self/mounts", errors="surrogateescape") as mounts:
        roots = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
    for order in range(1, 5):
        root = os.open(roots[0], os.O_RDONLY | os.O_DIRECTORY) if roots else -1
        try:
            info = struct.pack("=IIQ", order, max(root, 0), 0)
            scene.link(f"iter_cgroup_{order}", partial(iterator, "cgroup", info))
        finally:
            if root >= 0:
                os.close(root)


def add_device(scene: Scene, name: str = "pybt_dev", *kind: str) -> int:
    """A dummy (or other) device in the current network namespace, its ifindex."""

    # A pair of veth where the kernel has no dummy.
    for words in (kind,) if kind else (("type", "dummy"), ("type", "veth")):
        try:
            load.ip("link", "add", name, *words)
            break
        except subprocess.CalledProcessError as error:
            refusal = error
    else:
        raise OSError(str(refusal.stderr).strip())
    scene.stack.callback(_delete_device, name)
    load.ip("link", "set", name, "up")
    return socket.if_nametoindex(name)


def _delete_device(name: str) -> None:
    subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


def _network_links(scene: Scene) -> None:
    prog = scene.prog
    try:
        index = add_device(scene)
    except Exception as error:
        scene.refused["network device"] = str(error)
        index = 0
    if index:

        def xdp() -> Fd:
            return prog("xdp", 2, attach="xdp", name="xdp_pass")

        scene.link("xdp", lambda: load.link_create(xdp(), index, "xdp", 2))
        for attach in ("tcx_ingress", "tcx_egress"):
            scene.link(
                attach,
                lambda attach=attach: load.link_create(  # type: ignore[misc]
                    prog("sched_cls", attach=attach), index, attach, 0, bytes(16)
                ),
            )
    _netkit(scene)
    gone = 0
    try:
        gone = add_device(scene, "pybt_gone")
    except Exception as error:
        scene.refused["device to remove"] = str(error)
    if gone:
        scene.link(
            "xdp_detached",
            lambda: load.link_create(prog("xdp", 2, attach="xdp", name="xdp_pass"), gone, "xdp", 2),
        )
        scene.link(
            "tcx_detached",
            lambda: load.link_create(
                prog("sched_cls", attach="tcx_ingress"), gone, "tcx_ingress", 0, bytes(16)
            ),
        )
        _delete_device("pybt_gone")
    with open("/proc/thread-self/ns/net") as netns:
        for attach, value in (("flow_dissector", 0), ("sk_lookup", 1)):
            scene.link(
                "netns_" + attach,
                lambda row=(attach, value): load.link_create(  # type: ignore[misc]
                    prog(row[0], row[1], attach=row[0]), netns.fileno(), row[0]
                ),
            )
    for pf, hook, priority in ((2, 0, -128), (10, 3, 10), (2, 4, 5)):
        extra = struct.pack("=IIiI", pf, hook, priority, 0)
        scene.link(
            f"netfilter_{pf}_{hook}",
            lambda extra=extra: load.link_create(  # type: ignore[misc]
                prog("netfilter", 1, attach="netfilter"), 0, "netfilter", 0, extra
            ),
        )


def add_netkit(scene: Scene, name: str = "pybt_nk") -> int:
    """A netkit pair (RTM_NEWLINK; iproute2 may not know the kind); the primary's ifindex."""

    def attr(number: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)

    info = attr(18, attr(1, b"netkit\0"))  # IFLA_LINKINFO, IFLA_INFO_KIND
    body = struct.pack("=BxHiII", 0, 0, 0, 1, 1) + attr(3, name.encode() + b"\0") + info
    flags = 1 | 4 | 0x200 | 0x400  # request, ack, exclusive, create
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.send(struct.pack("=IHHII", 16 + len(body), 16, flags, 1, 0) + body)
        error = struct.unpack_from("=i", sock.recv(8192), 16)[0]
    if error:
        raise OSError(-error, "creation of a netkit device: %s" % os.strerror(-error))
    scene.stack.callback(_delete_device, name)
    return socket.if_nametoindex(name)


def _netkit(scene: Scene) -> None:
    try:
        index = add_netkit(scene)
    except OSError as error:
        scene.refused["netkit device"] = str(error)
        return
    for attach in ("netkit_primary", "netkit_peer"):
        scene.link(
            attach,
            lambda attach=attach: load.link_create(  # type: ignore[misc]
                scene.prog("sched_cls", attach=attach), index, attach, 0, bytes(16)
            ),
        )


def _perf_links(scene: Scene) -> None:
    def perf_link(event: Fd, type: str, cookie: int) -> Fd:
        scene.stack.enter_context(event)
        prog = scene.prog(type, name=type)
        return load.link_create(prog, event, "perf_event", 0, struct.pack("=Q", cookie))

    for label, cookie, event in (("", 0, "exit"), ("_cookie", COOKIE + 2, "fork")):
        scene.link(
            "tracepoint" + label,
            lambda row=(event, cookie): perf_link(  # type: ignore[misc]
                tracepoint_event("sched/sched_process_" + row[0]), "tracepoint", row[1]
            ),
        )
        for is_return, name in ((False, "kprobe"), (True, "kretprobe")):
            scene.link(
                name + label,
                lambda row=(is_return, cookie): perf_link(  # type: ignore[misc]
                    kprobe_event("vfs_fsync_range", is_return=row[0]), "kprobe", row[1]
                ),
            )
    scene.link("kprobe_offset", lambda: perf_link(kprobe_behind_entry(), "kprobe", 0))
    path, offset = probe_target(scene.stack)
    for is_return, name in ((False, "uprobe"), (True, "uretprobe")):
        for label, cookie in (("", 0), ("_cookie", 7)):
            scene.link(
                name + label,
                lambda row=(is_return, cookie): perf_link(  # type: ignore[misc]
                    uprobe_event(path, offset, is_return=row[0]), "kprobe", row[1]
                ),
            )
    events = [("sw_%d" % config, _SOFTWARE, config) for config in range(12)]
    events += [("hw_%d" % config, 0, config) for config in (0, 1, 9)]
    events += [("cache_%x" % config, _HW_CACHE, config) for config in (0, 0x10000, 0x10202)]
    for label, type, config in events:
        scene.link(
            "event_" + label,
            lambda row=(type, config): perf_link(  # type: ignore[misc]
                perf_open(perf_attr(*row)), "perf_event", row[1]
            ),
        )


def _multi_links(scene: Scene) -> None:
    names = [memory(name + b"\0") for name in (b"vfs_fsync_range", b"vfs_mkdir", b"vfs_rmdir")]
    pointers = memory(struct.pack("=3Q", *map(ctypes.addressof, names)))
    cookies = memory(struct.pack("=3Q", 3, 1, COOKIE))
    for label, flags, values in (
        ("kprobe_multi", 0, 0),
        ("kprobe_multi_cookie", 0, ctypes.addressof(cookies)),
        ("kretprobe_multi", 1, 0),
    ):
        extra = struct.pack("=IIQQQ", flags, 3, ctypes.addressof(pointers), 0, values)
        scene.link(
            label,
            lambda extra=extra: load.link_create(  # type: ignore[misc]
                scene.prog("kprobe", attach="trace_kprobe_multi"),
                0,
                "trace_kprobe_multi",
                0,
                extra,
            ),
        )
    path, offset = probe_target(scene.stack)
    name = memory(path.encode() + b"\0")
    offsets = memory(struct.pack("=2Q", offset, offset + 4))
    for label, flags, pid in (("uprobe_multi", 0, 0), ("uretprobe_multi", 1, os.getpid())):
        extra = struct.pack(
            "=QQQQIIQ",
            ctypes.addressof(name),
            ctypes.addressof(offsets),
            0,
            ctypes.addressof(cookies),
            2,
            flags,
            pid,
        )
        scene.link(
            label,
            lambda extra=extra: load.link_create(  # type: ignore[misc]
                scene.prog("kprobe", attach="trace_uprobe_multi"),
                0,
                "trace_uprobe_multi",
                0,
                extra,
            ),
        )


def _map_links(scene: Scene) -> None:
    sockmap = scene.stack.enter_context(load.map_create("sockmap", 4, 4, 2, name="socks"))
    for label, type, attach in (
        ("sockmap_msg", "sk_msg", "sk_msg_verdict"),
        ("sockmap_skb", "sk_skb", "sk_skb_verdict"),
    ):
        scene.link(
            label,
            lambda row=(type, attach): load.link_create(  # type: ignore[misc]
                scene.prog(row[0], 1, attach=row[1]), sockmap, row[1]
            ),
        )
    scene.link("struct_ops", lambda: struct_ops(scene))


def kernel_struct(name: str) -> tuple[int, int, list[tuple[str, int]]]:
    """(type id, size, [(member, offset in bytes)]) of a struct of the kernel's BTF."""
    with open("/sys/kernel/btf/vmlinux", "rb") as stream:
        blob = stream.read()
    head, types, type_size, names, names_size = struct.unpack_from("<4x5I", blob)
    strings = blob[head + names : head + names + names_size]

    def text(at: int) -> str:
        return strings[at : strings.index(0, at)].decode()

    wanted = strings.index(b"\0%s\0" % name.encode()) + 1
    at, end, id = head + types, head + types + type_size, 1
    while at < end:
        name_at, info, size = struct.unpack_from("<III", blob, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        if kind == _KIND_STRUCT and name_at == wanted:
            rows = struct.iter_unpack("<III", blob[at + 12 : at + 12 + 12 * count])
            return id, size, [(text(row[0]), (row[2] & 0xFFFFFF) // 8) for row in rows]
        fixed, each = BtfIndex._TAIL.get(kind, (0, 0))
        at += 12 + fixed + each * count
        id += 1
    raise KeyError("the kernel has no struct %s" % name)


def struct_ops(scene: Scene) -> Fd:
    """A TCP congestion control of three functions that return constants."""
    ops, _, members = kernel_struct("tcp_congestion_ops")
    wrapper, size, outer = kernel_struct("bpf_struct_ops_tcp_congestion_ops")
    data_at = dict(outer)["data"]
    value = bytearray(size)
    for number, (name, offset) in enumerate(members):
        at = data_at + offset
        if name in ("ssthresh", "cong_avoid", "undo_cwnd"):
            prog = load.prog_load(
                "struct_ops", asm.ret(2), attach=number, attach_btf_id=ops, name="ops_" + name
            )
            scene.stack.enter_context(prog)
            struct.pack_into("=Q", value, at, int_fd(prog))
        elif name == "name":
            value[at : at + 8] = b"pybt_cc\0"
    # The kernel insists on a BTF object, although the value's type is its own.
    builder = BtfBuilder()
    builder.add_int("int", 4)
    with load.btf_load(builder.build()) as own_btf:
        map_fd = load.map_create(
            *("struct_ops", 4, size, 1),
            name="pybt_cc",
            flags=1 << 13,
            btf=own_btf,
            vmlinux_value=wrapper,
        )
    scene.stack.enter_context(map_fd)
    load.map_update(map_fd, bytes(4), bytes(value))
    return load.link_create(map_fd, 0, "struct_ops")


# --- perf ---------------------------------------------------------------------------------------


def add_perf(scene: Scene) -> None:
    """File descriptors that BPF_TASK_FD_QUERY knows."""
    path, offset = probe_target(scene.stack)

    def classic(event: Fd, type: str) -> None:
        scene.stack.enter_context(event)
        set_bpf(event, scene.prog(type, name=type))

    scene.attempt(
        "tracepoint", lambda: classic(tracepoint_event("sched/sched_process_exec"), "tracepoint")
    )  # noqa: E501
    scene.attempt("kprobe", lambda: classic(kprobe_event("vfs_fsync_range"), "kprobe"))
    scene.attempt("kprobe_offset", lambda: classic(kprobe_behind_entry(), "kprobe"))
    scene.attempt(
        "kretprobe", lambda: classic(kprobe_event("vfs_fsync_range", is_return=True), "kprobe")
    )
    scene.attempt("uprobe", lambda: classic(uprobe_event(path, offset), "kprobe"))
    scene.attempt(
        "uretprobe", lambda: classic(uprobe_event(path, offset, is_return=True), "kprobe")
    )
    scene.attempt("software", lambda: classic(perf_open(perf_attr(_SOFTWARE, 0)), "perf_event"))
    scene.attempt(
        "raw_tracepoint",
        lambda: scene.stack.enter_context(
            load.raw_tracepoint_open(scene.prog("raw_tracepoint", name="raw_tp"), "sys_enter")
        ),
    )


# --- cgroups ------------------------------------------------------------------------------------


def add_cgroups(scene: Scene) -> str:
    """A tree of three levels with programs of all flags; returns its root."""
    root = scene.stack.enter_context(load.temp_cgroup())
    multi, override = 2, 1

    def attach(path: str, type: str, kind: str, flags: int, value: int = 1) -> None:
        os.makedirs(path, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            prog = scene.prog(type, value, attach=kind, name=f"{type[:8]}_{flags}")
            load.prog_attach(fd, prog, kind, flags)
        finally:
            os.close(fd)

    rows = [
        ("", "cgroup_skb", "cgroup_inet_egress", multi, 1),
        ("", "cgroup_skb", "cgroup_inet_egress", multi, 0),
        ("/a", "cgroup_skb", "cgroup_inet_ingress", override, 1),
        ("/a", "cgroup_skb", "cgroup_inet_egress", multi, 1),
        ("/a/b", "cgroup_device", "cgroup_device", 0, 1),
        ("/a/b", "cgroup_sock_addr", "cgroup_inet4_connect", multi | 64, 1),
        ("/a/b/c", "cgroup_sysctl", "cgroup_sysctl", multi, 1),
        ("/a/b/c", "cgroup_sockopt", "cgroup_getsockopt", override, 1),
        ("/d/empty", "cgroup_skb", "", 0, 1),
        ("/e", "sock_ops", "cgroup_sock_ops", override, 1),
    ]
    for path, type, kind, flags, value in rows:
        if kind:
            label = f"cgroup {path} {kind} {flags}"
            scene.attempt(
                label,
                lambda row=(root + path, type, kind, flags, value): attach(*row),  # type: ignore[misc]
            )
        else:
            os.makedirs(root + path)
    for hook in ("bpf_lsm_socket_bind", "bpf_lsm_socket_connect"):
        scene.attempt("cgroup lsm " + hook, lambda hook=hook: _attach_lsm(scene, root + "/a", hook))  # type: ignore[misc]
    return root


def _attach_lsm(scene: Scene, path: str, hook: str) -> None:
    prog = scene.bound_prog("lsm", "lsm_cgroup", _KIND_FUNC, hook, 1)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        load.prog_attach(fd, prog, "lsm_cgroup", 2)
    finally:
        os.close(fd)


# --- the program --------------------------------------------------------------------------------


def main(words: Sequence[str]) -> int:
    """Make what `words` name (everything by default) and hold it."""
    wanted = set(words) or {"links", "perf", "cgroups", "net"}
    with contextlib.ExitStack() as stack:
        scene = Scene(stack)
        report: dict[str, object] = {}
        if "links" in wanted:
            add_links(scene)
        if "perf" in wanted:
            add_perf(scene)
        if "cgroups" in wanted:
            report["cgroup"] = add_cgroups(scene)
        if "net" in wanted:
            from tests.support.netdevs import add_net

            add_net(scene)
        report |= {"ids": scene.ids, "refused": scene.refused}
        print(json.dumps(report), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
