"""``owners``: what each unit, container, command or pin has."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool owners [OPTIONS]
       pybpftool owners help

Programs, maps, links, memory and run time by owner: systemd unit, container, command,
or the pin, device or cgroup that alone keeps an object. Each object counts once; what
several own stands in a row of theirs. Run time is there while statistics are on
(kernel.bpf_stats_enabled).

Options:
       -j, -p, --json-lines   each owner as JSON
       --columns NAMES        owner, progs, maps, links, memlock, run_time_ns, run_cnt;
                              +NAME beside the usual ones, or all
       --sort [-]NAME, --filter TERMS, --color WHEN   as with --table

Exit status: 0, or 2 where some part could not be seen, which is named at the end.
"""


def run(ctx: Context, args: Args) -> None:
    """Run ``owners``."""
    if args.accept("help"):
        ctx.show_help(HELP)
        return
    args.end()
    from pybpftool.cli.table import View
    from pybpftool.cli.unseen import tell_unseen
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.owners import Graph
    from pybpftool.inspect.ownership import shares

    view = View(ctx, "owners")
    graph = Graph(Inventory(ctx.kernel))
    view.show([row.json().get for row in shares(graph)])
    tell_unseen(ctx, graph.unseen)
