"""The entry: reads options, picks the object's module, reports errors, sets the status."""

from __future__ import annotations

import os
import sys

from pybpftool.cli.context import Context, Options
from pybpftool.cli.grammar import Args, select
from pybpftool.errors import BpfError, UsageError
from pybpftool.output.stream import ClosedPipe, Output, open_standard, write_stderr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Handler = Callable[[Context, Args], None]

EXIT_FAILURE = 255  # upstream leaves main() with -1
EXIT_CLOSED_PIPE = 141  # what a shell reports for a program that SIGPIPE ended
EXIT_INTERRUPTED = 130

_HELP = """\
Usage: pybpftool [OPTIONS] OBJECT { COMMAND | help }
       pybpftool [OPTIONS] batch file FILE
       pybpftool version

Objects that this version handles:
       prog  map  link  cgroup  perf  net  btf  snapshot
       (each word may be shortened; 'pybpftool OBJECT help' lists an object's commands)

Options:
       -j, --json        print JSON
       -p, --pretty      print JSON over several lines
       -f, --bpffs       show the paths that objects are pinned at
       -n, --nomount     never mount a bpf file system
       -B, --base-btf FILE   the BTF that split BTF refers to
       -d, --debug       more messages
       --snapshot PATH   answer from a recorded kernel instead of the running one
       --resolve         name what other commands show as numbers (link, perf, net)
       -V, --version     same as the command version
       -h, --help        this text
"""


def _help(ctx: Context, args: Args) -> None:
    show_help(ctx, _HELP)


def show_help(ctx: Context, text: str) -> None:
    """Print a help text where upstream prints it: stderr, or ``null`` as JSON."""
    if ctx.json is not None:
        ctx.json.value(None)
        return
    ctx.out.flush()
    write_stderr(text.encode())


def _object(module: str) -> Handler:
    def handler(ctx: Context, args: Args) -> None:
        # Not importlib.import_module(): that package costs more than most of ours.
        __import__(f"pybpftool.cli.{module}", fromlist=("run",)).run(ctx, args)

    return handler


def _later(name: str) -> Handler:
    def handler(ctx: Context, args: Args) -> None:
        raise UsageError(f"this version has no '{name}' yet")

    return handler


# Upstream's order decides what a shortened word means; our own come last.
COMMANDS: list[tuple[str, Handler]] = [
    ("help", _help),
    ("batch", _object("batch")),
    ("prog", _object("prog")),
    ("map", _object("map")),
    ("link", _object("link")),
    ("cgroup", _object("cgroup")),
    ("perf", _object("perf")),
    ("net", _object("net")),
    ("feature", _later("feature")),
    ("btf", _object("btf")),
    ("gen", _later("gen")),
    ("struct_ops", _later("struct_ops")),
    ("iter", _later("iter")),
    ("token", _later("token")),
    ("version", _object("version")),
    ("snapshot", _object("snapshot")),
]


def dispatch(ctx: Context, words: Sequence[str]) -> None:
    """Run the command that ``words`` form; raises BpfError when it fails."""
    args = Args(words)
    select(COMMANDS, args, "")(ctx, args)


_SHORT = "VhpjfLmndSi:k:B:"
_LONG = {
    "json": "j",
    "help": "h",
    "pretty": "p",
    "version": "V",
    "bpffs": "f",
    "mapcompat": "m",
    "nomount": "n",
    "debug": "d",
    "use-loader": "L",
    "sign": "S",
    "base-btf": "B",
    "snapshot": "snapshot",
    "resolve": "resolve",
}
_WITH_VALUE = {"i", "k", "B", "snapshot"}
_SWITCHES = {
    "j": "json",
    "f": "bpffs",
    "n": "nomount",
    "d": "debug",
    "m": "mapcompat",
    "L": "use_loader",
    "resolve": "resolve",
}


class _Stop(Exception):
    """Options ask for something that ends the run at once (``-h``)."""


def _long_option(word: str) -> tuple[str, str | None]:
    name, equals, value = word[2:].partition("=")
    matches = [name] if name in _LONG else [long for long in _LONG if long.startswith(name)]
    if not matches:
        raise UsageError(f"unknown option '{word}'")
    if len(matches) > 1:
        raise UsageError(f"option '--{name}' is short for several: --" + ", --".join(matches))
    letter = _LONG[matches[0]]
    if equals and letter not in _WITH_VALUE:
        raise UsageError(f"option '--{matches[0]}' takes no value")
    return letter, value if equals else None


def _scan(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], UsageError | None]:
    """Options as (letter, value) in their order, words, and the error that ended the scan.

    Options may stand anywhere before ``--``, as getopt_long(3) permutes them.
    """
    found: list[tuple[str, str]] = []
    words: list[str] = []
    rest = list(argv)
    rest.reverse()
    posix = "POSIXLY_CORRECT" in os.environ
    while rest:
        word = rest.pop()
        if word == "--":
            words += reversed(rest)
            break
        if word.startswith("--"):
            try:
                letter, value = _long_option(word)
            except UsageError as error:
                return found, words, error
            if letter in _WITH_VALUE and value is None:
                if not rest:
                    return found, words, UsageError(f"option '{word}' needs a value")
                value = rest.pop()
            found.append((letter, value or ""))
        elif word.startswith("-") and len(word) > 1:
            at = 1
            while at < len(word):
                letter = word[at]
                at += 1
                if letter == ":" or letter not in _SHORT:
                    return found, words, UsageError(f"unknown option '-{letter}' in '{word}'")
                if letter in _WITH_VALUE:
                    value = word[at:]
                    if not value:
                        if not rest:
                            return found, words, UsageError(f"option '-{letter}' needs a value")
                        value = rest.pop()
                    found.append((letter, value))
                    break
                found.append((letter, ""))
        else:
            words.append(word)
            if posix:
                words += reversed(rest)
                break
    return found, words, None


def _parse(argv: Sequence[str], options: Options) -> list[str]:
    """Fill ``options`` from ``argv`` and return the words of the command."""
    found, words, error = _scan(argv)
    signing = False
    keys = False
    version = False
    for letter, value in found:
        if letter == "h":
            raise _Stop
        if letter in _SWITCHES:
            setattr(options, _SWITCHES[letter], True)
        elif letter == "V":
            version = True
        elif letter == "p":
            options.json = options.pretty = True
        elif letter == "S":
            signing = options.use_loader = True
        elif letter in ("i", "k"):
            keys = True
        elif letter == "B":
            options.base_btf = value
        elif letter == "snapshot":
            options.snapshot = value
    if error is not None:
        raise error
    if signing != keys:
        raise UsageError("-S (sign) and the keys -k and -i have to be given together")
    return ["version"] if version else words


def main(argv: Sequence[str]) -> int:
    """Run one command line and return the exit status.

    Output goes to file descriptors 1 and 2. Never raises for bad input.
    """
    options = Options()
    out = Output()
    stop: BaseException | None = None
    words: list[str] = []
    try:
        words = _parse(argv, options)
    except (_Stop, UsageError) as error:
        stop = error
    ctx = Context(options, out)
    try:
        try:
            if isinstance(stop, _Stop):
                _help(ctx, Args([]))
            elif isinstance(stop, UsageError):
                raise stop
            else:
                if options.base_btf is not None:
                    _ = ctx.base_btf
                dispatch(ctx, words)
        except BpfError as error:
            ctx.error(error)
        except RecursionError:
            ctx.error("the data is nested too deeply")
        except MemoryError:
            ctx.error("there is not enough memory for this")
        except KeyboardInterrupt:
            _finish(ctx)
            return EXIT_INTERRUPTED
        _finish(ctx)
    except ClosedPipe:
        return EXIT_CLOSED_PIPE
    except BpfError as error:
        # Standard output itself is gone (a full disk): stderr is all that is left.
        ctx.json = None
        out.discard()
        ctx.error(error)
    return EXIT_FAILURE if ctx.failed else 0


def _finish(ctx: Context) -> None:
    if ctx.json is not None:
        ctx.json.finish()
        ctx.out.write("\n")
    ctx.out.flush()


def run() -> None:
    """The console script: :func:`main` on ``sys.argv``, then out without ceremony."""
    import _signal  # type: ignore[import-not-found]  # the module signal loads enum
    import gc

    open_standard()
    # Who ignored it hands that down, and would leave us without our children's status.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    # Nothing here makes reference cycles worth collecting, and a run is short.
    gc.disable()
    try:
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    # The interpreter's own teardown would cost more than many a command.
    os._exit(status)
