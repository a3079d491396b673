"""The table of objects: which module a command line's first word means."""

from __future__ import annotations

from pybpftool.cli.grammar import Args, select
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.cli.context import Context

# Object -> module of this package with its function run(); None: this version lacks it.
# Upstream's order decides what a shortened word means; our own come last.
OBJECTS: tuple[tuple[str, str | None], ...] = (
    ("help", "help"),
    ("batch", "batch"),
    ("prog", "prog"),
    ("map", "map"),
    ("link", "link"),
    ("cgroup", "cgroup"),
    ("perf", "perf"),
    ("net", "net"),
    ("feature", "feature"),
    ("btf", "btf"),
    ("gen", "gen"),
    ("struct_ops", "struct_ops"),
    ("iter", "iter"),
    ("token", "token"),
    ("version", "version"),
    ("snapshot", "snapshot"),
    ("diff", "diff"),
    ("check", "check"),
    ("obj", "obj"),
    ("metrics", "metrics"),
    ("monitor", "monitor"),
    ("top", "top"),
    ("cbpf", "cbpf"),
    ("why", "why"),
    ("attachments", "attachments"),
    ("owners", "owners"),
    ("doctor", "doctor"),
    ("report", "report"),
)


def dispatch(ctx: Context, words: Sequence[str]) -> None:
    """Run the command that ``words`` form; raises BpfError when it fails."""
    args = Args(words)
    module = select(OBJECTS, args, "")
    if module is None:
        raise UsageError(f"this version has no '{args.previous()}' yet")
    if ctx.options.of_object:
        from pybpftool.cli.options import refuse_foreign

        refuse_foreign(ctx.options, module)
    if args.peek() == "help" and len(args) > 1 and show_help(ctx, [module, *args.rest()[1:]]):
        return
    # Not importlib.import_module(): that package costs more than most of ours.
    run = __import__(f"pybpftool.cli.{module}", fromlist=("run",)).run
    if ctx.options.is_table:
        from pybpftool.cli.options import OWN_TABLES
        from pybpftool.cli.table import tabled

        if module not in OWN_TABLES:
            run = tabled(module, run)
    if ctx.options.snapshot is None:
        run(ctx, args)
    else:
        from pybpftool.cli.recorded import run_command

        run_command(run, ctx, args)


def show_help(ctx: Context, words: Sequence[str]) -> bool:
    """Print how an object, or a command of it, is used; False where there is no such object."""
    module = next((module for name, module in OBJECTS if name.startswith(words[0])), None)
    if module is None:
        return False
    text = getattr(__import__(f"pybpftool.cli.{module}", fromlist=("HELP",)), "HELP", None)
    if text is None:
        return False
    from pybpftool.cli.help import show_usage

    show_usage(ctx, module, text, words[1:])
    return True
