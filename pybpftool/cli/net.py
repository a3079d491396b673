"""``net``: list the programs of network devices and namespaces, attach and detach them."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.cli.recorded import run_command
from pybpftool.errors import KernelError, UsageError
from pybpftool.objects.net import (
    DeviceProgram,
    NetworkReader,
    bits,
    namespaces,
    netfilter_programs,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.objects.link import Netfilter
    from pybpftool.objects.net import Filter, Namespace, Network, XdpDevice
    from pybpftool.objects.symbols import Resolver

HELP = """\
Usage: pybpftool net { show | list } [dev NAME] [netns NETNS]
       pybpftool net { show | list } all
       pybpftool net attach ATTACH_TYPE PROG dev NAME [overwrite | prepend]
       pybpftool net detach ATTACH_TYPE dev NAME
       pybpftool net help

       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       ATTACH_TYPE := { xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress | tcx_egress }
       NETNS := { a name of ip-netns(8) | a process id | a path }
       Options: -j, -p, --snapshot PATH, --resolve (names of programs)

show lists XDP, tcx, netkit, tc filters, the flow dissector and netfilter, in our own
network namespace or another one; with all, in every one that has a name or a task.
overwrite replaces an XDP program, prepend puts a tcx program before the others.
"""

_XDP_UPDATE_IF_NOEXIST = 1  # linux/if_link.h: XDP_FLAGS_*
_XDP_FLAGS = {"xdp": 0, "xdpgeneric": 2, "xdpdrv": 4, "xdpoffload": 8}
_TCX = ("tcx_ingress", "tcx_egress")


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``net``."""
    run_command(select(_COMMANDS, args, "net"), ctx, args)


def _help(ctx: Context, args: Args) -> None:
    from pybpftool.cli.main import show_help

    show_help(ctx, HELP)


class _Listing:
    """Renders networks, with the names of programs if they are asked for."""

    __slots__ = ("_resolver",)

    def __init__(self, ctx: Context) -> None:
        self._resolver: Resolver | None = None
        if ctx.options.resolve:
            from pybpftool.objects.symbols import Resolver

            self._resolver = Resolver(ctx.kernel)

    def _named(self, id: int) -> str:
        """A program's id in text, with its name beside it."""
        name = self._resolver.prog_name(id) if self._resolver is not None else None
        return f"{id} ({name})" if name else str(id)

    def _name_record(self, id: int | None) -> dict[str, Any]:
        if self._resolver is None or not id:
            return {}
        name = self._resolver.prog_name(id)
        return {"prog_name": name} if name else {}

    def text(self, network: Network) -> str:
        """The sections of one network namespace."""
        parts = ["xdp:\n"]
        parts += map(self._xdp_text, network.xdp)
        parts.append("\ntc:\n")
        for program in network.tc:
            if isinstance(program, DeviceProgram):
                parts.append(self._device_text(program))
            else:
                parts.append(self._filter_text(program))
        parts.append("\nflow_dissector:\n")
        if network.flow_dissector:
            parts.append(f"id {self._named(network.flow_dissector)}")
        parts.append("\n")
        return "".join(parts)

    def record(self, network: Network) -> dict[str, Any]:
        """The JSON properties of one network namespace."""
        tc = [
            self._device_record(program)
            if isinstance(program, DeviceProgram)
            else self._filter_record(program)
            for program in network.tc
        ]
        dissector = network.flow_dissector
        return {
            "xdp": [self._xdp_record(device) for device in network.xdp],
            "tc": tc,
            "flow_dissector": [{"id": dissector, **self._name_record(dissector)}]
            if dissector
            else [],
        }

    def _xdp_text(self, device: XdpDevice) -> str:
        programs = "".join(f" {mode} id {self._named(id)}" for mode, id in device.programs)
        return f"{device.name}({device.ifindex}){programs}\n"

    def _xdp_record(self, device: XdpDevice) -> dict[str, Any]:
        record: dict[str, Any] = {"devname": device.name, "ifindex": device.ifindex}
        programs = [
            {"mode": mode, "id": id, **self._name_record(id)} for mode, id in device.programs
        ]
        if device.is_multi:
            record["multi_attachments"] = programs
        elif programs:
            record.update(programs[0])
        return record

    def _device_text(self, program: DeviceProgram) -> str:
        text = f"{program.devname}({program.ifindex}) {program.kind}"
        if program.prog_name:
            text += f" {program.prog_name}"
        text += f" prog_id {program.prog_id} "
        if program.prog_flags:
            text += "prog_flags " + "".join(f"{bit} " for bit in bits(program.prog_flags))
        if program.link_id:
            text += f"link_id {program.link_id} "
            if program.link_flags:
                text += "link_flags " + "".join(f"{bit} " for bit in bits(program.link_flags))
        return text + "\n"

    def _device_record(self, program: DeviceProgram) -> dict[str, Any]:
        record: dict[str, Any] = {
            "devname": program.devname,
            "ifindex": program.ifindex,
            "kind": program.kind,
        }
        if program.prog_name:
            record["name"] = program.prog_name
        record["prog_id"] = program.prog_id
        record["prog_flags"] = bits(program.prog_flags)
        record["link_id"] = program.link_id
        record["link_flags"] = bits(program.link_flags)
        return record

    def _filter_text(self, found: Filter) -> str:
        text = f"{found.devname}({found.ifindex}) {found.kind}"
        if found.name is not None:
            text += f" {found.name}"
        if found.prog_id is not None:
            text += f" id {self._named(found.prog_id)}"
        if found.actions is not None:
            text += " act ["
            for name, id in found.actions:
                text += "{" + (name or "")
                text += "}" if id is None else f" id {self._named(id)}}}"
            text += "] "
        return text + "\n"

    def _filter_record(self, found: Filter) -> dict[str, Any]:
        record: dict[str, Any] = {"devname": found.devname} if found.devname else {}
        record["ifindex"] = found.ifindex
        record["kind"] = found.kind
        if found.name is not None:
            record["name"] = found.name
        if found.prog_id is not None:
            record["id"] = found.prog_id
            record.update(self._name_record(found.prog_id))
        if found.actions is not None:
            actions = []
            for name, id in found.actions:
                action: dict[str, Any] = {} if name is None else {"name": name}
                if id is not None:
                    action["id"] = id
                    action.update(self._name_record(id))
                actions.append(action)
            record["act"] = actions
        return record

    def netfilter_text(self, programs: list[tuple[Netfilter, int]]) -> str:
        """The netfilter section."""
        from pybpftool.cli.link import netfilter_text

        rows = (f"{netfilter_text(hook)} prog_id {self._named(id)}" for hook, id in programs)
        return "netfilter:\n" + "".join(rows) + "\n"

    def netfilter_records(self, programs: list[tuple[Netfilter, int]]) -> list[dict[str, Any]]:
        """The objects of the netfilter section."""
        from pybpftool.cli.link import netfilter_record

        return [
            {**netfilter_record(hook), "id": id, **self._name_record(id)} for hook, id in programs
        ]


def _netfilter(ctx: Context) -> list[tuple[Netfilter, int]]:
    try:
        return netfilter_programs(ctx.kernel)
    except KernelError as error:
        ctx.error(error)
        return []


def _show(ctx: Context, args: Args) -> None:
    device = netns = ""
    if args.accept("all"):
        args.end()
        _show_all(ctx)
        return
    while args:
        if args.choose(("dev", "netns")) == "dev":
            device = args.take("the name of a network device")
        else:
            netns = ctx.kernel.namespace_path(args.take("a network namespace"))
    ifindex = ctx.kernel.device_index(device, netns) if device else 0
    network = NetworkReader(ctx.kernel).read(netns, ifindex)
    programs = _netfilter(ctx)
    listing = _Listing(ctx)
    if ctx.json is not None:
        record = listing.record(network)
        record["netfilter"] = listing.netfilter_records(programs)
        ctx.json.value([record])
    else:
        ctx.out.write(listing.text(network) + listing.netfilter_text(programs))


def _show_all(ctx: Context) -> None:
    """Every namespace; the netfilter links, whose namespaces are unknown, at the end."""
    reader, listing = NetworkReader(ctx.kernel), _Listing(ctx)
    if ctx.json is not None:
        ctx.json.begin_array()
    for namespace in namespaces(ctx.kernel):
        try:
            network = reader.read(namespace.path)
        except KernelError as error:
            if not ctx.kernel.is_live or ctx.kernel.has_file(namespace.path):
                ctx.error(error)
            continue  # else its last task ended meanwhile
        if ctx.json is not None:
            record = {"netns": _namespace_record(namespace), **listing.record(network)}
            ctx.json.value(record)
        else:
            ctx.out.write(_namespace_text(namespace) + listing.text(network))
    programs = _netfilter(ctx)
    if ctx.json is not None:
        ctx.json.value({"netfilter": listing.netfilter_records(programs)})
        ctx.json.end()
    else:
        ctx.out.write(listing.netfilter_text(programs))


def _namespace_text(namespace: Namespace) -> str:
    text = f"netns {namespace.inode}"
    if namespace.name:
        text += f"  name {namespace.name}"
    if namespace.pid:
        text += f"  pid {namespace.pid} ({namespace.comm})"
    return text + ("  own\n" if not namespace.path else "\n")


def _namespace_record(namespace: Namespace) -> dict[str, Any]:
    record: dict[str, Any] = {"inode": namespace.inode}
    if namespace.name:
        record["name"] = namespace.name
    if namespace.pid:
        record["pid"] = namespace.pid
        record["comm"] = namespace.comm
    record["own"] = not namespace.path
    return record


def _attach_type(args: Args) -> str:
    return args.choose((*_XDP_FLAGS, *_TCX))


def _device(ctx: Context, args: Args) -> int:
    args.choose(("dev",))
    return ctx.kernel.device_index(args.take("the name of a network device"), "")


def _attach(ctx: Context, args: Args) -> None:
    from pybpftool.cli.refs import one_program
    from pybpftool.kernel import net

    _require_live(ctx)
    kind = _attach_type(args)
    prog = one_program(ctx.kernel, args)
    try:
        ifindex = _device(ctx, args)
        option = args.choose(("overwrite", "prepend")) if args else ""
        args.end()
        if option == "overwrite" and kind in _TCX:
            raise UsageError("'overwrite' is for XDP only")
        if option == "prepend" and kind not in _TCX:
            raise UsageError("'prepend' is for tcx_ingress and tcx_egress only")
        if kind in _TCX:
            net.attach_tcx(prog.fd, ifindex, _number(kind), option == "prepend")
        else:
            flags = _XDP_FLAGS[kind] | (0 if option else _XDP_UPDATE_IF_NOEXIST)
            _set_xdp(ifindex, prog.fd, flags, "cannot attach the program to the device")
    finally:
        ctx.kernel.close(prog)
    if ctx.json is not None:
        ctx.json.value(None)


def _detach(ctx: Context, args: Args) -> None:
    from pybpftool.kernel import net

    _require_live(ctx)
    kind = _attach_type(args)
    ifindex = _device(ctx, args)
    args.end()
    if kind in _TCX:
        net.detach_tcx(ifindex, _number(kind))
    else:
        flags = _XDP_FLAGS[kind] | _XDP_UPDATE_IF_NOEXIST
        _set_xdp(ifindex, -1, flags, "cannot detach the program from the device")
    if ctx.json is not None:
        ctx.json.value(None)


def _number(kind: str) -> int:
    from pybpftool.uapi.bpf import ATTACH_TYPES

    return ATTACH_TYPES.index(kind)


def _set_xdp(ifindex: int, fd: int, flags: int, what: str) -> None:
    from pybpftool.adapters.netlink import request_set_xdp
    from pybpftool.kernel.net import netlink_change

    netlink_change(request_set_xdp(ifindex, fd, flags), what)


def _require_live(ctx: Context) -> None:
    if not ctx.kernel.is_live:
        raise UsageError("a recorded kernel cannot be changed")


_COMMANDS = (
    ("show", _show),
    ("list", _show),
    ("attach", _attach),
    ("detach", _detach),
    ("help", _help),
)
