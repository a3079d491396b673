"""``perf``: list the perf events and raw tracepoints that tasks hold with a program."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.objects.perf import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool perf { show | list }
       pybpftool perf help

       Options: -j, -p, --snapshot PATH,
                --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN,
                --resolve (names of programs, symbols and USDT probes of uprobes)

show lists the file descriptors of all tasks that are raw tracepoints, tracepoints,
kprobes and uprobes with a program.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``perf``."""
    select(VERBS, args, "perf")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _show(ctx: Context, args: Args) -> None:
    """``perf { show | list }``; further words mean nothing here, to upstream either."""
    events = collect(ctx.kernel, ctx.options.resolve)
    if ctx.json is not None:
        ctx.json.array(event.json() for event in events)
        return
    write = ctx.out.write
    for event in events:
        write(event.text())


VERBS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
)
