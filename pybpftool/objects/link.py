"""Links: what ``struct bpf_link_info`` and its surroundings say of each attachment."""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError, FormatError
from pybpftool.uapi.bpf import LINK_TYPES, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pybpftool.kernel.interface import BpfObject, Kernel

# Numbers of enum bpf_link_type.
RAW_TRACEPOINT, TRACING, CGROUP, ITER, NETNS, XDP, PERF_EVENT, KPROBE_MULTI = range(1, 9)
STRUCT_OPS, NETFILTER, TCX, UPROBE_MULTI, NETKIT, SOCKMAP = range(9, 15)
# Numbers of enum bpf_perf_event_type.
_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT, _EVENT = range(1, 7)

_MULTI_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN and BPF_F_UPROBE_MULTI_RETURN

# From 6.9 on the kernel tells the cookies of perf event links ("bpf: Add cookie to
# perf_event bpf_link_info records"); the size of its struct alone does not show that.
_COOKIE_RELEASE = (6, 9)
_COOKIE_INFO_SIZE = 64


class RawTracepoint:
    """A raw tracepoint."""

    __slots__ = ("cookie", "tp_name")

    def __init__(self, tp_name: str, cookie: int) -> None:
        self.tp_name = tp_name
        self.cookie = cookie


class Tracing:
    """A function, BTF tracepoint, LSM hook or program, named by a BTF object and type id.

    ``target_obj_id`` is the id of a BTF object, or of a program that is extended.
    """

    __slots__ = ("attach_type", "cookie", "prog_type", "target_btf_id", "target_obj_id")

    def __init__(
        self, prog_type: int, attach_type: int, obj_id: int, btf_id: int, cookie: int
    ) -> None:
        self.prog_type = prog_type
        self.attach_type = attach_type
        self.target_obj_id = obj_id
        self.target_btf_id = btf_id
        self.cookie = cookie

    @property
    def prog_type_name(self) -> str | None:
        """The name of the program's type, None when this version does not know it."""
        return PROG_TYPES[self.prog_type] if self.prog_type < len(PROG_TYPES) else None


class Cgroup:
    """A cgroup, named by the inode number of its directory."""

    __slots__ = ("attach_type", "cgroup_id")

    def __init__(self, cgroup_id: int, attach_type: int) -> None:
        self.cgroup_id = cgroup_id
        self.attach_type = attach_type


class Iter:
    """An iterator; which of the numbers mean something depends on ``target_name``."""

    __slots__ = ("cgroup_id", "map_id", "order", "pid", "target_name", "tid")

    def __init__(
        self, target_name: str, map_id: int, cgroup_id: int, order: int, tid: int, pid: int
    ) -> None:
        self.target_name = target_name
        self.map_id = map_id
        self.cgroup_id = cgroup_id
        self.order = order
        self.tid = tid
        self.pid = pid


class Netns:
    """A network namespace."""

    __slots__ = ("attach_type", "netns_ino")

    def __init__(self, netns_ino: int, attach_type: int) -> None:
        self.netns_ino = netns_ino
        self.attach_type = attach_type


class Device:
    """A network device: XDP, tcx and netkit. ``ifindex`` is 0 once the device is gone.

    ``attach_type`` is None for XDP, whose link does not tell it.
    """

    __slots__ = ("attach_type", "ifindex")

    def __init__(self, ifindex: int, attach_type: int | None) -> None:
        self.ifindex = ifindex
        self.attach_type = attach_type


class StructOps:
    """A struct_ops map."""

    __slots__ = ("map_id",)

    def __init__(self, map_id: int) -> None:
        self.map_id = map_id


class Sockmap:
    """A sockmap or sockhash."""

    __slots__ = ("attach_type", "map_id")

    def __init__(self, map_id: int, attach_type: int) -> None:
        self.map_id = map_id
        self.attach_type = attach_type


class Netfilter:
    """A netfilter hook; all numbers are those of ``linux/netfilter.h``."""

    __slots__ = ("flags", "hook", "pf", "priority")

    def __init__(self, pf: int, hook: int, priority: int, flags: int) -> None:
        self.pf = pf
        self.hook = hook
        self.priority = priority
        self.flags = flags

    @property
    def order(self) -> tuple[int, int, int, int]:
        """What listings of hooks are sorted by."""
        return self.pf, self.hook, self.priority, self.flags


class KprobeMulti:
    """Many kernel functions: ``functions`` is (address, cookie) in the order of addresses."""

    __slots__ = ("count", "functions", "is_return", "missed")

    def __init__(
        self, is_return: bool, count: int, missed: int, functions: list[tuple[int, int]]
    ) -> None:
        self.is_return = is_return
        self.count = count
        self.missed = missed
        self.functions = functions


class UprobeMulti:
    """Many places of one file: ``places`` is (offset, ref_ctr_offset, cookie) for each."""

    __slots__ = ("count", "is_return", "path", "pid", "places")

    def __init__(
        self, is_return: bool, path: str, count: int, pid: int, places: list[tuple[int, int, int]]
    ) -> None:
        self.is_return = is_return
        self.path = path
        self.count = count
        self.pid = pid
        self.places = places


class Kprobe:
    """A kernel function with a kprobe or kretprobe of a perf event."""

    __slots__ = ("addr", "cookie", "func", "is_return", "missed", "offset")

    def __init__(
        self, is_return: bool, func: str, offset: int, addr: int, missed: int, cookie: int
    ) -> None:
        self.is_return = is_return
        self.func = func
        self.offset = offset
        self.addr = addr
        self.missed = missed
        self.cookie = cookie


class Uprobe:
    """A place of a file with a uprobe or uretprobe of a perf event; offsets are in the file."""

    __slots__ = ("cookie", "file", "is_return", "offset", "ref_ctr_offset")

    def __init__(
        self, is_return: bool, file: str, offset: int, cookie: int, ref_ctr_offset: int
    ) -> None:
        self.is_return = is_return
        self.file = file
        self.offset = offset
        self.cookie = cookie
        self.ref_ctr_offset = ref_ctr_offset


class Tracepoint:
    """A tracepoint of a perf event."""

    __slots__ = ("cookie", "tp_name")

    def __init__(self, tp_name: str, cookie: int) -> None:
        self.tp_name = tp_name
        self.cookie = cookie


class PerfEvent:
    """A counter: ``type`` and ``config`` are those of ``struct perf_event_attr``."""

    __slots__ = ("config", "cookie", "type")

    def __init__(self, type: int, config: int, cookie: int) -> None:
        self.type = type
        self.config = config
        self.cookie = cookie


class Link:
    """One link.

    ``type_name`` is None for a type that this version does not know. ``target`` is
    what the program is attached to, an object of one of the classes above, or None
    where the kernel tells nothing of it. ``bpf_cookie`` is the cookie of a perf event
    link, None for other links and where the kernel does not tell it.
    """

    __slots__ = ("bpf_cookie", "id", "prog_id", "target", "type", "type_name")

    id: int
    type: int
    type_name: str | None
    prog_id: int
    target: object
    bpf_cookie: int | None


class LinkReader:
    """Reads links of one kernel; keeps what several links share."""

    __slots__ = ("_head", "_kernel", "_layouts", "_order", "_prog_types", "_tells_cookies")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._order = kernel.byteorder
        self._head = struct.Struct(kernel.byteorder + "III").unpack_from
        self._layouts: dict[str, struct.Struct] = {}
        self._prog_types: dict[int, int] = {}
        self._tells_cookies = _release(kernel.release) >= _COOKIE_RELEASE

    def read(self, obj: BpfObject) -> Link:
        """The link of an open object; raises KernelError when the kernel refuses details."""
        info = obj.info
        link = Link()
        link.type, link.id, link.prog_id = self._head(info)
        number = link.type
        link.type_name = LINK_TYPES[number] if number < len(LINK_TYPES) else None
        link.bpf_cookie = None
        read = _READERS.get(number)
        link.target = None if read is None else read(self, obj, link, info)
        return link

    def _fields(self, codes: str, info: bytes, offset: int = 16) -> tuple[Any, ...]:
        """Unpack fields; an older kernel's shorter struct counts as filled up with zeros."""
        layout = self._layouts.get(codes)
        if layout is None:
            layout = self._layouts[codes] = struct.Struct(self._order + codes)
        needed = offset + layout.size
        if len(info) < needed:
            info = info.ljust(needed, b"\0")
        return layout.unpack_from(info, offset)

    def _details(self, obj: BpfObject) -> dict[str, bytes]:
        details: dict[str, bytes] = self._kernel.link_details(obj)
        if not isinstance(details.get("info"), bytes):
            raise FormatError(f"the details of link {obj.id} have not the form of an answer")
        return details

    def _numbers(self, details: dict[str, bytes], name: str, count: int) -> tuple[int, ...]:
        data = details.get(name, b"")
        if len(data) < 8 * count:
            raise FormatError(f"the details of a link have fewer {name} than they claim")
        return struct.unpack_from(f"{self._order}{count}Q", data)

    def _raw_tracepoint(self, obj: BpfObject, link: Link, info: bytes) -> object:
        details = self._details(obj)
        _, _, cookie = self._fields("QQQ", details["info"])
        return RawTracepoint(_string(details), cookie)

    def _tracing(self, obj: BpfObject, link: Link, info: bytes) -> object:
        attach_type, obj_id, btf_id, cookie = self._fields("IIIxxxxQ", info)
        return Tracing(self._prog_type(link.prog_id), attach_type, obj_id, btf_id, cookie)

    def _prog_type(self, id: int) -> int:
        number = self._prog_types.get(id)
        if number is None:
            prog = self._kernel.open("prog", id)
            self._kernel.close(prog)
            number = self._prog_types[id] = self._fields("I", prog.info, 0)[0]
        return number

    def _cgroup(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return Cgroup(*self._fields("QI", info))

    def _iter(self, obj: BpfObject, link: Link, info: bytes) -> object:
        details = self._details(obj)
        info = details["info"]
        map_id, cgroup_id, order = self._fields("IQI", info, 28)
        tid, pid = self._fields("II", info, 32)
        return Iter(_string(details), map_id, cgroup_id, order, tid, pid)

    def _netns(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return Netns(*self._fields("II", info))

    def _xdp(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return Device(self._fields("I", info)[0], None)

    def _device(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return Device(*self._fields("II", info))

    def _struct_ops(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return StructOps(*self._fields("I", info))

    def _sockmap(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return Sockmap(*self._fields("II", info))

    def _netfilter(self, obj: BpfObject, link: Link, info: bytes) -> object:
        return Netfilter(*self._fields("IIiI", info))

    def _kprobe_multi(self, obj: BpfObject, link: Link, info: bytes) -> object:
        details = self._details(obj)
        count, flags, missed = self._fields("IIQ", details["info"], 24)
        addresses = self._numbers(details, "addrs", count)
        cookies = self._numbers(details, "cookies", count)
        functions = sorted(zip(addresses, cookies, strict=True), key=_first)
        return KprobeMulti(bool(flags & _MULTI_RETURN), count, missed, functions)

    def _uprobe_multi(self, obj: BpfObject, link: Link, info: bytes) -> object:
        details = self._details(obj)
        count, flags, pid = self._fields("IIi", details["info"], 52)
        names = ("offsets", "ref_ctr_offsets", "cookies")
        columns = [self._numbers(details, name, count) for name in names]
        places = list(zip(*columns, strict=True))
        return UprobeMulti(bool(flags & _MULTI_RETURN), _string(details), count, pid, places)

    def _perf_event(self, obj: BpfObject, link: Link, info: bytes) -> object:
        kind = self._fields("I", info)[0]
        target: Kprobe | Uprobe | Tracepoint | PerfEvent
        if kind in (_KPROBE, _KRETPROBE):
            details = self._details(obj)
            offset, addr, missed, cookie = self._fields("IQQQ", details["info"], 36)
            func = _string(details)
            target = Kprobe(kind == _KRETPROBE, func, offset, addr, missed, cookie)
        elif kind in (_UPROBE, _URETPROBE):
            details = self._details(obj)
            offset, cookie, counter = self._fields("IQQ", details["info"], 36)
            target = Uprobe(kind == _URETPROBE, _string(details), offset, cookie, counter)
        elif kind == _TRACEPOINT:
            details = self._details(obj)
            target = Tracepoint(_string(details), self._fields("Q", details["info"], 40)[0])
        elif kind == _EVENT:
            config, number, cookie = self._fields("QIxxxxQ", info, 24)
            target = PerfEvent(number, config, cookie)
        else:
            return None
        if self._tells_cookies and len(info) >= _COOKIE_INFO_SIZE:
            link.bpf_cookie = target.cookie
        return target


_READERS: dict[int, Callable[[LinkReader, BpfObject, Link, bytes], object]] = {
    RAW_TRACEPOINT: LinkReader._raw_tracepoint,
    TRACING: LinkReader._tracing,
    CGROUP: LinkReader._cgroup,
    ITER: LinkReader._iter,
    NETNS: LinkReader._netns,
    XDP: LinkReader._xdp,
    PERF_EVENT: LinkReader._perf_event,
    KPROBE_MULTI: LinkReader._kprobe_multi,
    STRUCT_OPS: LinkReader._struct_ops,
    NETFILTER: LinkReader._netfilter,
    TCX: LinkReader._device,
    UPROBE_MULTI: LinkReader._uprobe_multi,
    NETKIT: LinkReader._device,
    SOCKMAP: LinkReader._sockmap,
}


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _string(details: dict[str, bytes]) -> str:
    return details.get("name", b"").decode("utf-8", "surrogateescape")


def _release(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = "".join(c for c in rest.partition(".")[0] if c.isdigit())
    return (int(major), int(minor)) if major.isdigit() and minor else (0, 0)


class ProbedFunctions:
    """Names of the functions behind the addresses of kprobe_multi links.

    ``is_known`` is false when the kernel shows no addresses to this reader
    (``kernel.kptr_restrict``).
    """

    __slots__ = ("_offsets", "_text", "is_known")

    def __init__(self, kernel: Kernel) -> None:
        try:
            self._text = b"\n" + kernel.file("/proc/kallsyms")
        except BpfError:
            self._text = b"\n"
        width = self._text.find(b" ", 0, 64) - 1
        zeros = b"0" * max(width, 8)
        self.is_known = width > 0 and not self._is_hidden(zeros)
        # With indirect branch tracking a function begins with endbr64 (4 bytes) and
        # ftrace, so also kprobe_multi, attaches behind it.
        self._offsets: Sequence[int] = (0,)
        if kernel.machine == "x86_64":
            tracked = _has_branch_tracking(kernel)
            if tracked is None:
                self._offsets = (0, 4)
            elif tracked:
                self._offsets = (4, 0)

    def _is_hidden(self, zeros: bytes) -> bool:
        at = self._text.find(b" __bpf_call_base\n")
        return at >= 0 and self._text[self._text.rfind(b"\n", 0, at) + 1 :].startswith(zeros)

    def find(self, addresses: Sequence[int]) -> dict[int, tuple[str, str]]:
        """address -> (function, module); the module is empty for the kernel's own functions.

        Of several symbols at one address the first in the kernel's order is taken.
        Addresses at which no function begins are left out.
        """
        text = self._text
        width = max(text.find(b" ", 0, 64) - 1, 0)
        if not self.is_known:
            return {}
        lines: dict[bytes, bytes] = {}
        wanted = {b"%0*x" % (width, a - o) for a in addresses for o in self._offsets if a > o}
        if len(wanted) > 16:
            for line in text.split(b"\n"):
                if line[:width] in wanted:
                    lines.setdefault(line[:width], line)
        else:
            for key in wanted:
                at = text.find(b"\n" + key + b" ")
                if at >= 0:
                    end = text.find(b"\n", at + 1)
                    lines[key] = text[at + 1 : end if end >= 0 else len(text)]
        found = {}
        for address in addresses:
            for offset in self._offsets:
                match = lines.get(b"%0*x" % (width, max(address - offset, 0)))
                if match is not None:
                    found[address] = _symbol(match)
                    break
        return found


def _symbol(line: bytes) -> tuple[str, str]:
    """(name, module) of a line ``ADDRESS TYPE NAME [MODULE]`` of /proc/kallsyms."""
    fields = line.decode("utf-8", "surrogateescape").split()
    module = fields[3].strip("[]") if len(fields) > 3 else ""
    return fields[2] if len(fields) > 2 else "", module


def _has_branch_tracking(kernel: Kernel) -> bool | None:
    """CONFIG_X86_KERNEL_IBT; None when the kernel's configuration cannot be read."""
    for path in (f"/boot/config-{kernel.release}", "/proc/config.gz"):
        try:
            text = kernel.file(path)
        except BpfError:
            continue
        if text.startswith(b"\x1f\x8b"):
            import zlib

            try:
                text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(text, 1 << 24)
            except zlib.error:
                continue
        return b"\nCONFIG_X86_KERNEL_IBT=y\n" in text
    return None
