"""``doctor``: what is wrong with the BPF objects of a machine, and what to do about it."""

from __future__ import annotations

from pybpftool.cli.unseen import EXIT_PARTLY, tell_unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool doctor [CHECK]...
       pybpftool doctor help

       CHECK := { unheld | unattached | unused | twice | full | tail-call | stats | hidden }
       Options: -j, -p, --snapshot PATH

Looks for what is wrong with programs, maps and links, all checks or those named:
       unheld       loaded, and held by nothing that can be seen
       unattached   programs that are pinned and act nowhere, links that are detached
       unused       pinned maps that no program and no process uses
       twice        the same program several times at one place
       full         maps that are full, or nearly; elements are counted
       tail-call    slots of program arrays that are empty while programs jump there
       stats        statistics that are left on, by the sysctl or a descriptor of a process
       hidden       objects that /proc, bpf file systems, links, kallsyms or iterators show
                    and the listing of bpf(2) does not, or the other way round

Each finding says what to do; several alike say it once. Exit status: 0 nothing found,
1 findings, 2 something could not be judged, which is named at the end.
"""

EXIT_FINDINGS = 1


def run(ctx: Context, args: Args) -> None:
    """Run ``doctor``."""
    if args.accept("help"):
        ctx.show_help(HELP)
        return
    ctx.failure_status = EXIT_PARTLY
    from pybpftool.inspect.doctor import CHECKS, Doctor
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.owners import Graph

    wanted = []
    while args:
        wanted.append(args.choose(tuple(CHECKS)))
    graph = Graph(Inventory(ctx.kernel))
    doctor = Doctor(graph, wanted or list(CHECKS))
    found = doctor.findings()
    if ctx.json is not None:
        ctx.json.value(
            {
                "findings": [each.json() for each in found],
                "unseen": [*doctor.unseen, *doctor.remarks],
            }
        )
    else:
        from itertools import groupby

        from pybpftool.inspect.wording import counted, shown

        ctx.out.set_errors("backslashreplace")
        for advice, alike in groupby(found, lambda each: each.advice):
            group = list(alike)
            for each in group:
                ctx.out.write(f"{each.check}: {shown(each.label)}: {shown(each.what)}\n")
            # What many have in common is said once.
            ctx.out.write(f"\t{shown(advice)}\n")
            for each in group:
                if each.command:
                    ctx.out.write(f"\t{each.command}\n")
        ctx.out.write(f"{counted(len(found), 'finding')}; {graph.counts()}\n")
    tell_unseen(ctx, doctor.unseen, is_told=ctx.json is not None)
    if ctx.json is None:
        for remark in doctor.remarks:
            ctx.aside(f"Not seen: {remark}")
    if found:
        ctx.status = EXIT_FINDINGS
