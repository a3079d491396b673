"""Thin wrappers of bpf(2) for tests, and the places that tests need.

Independent of `pybpftool`, so that no test checks code with itself.  Everything that opens a
kernel object returns an `Fd`, a context manager; errors are `KernelRefusal`, an `OSError` that
carries the verifier's log.  Layouts are those of `union bpf_attr` in `linux/bpf.h`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Union

_SYS_BPF = {
    "x86_64": 321,
    "i386": 357,
    "arm": 386,
    "aarch64": 280,
    "riscv64": 280,
    "s390x": 351,
    "ppc64le": 361,
}
_SYS_PERF_EVENT_OPEN = {
    "x86_64": 298,
    "i386": 336,
    "arm": 364,
    "aarch64": 241,
    "riscv64": 241,
    "s390x": 331,
    "ppc64le": 319,
}


def _numbered(words: str) -> dict[str, int]:
    """An enum of consecutive numbers from 0, by its words."""
    return {word: number for number, word in enumerate(words.split())}


# enum bpf_cmd
CMD = _numbered(
    "map_create map_lookup map_update map_delete map_next_key prog_load obj_pin obj_get "
    "prog_attach prog_detach prog_test_run prog_next_id map_next_id prog_fd_by_id "
    "map_fd_by_id obj_info prog_query raw_tp_open btf_load btf_fd_by_id task_fd_query "
    "map_lookup_delete map_freeze btf_next_id map_lookup_batch map_lookup_delete_batch "
    "map_update_batch map_delete_batch link_create link_update link_fd_by_id link_next_id "
    "enable_stats iter_create link_detach prog_bind_map token_create prog_stream_read"
)
# enum bpf_prog_type, by the names that bpftool shows
PROG_TYPE = _numbered(
    "unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb "
    "cgroup_sock lwt_in lwt_out lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint "
    "cgroup_sock_addr lwt_seg6local lirc_mode2 sk_reuseport flow_dissector cgroup_sysctl "
    "raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm sk_lookup syscall "
    "netfilter"
)
# enum bpf_attach_type
ATTACH = _numbered(
    "cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create cgroup_sock_ops "
    "sk_skb_stream_parser sk_skb_stream_verdict cgroup_device sk_msg_verdict "
    "cgroup_inet4_bind cgroup_inet6_bind cgroup_inet4_connect cgroup_inet6_connect "
    "cgroup_inet4_post_bind cgroup_inet6_post_bind cgroup_udp4_sendmsg cgroup_udp6_sendmsg "
    "lirc_mode2 flow_dissector cgroup_sysctl cgroup_udp4_recvmsg cgroup_udp6_recvmsg "
    "cgroup_getsockopt cgroup_setsockopt trace_raw_tp trace_fentry trace_fexit modify_return "
    "lsm_mac trace_iter cgroup_inet4_getpeername cgroup_inet6_getpeername "
    "cgroup_inet4_getsockname cgroup_inet6_getsockname xdp_devmap cgroup_inet_sock_release "
    "xdp_cpumap sk_lookup xdp sk_skb_verdict sk_reuseport_select "
    "sk_reuseport_select_or_migrate perf_event trace_kprobe_multi lsm_cgroup struct_ops "
    "netfilter tcx_ingress tcx_egress trace_uprobe_multi cgroup_unix_connect "
    "cgroup_unix_sendmsg cgroup_unix_recvmsg cgroup_unix_getpeername cgroup_unix_getsockname "
    "netkit_primary netkit_peer trace_kprobe_session trace_uprobe_session"
)
# enum bpf_map_type
MAP_TYPE = _numbered(
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace "
    "cgroup_array lru_hash lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap "
    "cpumap xskmap sockhash cgroup_storage reuseport_sockarray percpu_cgroup_storage queue "
    "stack sk_storage devmap_hash struct_ops ringbuf inode_storage task_storage bloom_filter "
    "user_ringbuf cgrp_storage arena insn_array"
)
# map_flags
F_NO_PREALLOC = 1
F_RDONLY_PROG = 1 << 7
F_MMAPABLE = 1 << 10
F_INNER_MAP = 1 << 12
# prog_flags
F_STRICT_ALIGNMENT = 1
F_ANY_ALIGNMENT = 2
F_SLEEPABLE = 1 << 4
F_XDP_HAS_FRAGS = 1 << 5
F_XDP_DEV_BOUND_ONLY = 1 << 6

_LOG_SIZE = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class KernelRefusal(OSError):
    """bpf(2) failed; `log` holds what the verifier (or the BTF checker) wrote."""

    def __init__(self, number: int, what: str, log: str = "") -> None:
        tail = " | ".join(line for line in log.strip().splitlines()[-4:])
        text = os.strerror(number) + (" [%s]" % tail if tail else "")
        super().__init__(number, "%s: %s" % (what, text))
        self.log = log

    @property
    def reason(self) -> str:
        """One line that says why."""
        return str(self.strerror)


class Fd:
    """An owned file descriptor; closing twice is harmless."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """The number, for os and fcntl functions."""
        return self.fd

    __index__ = fileno

    def close(self) -> None:
        """Give the object back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Fd(%d)" % self.fd


AnyFd = Union[int, Fd]


def _syscall(table: dict[str, int]) -> int:
    machine = platform.machine()
    if sys.maxsize < 1 << 32:
        machine = {"x86_64": "i386", "i686": "i386", "aarch64": "arm"}.get(machine, machine)
    if machine not in table:
        raise KernelRefusal(errno.ENOSYS, "no system call number known for %s" % machine)
    return table[machine]


def bpf(cmd: str, attr: bytes, what: str = "") -> int:
    """The system call; `attr` is cut to what is needed by the caller.  Returns its result."""
    buffer = ctypes.create_string_buffer(attr, max(len(attr), 1))
    return _bpf(cmd, buffer, len(attr), what)


def _bpf(cmd: str, buffer: ctypes.Array[ctypes.c_char], size: int, what: str = "") -> int:
    result = _libc.syscall(
        ctypes.c_long(_syscall(_SYS_BPF)),
        ctypes.c_int(CMD[cmd]),
        ctypes.byref(buffer),
        ctypes.c_uint(size),
    )
    if result < 0:
        raise KernelRefusal(ctypes.get_errno(), what or cmd)
    return int(result)


def _address(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, max(len(data), 1))


def _trim(attr: bytes, least: int) -> bytes:
    """Cut trailing zero words, which an older kernel with a shorter union need not see."""
    end = len(attr)
    while end > least and attr[end - 4 : end] == b"\0\0\0\0":
        end -= 4
    return attr[:end]


def _name(name: str | bytes) -> bytes:
    data = name.encode() if isinstance(name, str) else name
    return data[:15].ljust(16, b"\0")


# --- programs -----------------------------------------------------------------------------------


def prog_load(
    prog_type: str | int,
    code: bytes,
    *,
    attach: str | int = 0,
    name: str | bytes = "",
    license: str = "GPL",  # the kernel's own name for it
    flags: int = 0,
    btf: AnyFd | None = None,
    func_info: Sequence[tuple[int, int]] = (),
    line_info: Sequence[tuple[int, int, int, int]] | bytes = (),
    attach_btf_id: int = 0,
    attach_prog: AnyFd | None = None,
    attach_btf_obj: AnyFd | None = None,
    ifindex: int = 0,
    kern_version: int = 0,
    fd_array: Sequence[AnyFd] | None = None,
    fd_array_cnt: int = 0,
) -> Fd:
    """BPF_PROG_LOAD.

    `name` is cut to the kernel's 15 characters (the full one comes from func_info's BTF).
    `func_info` is (slot, FUNC id) per function; `line_info` is (slot, file_name_off, line_off,
    line << 10 | column), or those packed.  The load is repeated with a log when it fails.
    """
    insns = _buffer(code)
    lic = _buffer(license.encode() + b"\0")
    funcs = _buffer(b"".join(struct.pack("=II", *row) for row in func_info)) if func_info else None
    packed = (
        line_info
        if isinstance(line_info, bytes)
        else b"".join(struct.pack("=IIII", *row) for row in line_info)
    )
    lines = _buffer(packed) if packed else None
    fds = _buffer(struct.pack("=%di" % len(fd_array), *map(int_fd, fd_array))) if fd_array else None
    target = attach_prog if attach_prog is not None else attach_btf_obj

    def attr(log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        return struct.pack(
            "=IIQQIIQII16sIIIIQIIQIIIIQQIIiI",
            PROG_TYPE[prog_type] if isinstance(prog_type, str) else prog_type,
            len(code) // 8,
            _address(insns),
            _address(lic),
            1 if log is not None else 0,
            len(log) if log is not None else 0,
            _address(log),
            kern_version,
            flags,
            _name(name),
            ifindex,
            ATTACH[attach] if isinstance(attach, str) else attach,
            int_fd(btf) if btf is not None else 0,
            8 if func_info else 0,
            _address(funcs),
            len(func_info),
            16 if packed else 0,
            _address(lines),
            len(packed) // 16,
            attach_btf_id,
            int_fd(target) if target is not None else 0,
            0,
            _address(fds),
            0,
            0,
            0,
            0,
            fd_array_cnt,
        )

    what = "load of %s program %r" % (prog_type, name)
    try:
        return Fd(bpf("prog_load", _trim(attr(None), 48), what))
    except KernelRefusal as error:
        if error.errno in (errno.EPERM, errno.EMFILE, errno.E2BIG, errno.ENFILE):
            raise
        log = ctypes.create_string_buffer(_LOG_SIZE)
        try:
            return Fd(bpf("prog_load", _trim(attr(log), 48), what))
        except KernelRefusal as again:
            number = error.errno if again.errno == errno.ENOSPC else again.errno
            text = log.value.decode("utf-8", "replace")
            raise KernelRefusal(number or errno.EINVAL, what, text) from None


def int_fd(fd: AnyFd) -> int:
    """The descriptor's number."""
    return fd.fd if isinstance(fd, Fd) else fd


def prog_test_run(
    prog: AnyFd,
    data_in: bytes = b"",
    *,
    data_size_out: int = 0,
    ctx_in: bytes = b"",
    repeat: int = 0,
    flags: int = 0,
) -> tuple[int, bytes]:
    """BPF_PROG_TEST_RUN; returns (retval, data_out)."""
    data = _buffer(data_in) if data_in else None
    out = ctypes.create_string_buffer(data_size_out) if data_size_out else None
    ctx = _buffer(ctx_in) if ctx_in else None
    attr = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQIIII",
            int_fd(prog),
            0,
            len(data_in),
            data_size_out,
            _address(data),
            _address(out),
            repeat,
            0,
            len(ctx_in),
            0,
            _address(ctx),
            0,
            flags,
            0,
            0,
            0,
        ),
        80,
    )
    _bpf("prog_test_run", attr, 80)
    retval, _, size_out = struct.unpack_from("=III", attr.raw, 4)
    return retval, out.raw[:size_out] if out is not None else b""


def prog_bind_map(prog: AnyFd, map_fd: AnyFd) -> None:
    """BPF_PROG_BIND_MAP: the program holds a map that its code does not name."""
    bpf("prog_bind_map", struct.pack("=III", int_fd(prog), int_fd(map_fd), 0))


def prog_attach(target: AnyFd, prog: AnyFd, attach: str | int, flags: int = 0) -> None:
    """BPF_PROG_ATTACH (cgroups, sockmaps, flow dissector: target 0)."""
    kind = ATTACH[attach] if isinstance(attach, str) else attach
    bpf("prog_attach", struct.pack("=IIII", int_fd(target), int_fd(prog), kind, flags))


def prog_detach(target: AnyFd, prog: AnyFd, attach: str | int) -> None:
    """BPF_PROG_DETACH."""
    kind = ATTACH[attach] if isinstance(attach, str) else attach
    bpf("prog_detach", struct.pack("=III", int_fd(target), int_fd(prog), kind))


def raw_tracepoint_open(prog: AnyFd, name: str | None = None, cookie: int = 0) -> Fd:
    """BPF_RAW_TRACEPOINT_OPEN; without a name for tracing and LSM programs."""
    text = _buffer(name.encode() + b"\0") if name is not None else None
    attr = struct.pack("=QIIQ", _address(text), int_fd(prog), 0, cookie)
    return Fd(bpf("raw_tp_open", _trim(attr, 16)))


def link_create(
    prog: AnyFd, target: AnyFd, attach: str | int, flags: int = 0, extra: bytes = b""
) -> Fd:
    """BPF_LINK_CREATE; `target` is a descriptor or ifindex, `extra` the kind's own fields."""
    kind = ATTACH[attach] if isinstance(attach, str) else attach
    attr = struct.pack("=IIII", int_fd(prog), int_fd(target), kind, flags) + extra
    return Fd(bpf("link_create", attr))


def iter_create(link: AnyFd) -> Fd:
    """BPF_ITER_CREATE: a readable file."""
    return Fd(bpf("iter_create", struct.pack("=II", int_fd(link), 0)))


def perf_event_open(attr: bytes, pid: int, cpu: int, group: int = -1, flags: int = 8) -> Fd:
    """perf_event_open(2); `attr` is a packed `struct perf_event_attr`, flags 8 is CLOEXEC."""
    buffer = _buffer(attr)
    result = _libc.syscall(
        ctypes.c_long(_syscall(_SYS_PERF_EVENT_OPEN)),
        ctypes.byref(buffer),
        ctypes.c_int(pid),
        ctypes.c_int(cpu),
        ctypes.c_int(group),
        ctypes.c_ulong(flags),
    )
    if result < 0:
        raise KernelRefusal(ctypes.get_errno(), "perf_event_open")
    return Fd(int(result))


# --- maps ---------------------------------------------------------------------------------------


def map_create(
    map_type: str | int,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    name: str | bytes = "",
    flags: int = 0,
    inner: AnyFd | None = None,
    numa_node: int = 0,
    ifindex: int = 0,
    btf: AnyFd | None = None,
    btf_key: int = 0,
    btf_value: int = 0,
    vmlinux_value: int = 0,
    extra: int = 0,
    value_btf_obj: AnyFd | None = None,
) -> Fd:
    """BPF_MAP_CREATE.  `extra` is map_extra (bloom hashes, arena address)."""
    attr = struct.pack(
        "=IIIIIII16sIIIIIQi",
        MAP_TYPE[map_type] if isinstance(map_type, str) else map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        int_fd(inner) if inner is not None else 0,
        numa_node,
        _name(name),
        ifindex,
        int_fd(btf) if btf is not None else 0,
        btf_key,
        btf_value,
        vmlinux_value,
        extra,
        int_fd(value_btf_obj) if value_btf_obj is not None else 0,
    )
    return Fd(bpf("map_create", _trim(attr, 44), "creation of %s map %r" % (map_type, name)))


def _map_elem(cmd: str, map_fd: AnyFd, key: bytes | None, value: int, flags: int) -> None:
    key_buffer = _buffer(key) if key is not None else None
    bpf(cmd, struct.pack("=IIQQQ", int_fd(map_fd), 0, _address(key_buffer), value, flags))


def map_update(map_fd: AnyFd, key: bytes | None, value: bytes, flags: int = 0) -> None:
    """BPF_MAP_UPDATE_ELEM; no key for queues and Bloom filters."""
    buffer = _buffer(value)
    _map_elem("map_update", map_fd, key, ctypes.addressof(buffer), flags)


def map_lookup(map_fd: AnyFd, key: bytes | None, value_size: int, flags: int = 0) -> bytes:
    """BPF_MAP_LOOKUP_ELEM; per-CPU maps return round_up(value, 8) bytes per possible CPU."""
    buffer = ctypes.create_string_buffer(value_size)
    _map_elem("map_lookup", map_fd, key, ctypes.addressof(buffer), flags)
    return buffer.raw


def map_delete(map_fd: AnyFd, key: bytes) -> None:
    """BPF_MAP_DELETE_ELEM."""
    _map_elem("map_delete", map_fd, key, 0, 0)


def map_freeze(map_fd: AnyFd) -> None:
    """BPF_MAP_FREEZE: no writes from user space any more."""
    bpf("map_freeze", struct.pack("=I", int_fd(map_fd)))


# --- BTF, ids, pins -----------------------------------------------------------------------------


def btf_load(blob: bytes) -> Fd:
    """BPF_BTF_LOAD."""
    data = _buffer(blob)
    try:
        return Fd(bpf("btf_load", struct.pack("=QQII", _address(data), 0, len(blob), 0)))
    except KernelRefusal as error:
        if error.errno == errno.EPERM:
            raise
        log = ctypes.create_string_buffer(1 << 16)
        attr = struct.pack("=QQIII", _address(data), _address(log), len(blob), len(log), 1)
        try:
            return Fd(bpf("btf_load", attr))
        except KernelRefusal as again:
            text = log.value.decode("utf-8", "replace")
            raise KernelRefusal(again.errno or errno.EINVAL, "btf_load", text) from None


_KINDS = ("prog", "map", "btf", "link")


def fd_by_id(kind: str, object_id: int) -> Fd:
    """Open a program, map, BTF object or link by id."""
    return Fd(bpf(kind + "_fd_by_id", struct.pack("=III", object_id, 0, 0)))


def all_ids(kind: str) -> list[int]:
    """Ids of every program, map, BTF object or link, ascending."""
    ids: list[int] = []
    attr = ctypes.create_string_buffer(12)
    current = 0
    while True:
        struct.pack_into("=III", attr, 0, current, 0, 0)
        try:
            _bpf(kind + "_next_id", attr, 12)
        except KernelRefusal as error:
            if error.errno == errno.ENOENT:
                return ids
            raise
        current = struct.unpack_from("=I", attr.raw, 4)[0]
        ids.append(current)


def left(kind: str, ids: Iterable[int], seconds: float = 20) -> set[int]:
    """Which of the objects are there still: the kernel frees some a moment after the last user."""
    end = time.monotonic() + seconds
    while True:
        found = set(ids) & set(all_ids(kind))
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def info(fd: AnyFd, size: int = 256) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD without any buffers: the kernel's bytes, as many as it knows."""
    data = ctypes.create_string_buffer(size)
    attr = ctypes.create_string_buffer(
        struct.pack("=IIQ", int_fd(fd), size, ctypes.addressof(data)), 16
    )
    _bpf("obj_info", attr, 16)
    return data.raw[: struct.unpack_from("=I", attr.raw, 4)[0]]


def object_id(fd: AnyFd, kind: str = "prog") -> int:
    """Id of a program, map or link (second field of its info) or of a BTF object (third)."""
    data = info(fd, 16 if kind == "btf" else 256)
    layout = {"prog": 4, "map": 4, "link": 4, "btf": 12}
    return int(struct.unpack_from("=I", data, layout[kind])[0])


def prog_tag(fd: AnyFd) -> str:
    """The program's tag in hexadecimal."""
    return info(fd)[8:16].hex()


def obj_pin(fd: AnyFd, path: str) -> None:
    """BPF_OBJ_PIN."""
    text = _buffer(os.fsencode(path) + b"\0")
    bpf("obj_pin", struct.pack("=QII", _address(text), int_fd(fd), 0), "pin at %s" % path)


def obj_get(path: str) -> Fd:
    """BPF_OBJ_GET."""
    text = _buffer(os.fsencode(path) + b"\0")
    return Fd(bpf("obj_get", struct.pack("=QII", _address(text), 0, 0), "get of %s" % path))


# --- privilege ----------------------------------------------------------------------------------


def why_no_bpf() -> str:
    """Why live tests can't run here; empty when they can."""
    try:
        prog_load("socket_filter", bytes.fromhex("b7000000000000009500000000000000")).close()
        all_ids("prog")
    except OSError as error:
        return "bpf(2) is not usable here: %s" % (error.strerror or error)
    return ""


def have_cap_bpf() -> bool:
    """Can this process load programs and walk ids?"""
    return not why_no_bpf()


def requires_bpf() -> None:
    """Skip the running pytest test when bpf(2) is not usable."""
    import pytest

    reason = why_no_bpf()
    if reason:
        pytest.skip(reason)


def possible_cpus() -> int:
    """Number of possible CPUs: the length of per-CPU values."""
    with open("/sys/devices/system/cpu/possible") as stream:
        last = stream.read().strip().split(",")[-1].split("-")[-1]
    return int(last) + 1


# --- places -------------------------------------------------------------------------------------


def _mounts(fs_type: str) -> list[str]:
    with open("/proc/self/mounts", "rb") as stream:
        rows = [line.split(b" ") for line in stream]
    # The kernel writes blanks and backslashes as three octal digits.
    return [
        os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), row[1]))
        for row in rows
        if row[2] == fs_type.encode()
    ]


_MNT_DETACH = 2


def _mount(source: str, target: str, fs_type: str, flags: int = 0) -> None:
    if _libc.mount(source.encode(), target.encode(), fs_type.encode(), ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, "mount of %s at %s: %s" % (fs_type, target, os.strerror(number)))


def own_mounts() -> None:
    """Give this process a mount namespace of its own, of which others see nothing."""
    if _libc.unshare(ctypes.c_int(_CLONE_NEWNS)):
        number = ctypes.get_errno()
        raise OSError(number, "unshare of the mounts: %s" % os.strerror(number))
    if _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None):
        number = ctypes.get_errno()
        raise OSError(number, "private mounts: %s" % os.strerror(number))


@contextlib.contextmanager
def mounted_bpffs() -> Iterator[str]:
    """A bpf file system that is mounted for the time."""
    place = tempfile.mkdtemp(prefix="pybt-bpffs-")
    try:
        _mount("bpf", place, "bpf")
        try:
            yield place
        finally:
            _libc.umount2(place.encode(), _MNT_DETACH)
    finally:
        os.rmdir(place)


@contextlib.contextmanager
def temp_bpffs(is_open: bool = False) -> Iterator[str]:
    """A fresh directory in a bpffs: a mounted one, else one mounted for the time.

    `is_open`: one mounted for the time, which everybody may enter.
    """
    with contextlib.ExitStack() as stack:
        places = _mounts("bpf")
        if places and not is_open:
            place = places[0]
        else:
            place = tempfile.mkdtemp(prefix="pybt-bpffs-")
            stack.callback(os.rmdir, place)
            _mount("bpf", place, "bpf")
            stack.callback(_libc.umount2, place.encode(), _MNT_DETACH)
            if is_open:
                os.chmod(place, 0o755)
        # Not the mounted root: kernels may keep iterators of their own there
        # (CONFIG_BPF_PRELOAD), which cannot be unlinked.
        path = tempfile.mkdtemp(prefix="pybt-", dir=place)
        if is_open:
            os.chmod(path, 0o755)
        try:
            yield path
        finally:
            shutil.rmtree(path)


@contextlib.contextmanager
def temp_cgroup() -> Iterator[str]:
    """A fresh cgroup2 directory; the hierarchy is mounted for the time when it is not."""
    with contextlib.ExitStack() as stack:
        places = _mounts("cgroup2")
        if places:
            root = places[0]
        else:
            root = tempfile.mkdtemp(prefix="pybt-cgroup-")
            stack.callback(os.rmdir, root)
            _mount("none", root, "cgroup2")
            stack.callback(_libc.umount2, root.encode(), _MNT_DETACH)
        path = tempfile.mkdtemp(prefix="pybt-", dir=root)
        try:
            yield path
        finally:
            # cgroups go innermost first; their files go with them
            for folder, _, _ in os.walk(path, topdown=False):
                os.rmdir(folder)


_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def temp_netns() -> Iterator[int]:
    """Run the body in a network namespace of its own; yields the namespace's descriptor.

    Only the calling thread moves.  Programs and links made in the body belong to it.
    """
    with open("/proc/thread-self/ns/net", "rb") as old:
        if _libc.unshare(ctypes.c_int(_CLONE_NEWNET)):
            number = ctypes.get_errno()
            raise OSError(number, "unshare of the network: %s" % os.strerror(number))
        try:
            with open("/proc/thread-self/ns/net", "rb") as new:
                yield new.fileno()
        finally:
            if _libc.setns(old.fileno(), ctypes.c_int(_CLONE_NEWNET)):
                number = ctypes.get_errno()
                raise OSError(number, "return to the old network: %s" % os.strerror(number))


def ip(*words: str) -> None:
    """Run ip(8); CalledProcessError with its words when it fails."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def sysctl(name: str, value: str) -> Iterator[str]:
    """Set /proc/sys/`name` for the time of the body; yields the old value."""
    path = "/proc/sys/" + name.replace(".", "/")
    with open(path) as stream:
        before = stream.read().strip()
    if before != value:
        with open(path, "w") as stream:
            stream.write(value)
    try:
        yield before
    finally:
        if before != value:
            with open(path, "w") as stream:
                stream.write(before)


def close_all(fds: Iterable[AnyFd]) -> None:
    """Close many descriptors."""
    for fd in fds:
        if isinstance(fd, Fd):
            fd.close()
        else:
            os.close(fd)


def page_size() -> int:
    """Bytes of a page: the unit of ring buffers and arenas."""
    return mmap.PAGESIZE
