"""``link``: list links, pin and detach them."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.cli.recorded import run_command
from pybpftool.errors import BpfError, UsageError
from pybpftool.objects import link as model
from pybpftool.objects.link import LinkReader
from pybpftool.uapi.bpf import ATTACH_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.link import Link, ProbedFunctions
    from pybpftool.objects.symbols import Resolver

HELP = """\
Usage: pybpftool link { show | list } [LINK]
       pybpftool link pin LINK FILE
       pybpftool link detach LINK
       pybpftool link help

       LINK := { id LINK_ID | pinned FILE }
       Options: -j, -p, -f (show pinned paths), -n (mount nothing), --snapshot PATH,
                --resolve (names of programs, symbols and USDT probes of uprobes)

show lists all links, or the one that LINK names: what each program is attached to,
and the processes that hold the link. pin keeps a link alive at a path of a bpf file
system. detach takes the program off its target at once, whoever holds the link.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``link``."""
    run_command(select(_COMMANDS, args, "link"), ctx, args)


def _help(ctx: Context, args: Args) -> None:
    from pybpftool.cli.main import show_help

    show_help(ctx, HELP)


def find_link(kernel: Kernel, args: Args) -> BpfObject:
    """Take ``{ id N | pinned FILE }`` and open the link meant; the caller closes it."""
    if args.choose(("id", "pinned")) == "id":
        return kernel.open("link", args.number("a link id"))
    path = args.take("the path of a pinned link")
    obj = kernel.open_pinned(path)
    if obj.kind != "link":
        kernel.close(obj)
        raise BpfError(f"'{path}' is a {obj.kind}, not a link")
    return obj


# linux/perf_event.h: enum perf_type_id, enum perf_hw_id, enum perf_sw_ids,
# enum perf_hw_cache_id, enum perf_hw_cache_op_id, enum perf_hw_cache_op_result_id;
# the words are those of perf(1).
_EVENT_TYPES = ("hardware", "software", "tracepoint", "hw-cache", "raw", "breakpoint")
_HARDWARE = (
    "cpu-cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branch-instructions",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
)
_SOFTWARE = (
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
    "bpf-output",
    "cgroup-switches",
)
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_CACHE_OPERATIONS = ("load", "store", "prefetch")
_CACHE_RESULTS = ("refs", "misses")

# linux/bpf.h: enum bpf_cgroup_iter_order
_CGROUP_ORDERS = (
    "order_unspec",
    "self_only",
    "descendants_pre",
    "descendants_post",
    "ancestors_up",
)
# linux/netfilter.h: NFPROTO_*, enum nf_inet_hooks; linux/netfilter_arp.h: NF_ARP_*
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_HOOKS = {
    1: _INET_HOOKS,
    2: _INET_HOOKS,
    3: ("input", "output"),
    7: _INET_HOOKS,
    10: _INET_HOOKS,
}


def _name(names: tuple[str, ...], number: int) -> str | int:
    """The name of a number, or the number itself when the table ends before it."""
    return names[number] if number < len(names) else number


def event_config(type: int, config: int) -> str | int:
    """What ``perf_event_attr.config`` stands for in an event of this type."""
    if type == 0:
        return _name(_HARDWARE, config)
    if type == 1:
        return _name(_SOFTWARE, config)
    if type == 3:
        cache = _name(_CACHES, config & 0xFF)
        operation = _name(_CACHE_OPERATIONS, config >> 8 & 0xFF)
        return f"{cache}-{operation}-{_name(_CACHE_RESULTS, config >> 16)}"
    return config


def _hex(number: int) -> str:
    """C's ``%#x``, which leaves the prefix of zero out."""
    return f"{number:#x}" if number else "0"


def netfilter_text(target: model.Netfilter) -> str:
    """A netfilter hook as listings of links and of networks show it."""
    hooks = _HOOKS.get(target.pf, ())
    family = _FAMILIES.get(target.pf)
    text = f"\n\t{family}" if family is not None else f"\n\tpf: {target.pf}"
    text += f" {hooks[target.hook]}" if target.hook < len(hooks) else f", hook {target.hook},"
    text += f" prio {target.priority}"
    return text + f" flags 0x{target.flags:x}" if target.flags else text


def netfilter_record(target: model.Netfilter) -> dict[str, Any]:
    """The JSON properties of a netfilter hook."""
    return {
        "pf": target.pf,
        "hook": target.hook,
        "prio": target.priority,
        "flags": target.flags,
    }


def _attach_type(number: int) -> str:
    return f"attach_type {_name(ATTACH_TYPES, number)}  "


class _Listing:
    """Renders links with what one listing reads once: pins, holders, symbols."""

    __slots__ = ("_functions", "_kernel", "_pins", "_resolver", "held", "listing", "reader")

    def __init__(self, ctx: Context) -> None:
        self._kernel = kernel = ctx.kernel
        self.reader = LinkReader(kernel)
        self._pins = kernel.pinned("link") if ctx.options.bpffs else {}
        self.listing = kernel.listing("link")
        self.held = self.listing.held
        self._functions: ProbedFunctions | None = None
        self._resolver: Resolver | None = None
        if ctx.options.resolve:
            from pybpftool.objects.symbols import Resolver

            self._resolver = Resolver(kernel)

    def text(self, link: Link) -> str:
        """The lines of one link."""
        type_name = link.type_name if link.type_name is not None else f"type {link.type}"
        target = link.target
        if type(target) is model.StructOps:
            head = f"{link.id}: {type_name}  map {target.map_id}  "
        else:
            head = f"{link.id}: {type_name}  prog {link.prog_id}{self._prog_name(link)}  "
        parts = [head]
        render = _TEXTS.get(type(target))
        if render is not None:
            parts.append(render(self, target))
        for path in self._pins.get(link.id, ()):
            parts.append(f"\n\tpinned {path}")
        holders = self.held.get(link.id)
        if holders:
            if link.bpf_cookie is not None:
                parts.append(f"\n\tbpf_cookie {link.bpf_cookie}")
            parts.append("\n\tpids " + ", ".join(f"{comm}({pid})" for pid, comm in holders))
        parts.append("\n")
        return "".join(parts)

    def record(self, link: Link) -> dict[str, Any]:
        """The JSON object of one link."""
        record: dict[str, Any] = {
            "id": link.id,
            "type": link.type_name if link.type_name is not None else link.type,
            "prog_id": link.prog_id,
        }
        if self._resolver is not None and link.prog_id:
            name = self._resolver.prog_name(link.prog_id)
            if name:
                record["prog_name"] = name
        render = _RECORDS.get(type(link.target))
        if render is not None:
            record.update(render(self, link.target))
        if self._pins:
            record["pinned"] = self._pins.get(link.id, ())
        holders = self.held.get(link.id)
        if holders:
            if link.bpf_cookie is not None:
                record["bpf_cookie"] = link.bpf_cookie
            record["pids"] = [{"pid": pid, "comm": comm} for pid, comm in holders]
        return record

    def _prog_name(self, link: Link) -> str:
        name = self._resolver.prog_name(link.prog_id) if self._resolver is not None else None
        return f" ({name})" if name else ""

    # Text of each kind of target, from the place behind the link's head.

    def _raw_tracepoint_text(self, target: model.RawTracepoint) -> str:
        text = f"\n\ttp '{target.tp_name}'  "
        return text + f"cookie {target.cookie}  " if target.cookie else text

    def _tracing_text(self, target: model.Tracing) -> str:
        name = target.prog_type_name
        text = f"\n\tprog_type {name if name is not None else target.prog_type}  "
        text += _attach_type(target.attach_type)
        if target.target_obj_id or target.target_btf_id:
            text += f"\n\ttarget_obj_id {target.target_obj_id}"
            text += f"  target_btf_id {target.target_btf_id}  "
        return text + f"\n\tcookie {target.cookie}  " if target.cookie else text

    def _cgroup_text(self, target: model.Cgroup) -> str:
        return f"\n\tcgroup_id {target.cgroup_id}  " + _attach_type(target.attach_type)

    def _iter_text(self, target: model.Iter) -> str:
        # Upstream begins no new line here, unlike with every other type.
        text = f"target_name {target.target_name}  "
        return text + "".join(
            f"{name} {value} " if name in ("tid", "pid") else f"{name} {value}  "
            for name, value in _iter_fields(target).items()
        )

    def _netns_text(self, target: model.Netns) -> str:
        return f"\n\tnetns_ino {target.netns_ino}  " + _attach_type(target.attach_type)

    def _device_text(self, target: model.Device) -> str:
        index = target.ifindex
        name = self._kernel.ifindex_name(index) if index else "(detached)"
        shown = "(unknown)" if name is None else f"{name}({index})" if index else name
        text = f"\n\tifindex {shown}  "
        return text if target.attach_type is None else text + _attach_type(target.attach_type)

    def _sockmap_text(self, target: model.Sockmap) -> str:
        return f"\n\tmap_id {target.map_id}  " + _attach_type(target.attach_type)

    def _netfilter_text(self, target: model.Netfilter) -> str:
        return netfilter_text(target)

    def _kprobe_multi_text(self, target: model.KprobeMulti) -> str:
        if not target.count:
            return ""
        kind = "kretprobe.multi" if target.is_return else "kprobe.multi"
        parts = [f"\n\t{kind}  func_cnt {target.count}  "]
        if target.missed:
            parts.append(f"missed {target.missed}  ")
        names, is_known = self._function_names(target)
        if is_known:
            parts.append("\n\t%-16s %-16s %s" % ("addr", "cookie", "func [module]"))
            for address, cookie in target.functions:
                name, module = names.get(address, ("(unknown)", ""))
                suffix = f" [{module}]  " if module else "  "
                parts.append("\n\t%016x %-16x %s%s" % (address, cookie, name, suffix))
        return "".join(parts)

    def _function_names(self, target: model.KprobeMulti) -> tuple[dict[int, tuple[str, str]], bool]:
        functions = self._functions
        if functions is None:
            functions = self._functions = model.ProbedFunctions(self._kernel)
        return functions.find([address for address, _ in target.functions]), functions.is_known

    def _uprobe_multi_text(self, target: model.UprobeMulti) -> str:
        if not target.count:
            return ""
        kind = "uretprobe.multi" if target.is_return else "uprobe.multi"
        parts = [f"\n\t{kind}  path {target.path}  func_cnt {target.count}  "]
        if target.pid:
            parts.append(f"pid {target.pid & 0xFFFFFFFF}  ")
        parts.append("\n\t%-16s   %-16s   %-16s" % ("offset", "ref_ctr_offset", "cookies"))
        for place in target.places:
            parts.append("\n\t0x%-16x 0x%-16x 0x%-16x" % place)
            parts.append(self._place_text(target.path, place[0], " "))
        return "".join(parts)

    def _place_text(self, path: str, offset: int, lead: str) -> str:
        if self._resolver is None:
            return ""
        place = self._resolver.place(path, offset)
        text = f"{lead}symbol {place.symbol_text}  " if place.symbol else ""
        if place.usdt:
            text += f"{'' if text else lead}usdt {', '.join(place.usdt)}  "
        return text

    def _kprobe_text(self, target: model.Kprobe) -> str:
        if not target.func and not target.addr:
            return ""
        text = "\n\tkretprobe " if target.is_return else "\n\tkprobe "
        if target.addr:
            text += f"{target.addr:x} "
        text += target.func
        if target.offset:
            text += f"+{_hex(target.offset)}"
        if target.missed:
            text += f"  missed {target.missed}"
        if target.cookie:
            text += f"  cookie {target.cookie}"
        return text + "  "

    def _uprobe_text(self, target: model.Uprobe) -> str:
        if not target.file:
            return ""
        text = "\n\turetprobe " if target.is_return else "\n\tuprobe "
        text += f"{target.file}+{_hex(target.offset)}  "
        if target.cookie:
            text += f"cookie {target.cookie}  "
        if target.ref_ctr_offset:
            text += f"ref_ctr_offset 0x{target.ref_ctr_offset:x}  "
        return text + self._place_text(target.file, target.offset, "\n\t")

    def _tracepoint_text(self, target: model.Tracepoint) -> str:
        if not target.tp_name:
            return ""
        text = f"\n\ttracepoint {target.tp_name}  "
        return text + f"cookie {target.cookie}  " if target.cookie else text

    def _event_text(self, target: model.PerfEvent) -> str:
        kind = _name(_EVENT_TYPES, target.type)
        colon = ":" if isinstance(kind, str) else " :"
        text = f"\n\tevent {kind}{colon}{event_config(target.type, target.config)}  "
        return text + f"cookie {target.cookie}  " if target.cookie else text

    # JSON properties of each kind of target.

    def _raw_tracepoint_record(self, target: model.RawTracepoint) -> dict[str, Any]:
        return {"tp_name": target.tp_name, "cookie": target.cookie}

    def _tracing_record(self, target: model.Tracing) -> dict[str, Any]:
        name = target.prog_type_name
        return {
            "prog_type": name if name is not None else target.prog_type,
            "attach_type": _name(ATTACH_TYPES, target.attach_type),
            "target_obj_id": target.target_obj_id,
            "target_btf_id": target.target_btf_id,
            "cookie": target.cookie,
        }

    def _cgroup_record(self, target: model.Cgroup) -> dict[str, Any]:
        return {
            "cgroup_id": target.cgroup_id,
            "attach_type": _name(ATTACH_TYPES, target.attach_type),
        }

    def _iter_record(self, target: model.Iter) -> dict[str, Any]:
        return {"target_name": target.target_name, **_iter_fields(target)}

    def _netns_record(self, target: model.Netns) -> dict[str, Any]:
        return {
            "netns_ino": target.netns_ino,
            "attach_type": _name(ATTACH_TYPES, target.attach_type),
        }

    def _device_record(self, target: model.Device) -> dict[str, Any]:
        index = target.ifindex
        name = self._kernel.ifindex_name(index) if index else "(detached)"
        record = {"devname": name if name is not None else "(unknown)", "ifindex": index}
        if target.attach_type is not None:
            record["attach_type"] = _name(ATTACH_TYPES, target.attach_type)
        return record

    def _struct_ops_record(self, target: model.StructOps) -> dict[str, Any]:
        return {"map_id": target.map_id}

    def _sockmap_record(self, target: model.Sockmap) -> dict[str, Any]:
        return {
            "map_id": target.map_id,
            "attach_type": _name(ATTACH_TYPES, target.attach_type),
        }

    def _netfilter_record(self, target: model.Netfilter) -> dict[str, Any]:
        return netfilter_record(target)

    def _kprobe_multi_record(self, target: model.KprobeMulti) -> dict[str, Any]:
        names, is_known = self._function_names(target)
        functions = []
        for address, cookie in target.functions if is_known else ():
            name, module = names.get(address, (None, ""))
            functions.append(
                {"addr": address, "func": name, "module": module or None, "cookie": cookie}
            )
        return {
            "retprobe": target.is_return,
            "func_cnt": target.count,
            "missed": target.missed,
            "funcs": functions,
        }

    def _uprobe_multi_record(self, target: model.UprobeMulti) -> dict[str, Any]:
        places = []
        for offset, counter, cookie in target.places:
            place = {"offset": offset, "ref_ctr_offset": counter, "cookie": cookie}
            place.update(self._place_record(target.path, offset))
            places.append(place)
        return {
            "retprobe": target.is_return,
            "path": target.path,
            "func_cnt": target.count,
            "pid": target.pid,
            "funcs": places,
        }

    def _place_record(self, path: str, offset: int) -> dict[str, Any]:
        return {} if self._resolver is None else self._resolver.place(path, offset).record()

    def _kprobe_record(self, target: model.Kprobe) -> dict[str, Any]:
        return {
            "retprobe": target.is_return,
            "addr": target.addr,
            "func": target.func,
            "offset": target.offset,
            "missed": target.missed,
            "cookie": target.cookie,
        }

    def _uprobe_record(self, target: model.Uprobe) -> dict[str, Any]:
        return {
            "retprobe": target.is_return,
            "file": target.file,
            "offset": target.offset,
            "cookie": target.cookie,
            "ref_ctr_offset": target.ref_ctr_offset,
            **self._place_record(target.file, target.offset),
        }

    def _tracepoint_record(self, target: model.Tracepoint) -> dict[str, Any]:
        return {"tracepoint": target.tp_name, "cookie": target.cookie}

    def _event_record(self, target: model.PerfEvent) -> dict[str, Any]:
        return {
            "event_type": _name(_EVENT_TYPES, target.type),
            "event_config": event_config(target.type, target.config),
            "cookie": target.cookie,
        }


def _iter_fields(target: model.Iter) -> dict[str, Any]:
    """What an iterator's target is bound to, which depends on its kind."""
    name = target.target_name
    if name in ("bpf_map_elem", "bpf_sk_storage_map"):
        return {"map_id": target.map_id}
    if name in ("task", "task_file", "task_vma"):
        if target.tid:
            return {"tid": target.tid}
        return {"pid": target.pid} if target.pid else {}
    if name == "cgroup":
        order = _name(_CGROUP_ORDERS, target.order)
        order = order if isinstance(order, str) else "unknown"
        return {"cgroup_id": target.cgroup_id, "order": order}
    return {}


_TEXTS: dict[type, Callable[[_Listing, Any], str]] = {
    model.RawTracepoint: _Listing._raw_tracepoint_text,
    model.Tracing: _Listing._tracing_text,
    model.Cgroup: _Listing._cgroup_text,
    model.Iter: _Listing._iter_text,
    model.Netns: _Listing._netns_text,
    model.Device: _Listing._device_text,
    model.Sockmap: _Listing._sockmap_text,
    model.Netfilter: _Listing._netfilter_text,
    model.KprobeMulti: _Listing._kprobe_multi_text,
    model.UprobeMulti: _Listing._uprobe_multi_text,
    model.Kprobe: _Listing._kprobe_text,
    model.Uprobe: _Listing._uprobe_text,
    model.Tracepoint: _Listing._tracepoint_text,
    model.PerfEvent: _Listing._event_text,
}
_RECORDS: dict[type, Callable[[_Listing, Any], dict[str, Any]]] = {
    model.RawTracepoint: _Listing._raw_tracepoint_record,
    model.Tracing: _Listing._tracing_record,
    model.Cgroup: _Listing._cgroup_record,
    model.Iter: _Listing._iter_record,
    model.Netns: _Listing._netns_record,
    model.Device: _Listing._device_record,
    model.StructOps: _Listing._struct_ops_record,
    model.Sockmap: _Listing._sockmap_record,
    model.Netfilter: _Listing._netfilter_record,
    model.KprobeMulti: _Listing._kprobe_multi_record,
    model.UprobeMulti: _Listing._uprobe_multi_record,
    model.Kprobe: _Listing._kprobe_record,
    model.Uprobe: _Listing._uprobe_record,
    model.Tracepoint: _Listing._tracepoint_record,
    model.PerfEvent: _Listing._event_record,
}


def _show(ctx: Context, args: Args) -> None:
    kernel = ctx.kernel
    if args:
        obj = find_link(kernel, args)
        try:
            args.end()
            listing = _Listing(ctx)
            link = listing.reader.read(obj)
            if ctx.json is not None:
                ctx.json.value(listing.record(link))
            else:
                ctx.out.write(listing.text(link))
        finally:
            kernel.close(obj)
        return
    from pybpftool.cli.listing import write_all

    listing = _Listing(ctx)
    read, json = listing.reader.read, ctx.json
    if json is None:
        text = listing.text
        write_all(ctx, listing.listing, lambda obj: text(read(obj)))
        return
    element, record = json.text, listing.record
    json.begin_array()
    write_all(ctx, listing.listing, lambda obj: element(record(read(obj))))
    json.end()


def _pin(ctx: Context, args: Args) -> None:
    from pybpftool.cli.pinning import pin_command

    pin_command(ctx, args, find_link)


def _detach(ctx: Context, args: Args) -> None:
    if len(args) != 2:
        args.choose(("id", "pinned"))
        args.take("its value")
        args.end()
    kernel = ctx.kernel
    if not kernel.is_live:
        raise UsageError("a recorded kernel cannot be changed")
    obj = find_link(kernel, args)
    try:
        kernel.link_detach(obj)
    finally:
        kernel.close(obj)
    if ctx.json is not None:
        ctx.json.value(None)


_COMMANDS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
    ("pin", _pin),
    ("detach", _detach),
)
