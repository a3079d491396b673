"""``prog run``: run a program on given data and show what it returns."""

from __future__ import annotations

import posix

from pybpftool.cli.refs import one_program
from pybpftool.cnumber import c_number
from pybpftool.control import require_live
from pybpftool.control.run import run_program
from pybpftool.errors import BpfError, UsageError
from pybpftool.reading import read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.control.run import Outcome
    from pybpftool.kernel.interface import BpfObject, Kernel

_WORDS = {
    "data_in": "a file with data",
    "data_out": "a file for the data that comes back",
    "data_size_out": "a number of bytes",
    "ctx_in": "a file with a context",
    "ctx_out": "a file for the context that comes back",
    "ctx_size_out": "a number of bytes",
    "repeat": "a number of runs",
    "expect": "a return value",
    "data": "the data as hex bytes or typed initializers",
    "ctx": "the context as an initializer",
}
_NUMBERS = frozenset(("data_size_out", "ctx_size_out", "repeat", "expect"))
# Words that stand for themselves alone: shortened, they are short for the others.
_WHOLE = frozenset(("data", "ctx"))
_FLAGS = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY
_LONGEST = 1 << 24  # bytes of input; the kernel takes less


class _Plan:
    """What the words after the program ask for."""

    __slots__ = ("numbers", "texts")

    def __init__(self, args: Args) -> None:
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        while args:
            word = _keyword(args)
            if word in _NUMBERS:
                self.numbers[word] = _number(args.take(_WORDS[word]), _WORDS[word])
            else:
                self.texts[word] = args.take(_WORDS[word])
                self._check()
        # Room for data that does not come is the kernel's to judge, but this it always refuses.
        if self.numbers.get("ctx_size_out") and not {"ctx", "ctx_in"} & self.texts.keys():
            raise UsageError("'ctx_size_out' needs 'ctx_in' or 'ctx'")

    def _check(self) -> None:
        texts = self.texts
        if texts.get("data_in") == texts.get("ctx_in") == "-":
            raise UsageError("standard input cannot be both data_in and ctx_in")
        for both in ("data", "ctx"):
            if both in texts and f"{both}_in" in texts:
                raise UsageError(f"'{both}' and '{both}_in' cannot both be given")


def _keyword(args: Args) -> str:
    """Take the next word as the one that it is short for; ambiguous ones are refused."""
    word = args.take("a keyword")
    if word in _WORDS:
        return word
    found = [name for name in _WORDS if name.startswith(word) and name not in _WHOLE]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"'{word}' is short for more than one: {', '.join(found)}")
    raise UsageError(f"expected one of {', '.join(_WORDS)}, got '{word}'")


def _number(word: str, what: str) -> int:
    # strtoul() of upstream reads an empty word as 0.
    value = c_number(word) if word else 0
    if value is None:
        raise UsageError(f"cannot read '{word}' as {what}")
    if value >> 32:
        raise UsageError(f"'{word}' is too large for {what}")
    return value


def run(ctx: Context, args: Args) -> None:
    """``prog run PROG [data_in FILE] [data_out FILE [data_size_out L]] [ctx_in FILE …] …``."""
    kernel = ctx.kernel
    require_live(kernel)  # before it is told what the program is
    prog = one_program(kernel, args)
    try:
        plan = _Plan(args)
        expected = dict(ctx.options.of_object).get("expect")
        if expected is not None:
            plan.numbers["expect"] = _number(expected, _WORDS["expect"])
        data = _given(kernel, prog, plan, "data")
        context = _given(kernel, prog, plan, "ctx")
        numbers = plan.numbers
        outcome = run_program(
            kernel,
            prog,
            data,
            context,
            numbers.get("repeat", 1),
            (numbers.get("data_size_out", 0), numbers.get("ctx_size_out", 0)),
        )
    finally:
        kernel.close(prog)
    _show(ctx, plan, outcome)


def _given(kernel: Kernel, prog: BpfObject, plan: _Plan, what: str) -> bytes | None:
    """The data or the context that the words give; None if they give none."""
    text = plan.texts.get(what)
    if text is not None:
        from pybpftool.objects import run_input

        read = run_input.data if what == "data" else run_input.context
        return read(kernel, prog, text)
    path = plan.texts.get(f"{what}_in")
    return None if path is None else _read(path)


def _read(path: str) -> bytes:
    name = "standard input" if path == "-" else f"the file '{path}'"
    try:
        fd = posix.dup(0) if path == "-" else posix.open(path, _FLAGS)
        try:
            data = read_all(fd, _LONGEST + 1)
        finally:
            posix.close(fd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BpfError(f"cannot read {name}: {reason}") from None
    if len(data) > _LONGEST:
        raise BpfError(f"{name} is longer than any data or context that a program may be given")
    return data


def _show(ctx: Context, plan: _Plan, outcome: Outcome) -> None:
    json = ctx.json
    ctx.out.flush()
    wrong = _write(plan, outcome)
    expected = plan.numbers.get("expect")
    if expected is not None and outcome.retval != expected:
        wrong.append(f"the program returned {outcome.retval}, not {expected} as expected")
    # What cannot be written is reported; the return value follows all the same.
    if json is None:
        _show_text(ctx, plan, outcome)
        for sentence in wrong:
            ctx.error(sentence)
        return
    json.begin_object()
    if wrong:
        ctx.error("; ".join(wrong))  # all of them, as an object has one property of this name
    for key, output in _outputs(plan, outcome, to_stdout=True):
        json.fields({key: list(output)})
    json.fields({"retval": outcome.retval, "duration": outcome.duration_ns})
    json.end()


def _show_text(ctx: Context, plan: _Plan, outcome: Outcome) -> None:
    from pybpftool.output.hexrows import offset_rows

    for _, output in _outputs(plan, outcome, to_stdout=True):
        ctx.out.write(offset_rows(output))
    average = " (average)" if plan.numbers.get("repeat", 1) > 1 else ""
    ctx.out.write(f"Return value: {outcome.retval}, duration{average}: {outcome.duration_ns}ns\n")


def _write(plan: _Plan, outcome: Outcome) -> list[str]:
    """Write what comes back to the files that are named; a sentence for each that fails."""
    from pybpftool.output.files import write_file

    wrong = []
    for key, output in _outputs(plan, outcome, to_stdout=False):
        try:
            write_file(plan.texts[key], output)
        except BpfError as error:
            wrong.append(str(error))
    return wrong


def _outputs(plan: _Plan, outcome: Outcome, to_stdout: bool) -> list[tuple[str, bytes]]:
    """What came back and is wanted, on standard output or in files, by the words for it."""
    return [
        (key, output)
        for key, output in (("data_out", outcome.data), ("ctx_out", outcome.ctx))
        if output and key in plan.texts and (plan.texts[key] == "-") == to_stdout
    ]
