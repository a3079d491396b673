"""Links of probes: kprobes and uprobes, single and many of them, tracepoints, counters."""

from __future__ import annotations

import errno

from pybpftool.errors import KernelError
from pybpftool.objects.links.source import word
from pybpftool.records import Record
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.objects.links.source import Info, Json, LinkSource
    from pybpftool.objects.symbols import Place


# Cookies of perf event links came with v6.9. The info of a kernel that tells none is
# either shorter than the arm of kprobes, or the kernel layer has cut it before the cookie.
_COOKIES_END = 64


class KprobeMulti(Record):
    """Many kernel functions.  Kernel: bpf_kprobe_multi_link_fill_link_info(), v6.6.

    ``funcs`` is (address, cookie, function, module) in the order of addresses: function
    and module are None where no function begins there, the module is empty for the
    kernel's own. None where the kernel hides addresses.
    """

    func_cnt: int
    flags: int
    missed: int | None  # v6.7
    funcs: list[tuple[int, int, str | None, str]] | None

    @property
    def retprobe(self) -> bool:
        """Whether the probes are at the returns."""
        return bool(self.flags & uapi.BPF_F_KPROBE_MULTI_RETURN)

    @property
    def hides_addresses(self) -> bool:
        """Whether the kernel does not show where the probes are (kallsyms_show_value())."""
        return self.funcs is None and self.func_cnt > 0

    @classmethod
    def read(cls, source: LinkSource) -> KprobeMulti:
        source.ask()
        info = source.fields("kprobe_multi")
        count = info["count"]
        addresses, cookies = source.numbers("addrs", count), source.numbers("cookies", count)
        names = source.functions(addresses)
        funcs = None
        if names is not None:
            unknown = (None, "")
            pairs = sorted(zip(addresses, cookies), key=_first)
            funcs = [(at, cookie, *names.get(at, unknown)) for at, cookie in pairs]
        return cls(count, info["flags"], info.get("missed"), funcs)

    def text(self) -> str:
        if not self.func_cnt:
            return ""
        kind = "kretprobe.multi" if self.retprobe else "kprobe.multi"
        parts = [f"\n\t{kind}  func_cnt {self.func_cnt}  "]
        if self.missed:
            parts.append(f"missed {self.missed}  ")
        if self.funcs is not None:
            parts.append("\n\t%-16s %-16s %s" % ("addr", "cookie", "func [module]"))
            for address, cookie, function, module in self.funcs:
                name = "(unknown)" if function is None else function
                suffix = f" [{module}]  " if module else "  "
                parts.append("\n\t%016x %-16x %s%s" % (address, cookie, name, suffix))
        return "".join(parts)

    def json(self) -> Json:
        return {
            "retprobe": self.retprobe,
            "func_cnt": self.func_cnt,
            "missed": self.missed or 0,
            "funcs": [
                {"addr": address, "func": function, "module": module or None, "cookie": cookie}
                for address, cookie, function, module in self.funcs or ()
            ],
        }


class UprobeMulti(Record):
    """Many places of one file.  Kernel: bpf_uprobe_multi_link_fill_link_info(), v6.8.

    ``funcs`` is (offset, ref_ctr_offset, cookie, place) for each; the place is None unless
    symbols are asked for.
    """

    path: str
    func_cnt: int
    flags: int
    pid: int
    funcs: list[tuple[int, int, int, Place | None]]

    @property
    def retprobe(self) -> bool:
        """Whether the probes are at the returns."""
        return bool(self.flags & uapi.BPF_F_UPROBE_MULTI_RETURN)

    @classmethod
    def read(cls, source: LinkSource) -> UprobeMulti:
        source.ask()
        info = source.fields("uprobe_multi")
        count = info["count"]
        path, place = source.string(), source.place
        columns = [source.numbers(n, count) for n in ("offsets", "ref_ctr_offsets", "cookies")]
        funcs = [(*row, place(path, row[0])) for row in zip(*columns)]
        return cls(path, count, info["flags"], info["pid"], funcs)

    def text(self) -> str:
        if not self.func_cnt:
            return ""
        kind = "uretprobe.multi" if self.retprobe else "uprobe.multi"
        parts = [f"\n\t{kind}  path {self.path}  func_cnt {self.func_cnt}  "]
        if self.pid:
            parts.append(f"pid {self.pid}  ")
        parts.append("\n\t%-16s   %-16s   %-16s" % ("offset", "ref_ctr_offset", "cookies"))
        for offset, counter, cookie, place in self.funcs:
            parts.append("\n\t0x%-16x 0x%-16x 0x%-16x" % (offset, counter, cookie))
            parts.append(_place_text(place, " "))
        return "".join(parts)

    def json(self) -> Json:
        funcs = []
        for offset, counter, cookie, place in self.funcs:
            func = {"offset": offset, "ref_ctr_offset": counter, "cookie": cookie}
            if place is not None:
                func.update(place.json())
            funcs.append(func)
        # Upstream quirk: the process is signed here and unsigned in text.
        pid = self.pid - (1 << 32) if self.pid >> 31 else self.pid
        return {
            "retprobe": self.retprobe,
            "path": self.path,
            "func_cnt": self.func_cnt,
            "pid": pid,
            "funcs": funcs,
        }


class Kprobe(Record):
    """A kernel function.  Kernel: bpf_perf_link_fill_kprobe(), v6.6."""

    retprobe: bool
    func: str
    offset: int
    addr: int
    missed: int | None  # v6.7
    cookie: int | None  # v6.9 (d5c16492c66f)

    @property
    def hides_addresses(self) -> bool:
        """Whether the kernel does not show where the probe is (kallsyms_show_value())."""
        return bool(self.func) and not self.addr

    @classmethod
    def read(cls, source: LinkSource, is_return: bool) -> Kprobe:
        source.ask()
        info = source.fields("perf_event.kprobe")
        cookie, missed = _cookie(source, info), info.get("missed")
        return cls(is_return, source.string(), info["offset"], info["addr"], missed, cookie)

    def text(self) -> str:
        if not self.func and not self.addr:
            return ""
        text = "\n\tkretprobe " if self.retprobe else "\n\tkprobe "
        if self.addr:
            text += f"{self.addr:x} "
        text += self.func
        if self.offset:
            text += f"+{self.offset:#x}"
        if self.missed:
            text += f"  missed {self.missed}"
        if self.cookie:
            text += f"  cookie {self.cookie}"
        return text + "  "

    def json(self) -> Json:
        return {
            "retprobe": self.retprobe,
            "addr": self.addr,
            "func": self.func,
            "offset": self.offset,
            "missed": self.missed or 0,
            "cookie": self.cookie or 0,
        }


class Uprobe(Record):
    """A place of a file, by its offset there.  Kernel: bpf_perf_link_fill_uprobe(), v6.6.

    ``place`` is None unless symbols are asked for.
    """

    retprobe: bool
    file: str
    offset: int
    cookie: int | None  # v6.9 (d5c16492c66f)
    ref_ctr_offset: int | None
    place: Place | None

    @classmethod
    def read(cls, source: LinkSource, is_return: bool) -> Uprobe:
        source.ask()
        info = source.fields("perf_event.uprobe")
        file, offset = source.string(), info["offset"]
        place = source.place(file, offset)
        return cls(
            is_return, file, offset, _cookie(source, info), info.get("ref_ctr_offset"), place
        )

    def text(self) -> str:
        if not self.file:
            return ""
        text = "\n\turetprobe " if self.retprobe else "\n\tuprobe "
        # Upstream quirk: C's %#x leaves the prefix of zero out.
        text += f"{self.file}+{self.offset:#x}  " if self.offset else f"{self.file}+0  "
        if self.cookie:
            text += f"cookie {self.cookie}  "
        if self.ref_ctr_offset:
            text += f"ref_ctr_offset 0x{self.ref_ctr_offset:x}  "
        return text + _place_text(self.place, "\n\t")

    def json(self) -> Json:
        json = {
            "retprobe": self.retprobe,
            "file": self.file,
            "offset": self.offset,
            "cookie": self.cookie or 0,
            "ref_ctr_offset": self.ref_ctr_offset or 0,
        }
        return json if self.place is None else {**json, **self.place.json()}


class Tracepoint(Record):
    """A tracepoint.  Kernel: bpf_perf_link_fill_tracepoint(), v6.6."""

    tp_name: str
    cookie: int | None  # v6.9 (d5c16492c66f)

    @classmethod
    def read(cls, source: LinkSource) -> Tracepoint:
        source.ask()
        info = source.fields("perf_event.tracepoint")
        return cls(source.string(), _cookie(source, info))

    def text(self) -> str:
        if not self.tp_name:
            return ""
        text = f"\n\ttracepoint {self.tp_name}  "
        return f"{text}cookie {self.cookie}  " if self.cookie else text

    def json(self) -> Json:
        return {"tracepoint": self.tp_name, "cookie": self.cookie or 0}


class PerfEvent(Record):
    """A counter, by type and config of its ``struct perf_event_attr``, in the words of perf(1).

    Kernel: bpf_perf_link_fill_perf_event(), v6.6.
    """

    type: str | int
    config: str | int
    cookie: int | None  # v6.9 (d5c16492c66f)

    @classmethod
    def read(cls, source: LinkSource) -> PerfEvent:
        from pybpftool.uapi.perf import EVENT_TYPES

        info = source.fields("perf_event.event")
        cookie = _cookie(source, info)
        if cookie == 0:
            # Only the second request shows whether the kernel has filled it.
            try:
                source.ask()
                cookie = _cookie(source, source.fields("perf_event.event"))
            except KernelError as error:
                if error.errno != errno.ENODATA:  # recordings made by older versions
                    raise
        type, config = info["type"], info["config"]
        return cls(word(EVENT_TYPES, type), event_config(type, config), cookie)

    def text(self) -> str:
        # Upstream quirk: a blank stands before the colon of a type without a name.
        colon = ":" if isinstance(self.type, str) else " :"
        text = f"\n\tevent {self.type}{colon}{self.config}  "
        return f"{text}cookie {self.cookie}  " if self.cookie else text

    def json(self) -> Json:
        return {
            "event_type": self.type,
            "event_config": self.config,
            "cookie": self.cookie or 0,
        }


class HiddenEvent(Record):
    """A perf event of which the kernel tells nothing but the cookie (v5.15 to v6.5)."""

    cookie: int

    @classmethod
    def read(cls, source: LinkSource) -> HiddenEvent | None:
        try:
            source.ask()
        except KernelError as error:
            if error.errno != errno.ENODATA:  # recordings made by older versions
                raise
            return None
        cookie = source.number("cookie")
        return None if cookie is None else cls(cookie)

    def text(self) -> str:
        return ""

    def json(self) -> Json:
        return {}


class PerfLink:
    """A perf event link: which of four classes it has is told by its info (v6.6)."""

    @staticmethod
    def read(source: LinkSource) -> Kprobe | Uprobe | Tracepoint | PerfEvent | HiddenEvent | None:
        kind = source.fields("perf_event")["type"]
        if kind in (uapi.BPF_PERF_EVENT_KPROBE, uapi.BPF_PERF_EVENT_KRETPROBE):
            return Kprobe.read(source, kind == uapi.BPF_PERF_EVENT_KRETPROBE)
        if kind in (uapi.BPF_PERF_EVENT_UPROBE, uapi.BPF_PERF_EVENT_URETPROBE):
            return Uprobe.read(source, kind == uapi.BPF_PERF_EVENT_URETPROBE)
        if kind == uapi.BPF_PERF_EVENT_TRACEPOINT:
            return Tracepoint.read(source)
        if kind == uapi.BPF_PERF_EVENT_EVENT:
            return PerfEvent.read(source)
        return None if kind else HiddenEvent.read(source)


def event_config(type: int, config: int) -> str | int:
    """What ``perf_event_attr.config`` stands for in an event of this type."""
    from pybpftool.uapi import perf

    kind = word(perf.EVENT_TYPES, type)
    if kind == "hardware":
        return word(perf.HARDWARE, config)
    if kind == "software":
        return word(perf.SOFTWARE, config)
    if kind == "hw-cache":
        cache = word(perf.CACHES, config & 0xFF)
        operation = word(perf.CACHE_OPERATIONS, config >> 8 & 0xFF)
        return f"{cache}-{operation}-{word(perf.CACHE_RESULTS, config >> 16)}"
    return config


def _cookie(source: LinkSource, info: Info) -> int | None:
    return info.get("cookie") if len(source.info) >= _COOKIES_END else None


def _place_text(place: Place | None, lead: str) -> str:
    if place is None:
        return ""
    text = f"{lead}symbol {place.symbol_text}  " if place.symbol else ""
    if place.usdt:
        text += f"{'' if text else lead}usdt {', '.join(place.usdt)}  "
    return text


def _first(pair: tuple[int, int]) -> int:
    return pair[0]
