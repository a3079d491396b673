"""``diff``: what is different between two recorded kernels, or since one was recorded."""

from __future__ import annotations

from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.inspect.diff import Difference, Options

HELP = """\
Usage: pybpftool diff A [B] [OPTIONS]
       pybpftool diff help

What came (+), went (-) and changed (~) from A to B. Both are snapshots; B is the
running kernel when it is left out. Objects meet by name, type and where they are
attached, never by id. Exit status: 0 no difference, 1 some, 2 it could not be told.

Options:
       --only KIND,...     compare only these: prog, map, link
       --ignore FIELD,...  do not compare these fields
       --owner OWNER       only what belongs to this owner (a pattern like unit:agent*)
       --code              show the instructions that changed, with their source lines
       --elements          compare the elements of maps, too
"""

EXIT_DIFFERENT = 1
EXIT_TROUBLE = 2


def run(ctx: Context, args: Args) -> None:
    """Run ``diff``."""
    if args.peek() == "help":
        ctx.show_help(HELP)
        return
    ctx.failure_status = EXIT_TROUBLE
    if not args:
        raise UsageError("expected the path of a snapshot after 'diff'; see 'pybpftool diff help'")
    paths = args.rest()
    if len(paths) > 2:
        raise UsageError(f"unexpected argument '{paths[2]}': 'diff' compares two kernels")
    options = _options(ctx)
    from pybpftool.cli.recorded import guarded

    guarded(lambda: _compare(ctx, paths, options))


def _compare(ctx: Context, paths: list[str], options: Options) -> None:
    from pybpftool.cli.progress import Progress
    from pybpftool.inspect.diff import Difference
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.kernel.snapshot import SnapshotKernel

    with Progress("Comparing"):
        old = SnapshotKernel.load(paths[0])
        new = SnapshotKernel.load(paths[1]) if len(paths) > 1 else ctx.kernel
        difference = Difference(Inventory(old), Inventory(new), options)
    if ctx.json is not None:
        ctx.json.value(_json(difference, old, new))
    else:
        for change in difference.changes:
            ctx.out.write(change.text())
        for sentence in difference.unknown:
            ctx.say(f"Not compared: {sentence}")
    if difference.changes:
        ctx.status = EXIT_DIFFERENT
    elif difference.unknown:
        ctx.status = EXIT_TROUBLE


def _json(difference: Difference, *kernels: object) -> dict[str, object]:
    sides = {
        side: {
            "release": getattr(kernel, "release", ""),
            "machine": getattr(kernel, "machine", ""),
            "recorded_at": getattr(kernel, "recorded_at", None),
        }
        for side, kernel in zip(("old", "new"), kernels)
    }
    return {
        **sides,
        "changes": [change.json() for change in difference.changes],
        "unknown": difference.unknown,
        "summary": difference.counts,
    }


def _options(ctx: Context) -> Options:
    from pybpftool.inspect.diff import COMPARED, Options
    from pybpftool.inspect.items import KINDS

    only: tuple[str, ...] = KINDS
    ignore: list[str] = []
    owner = ""
    switches = set()
    for name, value in ctx.options.of_object:
        if name == "only":
            only = tuple(_words(value, KINDS, "kind"))
        elif name == "ignore":
            known = sorted({field for fields in COMPARED.values() for field in fields})
            ignore += _words(value, known, "field")
        elif name == "owner":
            owner = value
        else:
            switches.add(name)
    return Options(only, tuple(ignore), owner, "code" in switches, "elements" in switches)


def _words(value: str, known: list[str] | tuple[str, ...], what: str) -> list[str]:
    """The words of a list with commas; refuses one that is unknown."""
    from pybpftool.inspect.wording import nearest

    words = value.split(",")
    for word in words:
        if word not in known:
            raise UsageError(f"there is no {what} '{word}'{nearest(word, known)}")
    return words
