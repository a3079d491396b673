"""``batch file FILE``: one command a line, until one fails."""

from __future__ import annotations

import os

from pybpftool.cli.grammar import Args
from pybpftool.cli.kept_maps import KeptMaps
from pybpftool.errors import BpfError, UsageError
from pybpftool.reading import read_some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.cli.context import Context

_BLANKS = " \t\r\n"
# What a plain line has: no quotes, comments, continuations, nothing but ASCII.
_PLAIN = bytes({*b" \t\r", *range(0x21, 0x7F)} - {*b"#'\"\\"})
HELP = """\
Usage: pybpftool [OPTIONS] batch file FILE

Runs the commands of FILE, one a line without the name of this program, until one fails;
the file - is standard input. What follows # is a comment, a backslash at the end of a line
goes on in the next one, quotes keep blanks. With -j and -p an array has each command and
its output.
"""
_LONGEST_LINE = 1 << 20


def split_words(line: str) -> list[str]:
    """The words of a batch line.

    A word that begins with a quote runs to the same quote (there are no escapes);
    anything else runs to the next blank.
    """
    if "\\\n" in line:
        raise UsageError("the command is continued, but the file ends there")
    if "'" not in line and '"' not in line:
        for blank in _BLANKS[1:]:
            line = line.replace(blank, " ")
        return [word for word in line.split(" ") if word]
    words: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at] in _BLANKS:
            at += 1
        if at == len(line):
            return words
        if line[at] in "'\"":
            end = line.find(line[at], at + 1)
            if end < 0:
                raise UsageError("a quote is opened and never closed")
            words.append(line[at + 1 : end])
        else:
            end = at
            while end < len(line) and line[end] not in _BLANKS:
                end += 1
            words.append(line[at:end])
        at = end + 1
        if at > len(line):
            return words


def _lines(name: str, wait: Callable[[], object]) -> Iterator[tuple[str, bool]]:
    """The lines of a file (``-``: standard input) as they arrive, comments removed.

    With each whether it is plain: only blanks part its words. ``wait`` is called before the file
    is read, when nothing of it is left.
    """
    if name == "-":
        fd = 0
    else:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise BpfError(f"cannot open the batch file '{name}': {reason}") from None
    try:
        pending = b""
        while True:
            wait()
            try:
                block = read_some(fd, 1 << 16)
            except OSError as error:
                raise BpfError(f"cannot read the batch file '{name}': {error.strerror}") from None
            if not block:
                break
            *whole, pending = (pending + block).split(b"\n")
            for line in whole:
                if not line.translate(None, _PLAIN):
                    yield line.decode("ascii"), True
                else:
                    yield _uncomment(line) if b"#" in line else _text(line) + "\n", False
            if len(pending) > _LONGEST_LINE:
                raise BpfError(f"a line of the batch file '{name}' has more than 1 MiB")
        if pending:
            yield _uncomment(pending), False
    finally:
        if fd:
            os.close(fd)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _uncomment(line: bytes) -> str:
    return _text(line.partition(b"#")[0])


def commands(
    name: str, wait: Callable[[], object] = lambda: None
) -> Iterator[tuple[int, str, bool]]:
    """The commands of a batch file with the numbers of their first lines; empty ones are left out.

    A line that ends in a backslash goes on in the next one; in the last line it stays. See
    :func:`_lines` for the rest.
    """
    lines = enumerate(_lines(name, wait), 1)
    for number, (line, is_plain) in lines:
        while "\\\n" in line:
            more = next(lines, None)
            if more is None:
                break
            line = line.replace("\\\n", "", 1) + more[1][0]
        if line.strip(_BLANKS):
            yield number, line, is_plain


def run(ctx: Context, args: Args) -> None:
    """Run the commands of a file; the first that fails ends the batch."""
    if not args.accept("file"):
        word = args.take("'file'")
        raise UsageError(f"expected 'file' after 'batch', got '{word}'")
    name = args.take("a file name")
    args.end()
    where = "standard input" if name == "-" else name
    count = 0
    ctx.stay()
    if ctx.json is not None:
        ctx.json.begin_array()

    outer, kept = ctx.kept, KeptMaps()

    def wait() -> None:
        kept.release()
        ctx.out.flush()

    if ctx.options.snapshot is None and not ctx.options.is_table:
        ctx.kept = kept
    try:
        for number, line, is_plain in commands(name, wait):
            if ctx.json is None:
                ctx.place = f"{where}:{number}: "
            words = line.split() if is_plain else split_words(line)
            if not kept.begin(words):
                wait()
            if ctx.json is not None:
                depth = ctx.json.depth
                ctx.json.begin_object()
                ctx.json.fields({"command": words})
                ctx.json.name("output")
                try:
                    _run_one(ctx, kept, words)
                except BpfError as error:
                    ctx.error(error)
                ctx.json.finish(depth + 1)
                ctx.json.ensure_value()
                ctx.json.finish(depth)
            else:
                _run_one(ctx, kept, words)
            if kept.current() is None:
                ctx.out.flush()
            if ctx.failed:
                break
            ctx.place = ""
            count += 1
    finally:
        ctx.kept = outer
        kept.release()
    if ctx.json is not None:
        ctx.json.end()
    elif not ctx.failed:
        ctx.out.write(f"processed {count} commands\n")


def _run_one(ctx: Context, kept: KeptMaps, words: list[str]) -> None:
    map = kept.current()
    if map is not None:
        map.again(ctx, Args(words, 2))
        return
    from pybpftool.cli.main import dispatch

    dispatch(ctx, words)
