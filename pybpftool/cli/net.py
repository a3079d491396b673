"""``net``: list the programs of network devices and namespaces, attach and detach them."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import KernelError, UsageError
from pybpftool.objects.net import NetworkReader, namespaces, netfilter_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.objects.net import NetfilterProgram

HELP = """\
Usage: pybpftool net { show | list } [dev NAME] [netns NETNS]
       pybpftool net { show | list } all
       pybpftool net attach ATTACH_TYPE PROG dev NAME [overwrite | prepend]
       pybpftool net detach ATTACH_TYPE dev NAME
       pybpftool net help

       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       ATTACH_TYPE := { xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress | tcx_egress }
       NETNS := { a name of ip-netns(8) | a process id | a path }
       Options: -j, -p, --snapshot PATH, --resolve (names of programs),
                show: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists XDP, tcx, netkit, tc filters, the flow dissector and netfilter, in our own
network namespace or another one; with all, in every one that has a name or a task.
overwrite replaces an XDP program, prepend puts a tcx program before the others.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``net``."""
    select(VERBS, args, "net")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _netfilter(ctx: Context, reader: NetworkReader) -> list[NetfilterProgram] | KernelError:
    """The programs, or why there are none to see: with JSON an element in their place."""
    try:
        return reader.netfilter()
    except KernelError as error:
        if ctx.json is None:
            ctx.error(error)
            return []
        ctx.failed = True
        return error


def _netfilter_json(programs: list[NetfilterProgram] | KernelError) -> list[dict[str, Any]]:
    if isinstance(programs, KernelError):
        return [{"error": str(programs)}]
    return [prog.json() for prog in programs]


def _netfilter_text(programs: list[NetfilterProgram] | KernelError) -> str:
    return netfilter_text([] if isinstance(programs, KernelError) else programs)


def _show(ctx: Context, args: Args) -> None:
    """``net { show | list } [dev NAME] [netns NETNS]``, ``net { show | list } all``"""
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
    reader = NetworkReader(ctx.kernel, ctx.options.resolve)
    network = reader.read(netns, ifindex)
    programs = _netfilter(ctx, reader)
    if ctx.json is not None:
        ctx.json.value([{**network.json(), "netfilter": _netfilter_json(programs)}])
    else:
        ctx.out.write(network.text() + _netfilter_text(programs))
    if network.unseen:
        ctx.error_aside(network.unseen)


def _show_all(ctx: Context) -> None:
    """Every namespace; the netfilter links, whose namespaces are unknown, at the end."""
    reader = NetworkReader(ctx.kernel, ctx.options.resolve)
    if ctx.json is not None:
        ctx.json.begin_array()
    unseen = ""
    for namespace in namespaces(ctx.kernel):
        try:
            network = reader.read(namespace.path)
        except KernelError as error:
            if not ctx.kernel.is_live or ctx.kernel.has_file(namespace.path):
                ctx.error(error)
            continue  # else its last task ended meanwhile
        if ctx.json is not None:
            ctx.json.value({"netns": namespace.json(), **network.json()})
        else:
            ctx.out.write(namespace.text() + network.text())
        unseen = unseen or network.unseen
    programs = _netfilter(ctx, reader)
    if ctx.json is not None:
        ctx.json.value({"netfilter": _netfilter_json(programs)})
        ctx.json.end()
    else:
        ctx.out.write(_netfilter_text(programs))
    if unseen:
        ctx.error_aside(unseen)


def _device(ctx: Context, args: Args) -> int:
    args.choose(("dev",))
    return ctx.kernel.device_index(args.take("the name of a network device"), "")


def _attach(ctx: Context, args: Args) -> None:
    """``net attach ATTACH_TYPE PROG dev NAME [overwrite | prepend]``"""
    from pybpftool.cli.refs import one_program
    from pybpftool.control import net, require_live

    require_live(ctx.kernel)
    kind = args.choose((*net.XDP_FLAGS, *net.TCX))
    prog = one_program(ctx.kernel, args)
    try:
        ifindex = _device(ctx, args)
        # Upstream quirk: what follows is not looked at.
        option = args.choose(("overwrite", "prepend")) if args else ""
        if option == "overwrite" and kind in net.TCX:
            raise UsageError("'overwrite' is for XDP only")
        if option == "prepend" and kind not in net.TCX:
            raise UsageError("'prepend' is for tcx_ingress and tcx_egress only")
        net.attach(ctx.kernel, kind, prog, ifindex, option == "overwrite", option == "prepend")
    finally:
        ctx.kernel.close(prog)
    if ctx.json is not None:
        ctx.json.value(None)


def _detach(ctx: Context, args: Args) -> None:
    """``net detach ATTACH_TYPE dev NAME``"""
    from pybpftool.control import net, require_live

    require_live(ctx.kernel)
    kind = args.choose((*net.XDP_FLAGS, *net.TCX))
    ifindex = _device(ctx, args)
    # Upstream quirk: further words ('overwrite') mean nothing here.
    net.detach(ctx.kernel, kind, ifindex)
    if ctx.json is not None:
        ctx.json.value(None)


VERBS = (
    ("show", _show),
    ("list", _show),
    ("attach", _attach),
    ("detach", _detach),
    ("help", _help),
)
