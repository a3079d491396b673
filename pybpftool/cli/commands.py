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
)


def dispatch(ctx: Context, words: Sequence[str]) -> None:
    """Run the command that ``words`` form; raises BpfError when it fails."""
    args = Args(words)
    module = select(OBJECTS, args, "")
    if module is None:
        raise UsageError(f"this version has no '{args.previous()}' yet")
    # Not importlib.import_module(): that package costs more than most of ours.
    run = __import__(f"pybpftool.cli.{module}", fromlist=("run",)).run
    if ctx.options.snapshot is None:
        run(ctx, args)
    else:
        from pybpftool.cli.recorded import run_command

        run_command(run, ctx, args)
