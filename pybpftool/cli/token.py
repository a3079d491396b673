"""``token``: what the mounted bpf file systems delegate."""

from __future__ import annotations

from pybpftool.cli.grammar import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool token { show | list }
       pybpftool token help

       Options: -j, -p, --snapshot PATH,
                --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists the bpf file systems that BPF tokens can be made of, with the commands of
bpf(2), map types, program types and attach types that each lets a token's owner use.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``token``."""
    select(VERBS, args, "token")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _show(ctx: Context, args: Args) -> None:
    """``token { show | list }``"""
    from pybpftool.objects.token import collect

    args.end()
    found = list(collect(ctx.kernel))  # before an array begins: without /proc there is none
    if ctx.json is not None:
        ctx.json.array(each.json() for each in found)
        return
    for each in found:
        ctx.out.write(each.text())


VERBS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
)
