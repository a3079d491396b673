"""The table of objects: which module a command line's first word means."""

from __future__ import annotations

from pybpftool.cli.grammar import Args, select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.cli.context import Context

# The objects, each a module of this package with its function run(). Upstream's order decides
# what a shortened word means; our own come last.
OBJECTS = (
    "help", "batch", "prog", "map", "link", "cgroup", "perf", "net", "feature", "btf", "gen",
    "struct_ops", "iter", "token", "version", "snapshot", "diff", "check", "obj", "metrics",
    "monitor", "top", "cbpf", "why", "attachments", "owners", "doctor", "report",
)  # fmt: skip


def dispatch(ctx: Context, words: Sequence[str]) -> None:
    """Run the command that ``words`` form; raises BpfError when it fails."""
    args = Args(words)
    word = select([(name, name) for name in OBJECTS], args, "")
    if ctx.options.of_object:
        from pybpftool.cli.options import refuse_foreign

        refuse_foreign(ctx.options, word)
    if args.peek() == "help" and len(args) > 1 and show_help(ctx, [word, *args.rest()[1:]]):
        return
    # Not importlib.import_module(): that package costs more than most of ours.
    run = __import__(f"pybpftool.cli.{word}", fromlist=("run",)).run
    if ctx.options.is_table:
        from pybpftool.cli.options import OWN_TABLES
        from pybpftool.cli.table import tabled

        if word not in OWN_TABLES:
            run = tabled(word, run)
    if ctx.options.snapshot is None:
        run(ctx, args)
    else:
        from pybpftool.cli.recorded import run_command

        run_command(run, ctx, args)


def show_help(ctx: Context, words: Sequence[str]) -> bool:
    """Print how an object, or a command of it, is used; False where there is no such object."""
    word = next((name for name in OBJECTS if name.startswith(words[0])), None)
    if word is None:
        return False
    text = getattr(__import__(f"pybpftool.cli.{word}", fromlist=("HELP",)), "HELP", None)
    if text is None:
        return False
    from pybpftool.cli.help import show_usage

    show_usage(ctx, word, text, words[1:])
    return True
