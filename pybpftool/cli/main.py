"""The entry: reads options, picks the object's module, reports errors, sets the status."""

from __future__ import annotations

import posix
import sys
from errno import ENOMEM

from pybpftool.cli.context import Context
from pybpftool.cli.grammar import Args, select
from pybpftool.cli.options import OWN_TABLES, HelpWanted, Options, parse, refuse_foreign
from pybpftool.errors import BpfError
from pybpftool.output.stream import ClosedPipe, Output, open_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.kernel.interface import Kernel

# The objects, each a module of this package with its function run(). Upstream's order decides
# what a shortened word means; our own come last.
OBJECTS = (
    "help", "batch", "prog", "map", "link", "cgroup", "perf", "net", "feature", "btf", "gen",
    "struct_ops", "iter", "token", "version", "snapshot", "diff", "check", "obj", "metrics",
    "monitor", "top", "cbpf", "why", "attachments", "owners", "doctor", "report",
)  # fmt: skip

EXIT_CLOSED_PIPE = 141  # what a shell reports for a program that SIGPIPE ended
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str], kernel: Kernel | None = None, *, is_last_resort: bool = False) -> int:
    """Run one command line and return the exit status.

    ``kernel`` answers in place of the running one, unless ``--snapshot`` names another.
    With ``is_last_resort``, nobody above handles exceptions: a fault of this program ends
    in a sentence, too, unless ``-d`` asks where it happened.

    Output goes to file descriptors 1 and 2. Never raises for bad input.
    """
    options = Options()
    out = Output()
    stop: Exception | None = None
    is_short = False
    words: list[str] = []
    try:
        words = parse(argv, options)
    except Exception as error:  # told below, as what goes wrong later
        stop = error
    ctx = Context(options, out, kernel)
    try:
        try:
            _obey(ctx, stop, words)
        except BpfError as error:
            if out.failure:
                raise
            ctx.error(error)
        except RecursionError:
            ctx.error("the data is nested too deeply")
        except MemoryError:
            is_short = True  # of memory, until the exception lets go of what its frames hold
        except ClosedPipe:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == ENOMEM:
                is_short = True
            elif options.debug or not is_last_resort:
                raise
            else:
                ctx.error(_own_fault(error))
        except KeyboardInterrupt:
            _finish(ctx)
            return EXIT_INTERRUPTED
        if is_short:
            _tell_shortage(ctx)
        # Upstream quirk: what -h answers as JSON ends without a newline.
        _finish(ctx, "" if isinstance(stop, HelpWanted) else "\n")
    except ClosedPipe:
        return EXIT_CLOSED_PIPE
    except BpfError as error:
        # Standard output itself is gone (a full disk), in part at least: only stderr is left.
        ctx.json = None
        out.discard()
        ctx.error(error)
    return ctx.failure_status if ctx.failed else ctx.status


def _obey(ctx: Context, stop: Exception | None, words: list[str]) -> None:
    """Run the command, show the help that was asked for, or raise what is wrong with options."""
    if isinstance(stop, HelpWanted):
        if not (stop.words and show_help(ctx, stop.words)):
            dispatch(ctx, ["help"])
        return
    if stop is not None:
        raise stop
    if ctx.options.base_btf:
        _ = ctx.base_btf
    dispatch(ctx, words)


def dispatch(ctx: Context, words: Sequence[str]) -> None:
    """Run the command that ``words`` form; raises BpfError when it fails."""
    args = Args(words)
    word = select([(name, name) for name in OBJECTS], args, "")
    if ctx.options.of_object:
        refuse_foreign(ctx.options, word)
    if args.peek() == "help" and len(args) > 1 and show_help(ctx, [word, *args.rest()[1:]]):
        return
    # Not importlib.import_module(): that package costs more than most of ours.
    run = __import__(f"pybpftool.cli.{word}", fromlist=("run",)).run
    if ctx.options.is_table:
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


def _tell_shortage(ctx: Context) -> None:
    """Say that memory is short; what was to be printed needs some, too, and may have to go."""
    try:
        ctx.out.flush()
    except MemoryError:
        ctx.out.discard()
        ctx.json = None  # what is left of the document is none
    ctx.error("there is not enough memory for this")


def _own_fault(error: Exception) -> str:
    """What no module foresaw, as a sentence.

    A module that cannot be read, a system call that hardly ever fails, or a mistake of ours.
    """
    place = error.__traceback__
    is_import = isinstance(error, ImportError)
    while place is not None and place.tb_next is not None:
        place = place.tb_next
        # A module's own lines run only while it is loaded.
        code = place.tb_frame.f_code
        is_import |= code.co_name == "<module>" or code.co_filename.startswith("<frozen importlib")
    if is_import:
        return f"a part of Python or of pybpftool cannot be loaded: {error}"
    if isinstance(error, OSError):
        named = f": '{error.filename}'" if error.filename is not None else ""
        return f"a system call of this command failed: {error.strerror or error}{named}"
    where = ""
    if place is not None:
        file = place.tb_frame.f_code.co_filename.rpartition("pybpftool/")[2]
        where = f" ({file}, line {place.tb_lineno})"
    told = f"{type(error).__name__}: {error}".replace("\n", " ").rstrip(": ")
    return f"this is a mistake in pybpftool, please report it with what -d prints: {told}{where}"


def _finish(ctx: Context, end: str = "\n") -> None:
    if ctx.json is not None:
        ctx.json.finish()
        ctx.out.write(end)
    ctx.out.flush()


def _unheard(unraisable: object) -> None:
    """In place of a traceback on stderr."""


def run() -> None:
    """The console script: :func:`main` on ``sys.argv``, then out without ceremony."""
    import _signal  # type: ignore[import-not-found]  # the module signal loads enum
    import gc

    open_standard()
    try:
        # Who ignored it hands that down, and would leave us without our children's status.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    except OSError:
        pass  # a filter of system calls: what has children is slower then
    # What goes wrong where nobody can catch it (in a thread that gets no memory) is not heard.
    sys.unraisablehook = _unheard
    # Most runs are over before reference cycles are worth collecting; see Context.stay().
    gc.disable()
    try:
        status = main(sys.argv[1:], is_last_resort=True)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    # The interpreter's own teardown would cost more than many a command.
    posix._exit(status)
