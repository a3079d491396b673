"""Dumps of machine code: ``prog dump jited`` as text and as JSON."""

from __future__ import annotations

from _bisect import bisect_left
from itertools import chain

from pybpftool.insn.lines import json_formats, plain_formats
from pybpftool.jit.decode import Decoder
from pybpftool.jit.names import Names
from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.jit.decode import Instructions
    from pybpftool.jit.program import JitedFunction, JitedProgram
    from pybpftool.output.jsontext import JsonStream
    from pybpftool.output.stream import Output

_RUN = 8192
# What upstream splits operands at.
_SEPARATORS = str.maketrans({",": " ", "(": " ", ")": " "})


class _Decoded:
    """All functions of a program with their instructions and the names in them."""

    __slots__ = ("functions", "instructions", "names", "prog")

    def __init__(self, prog: JitedProgram, syntax: str) -> None:
        decoder = Decoder(prog.machine, prog.byteorder, syntax)
        self.prog = prog
        self.functions = prog.functions()
        self.instructions = [
            decoder.decode(function.code, function.address or 0) for function in self.functions
        ]
        self.names = Names(prog, self.functions, self.instructions)


def dump_plain(
    out: Output, prog: JitedProgram, opcodes: bool, linum: bool, syntax: str = "att"
) -> None:
    """Write a program's machine code as text, one instruction per line.

    :param opcodes: add each instruction's bytes in a line of their own.
    :param linum: add file, line and column to source lines.
    :param syntax: see :data:`pybpftool.adapters.capstone.SYNTAXES`.

    Each function has its prototype, its symbol and a blank line after it, unless the
    kernel does not tell where functions begin.
    """
    decoded = _Decoded(prog, syntax)
    end = "\n\t%s \n" if opcodes else "\n"
    # Only offsets of fewer digits are padded: "%4x" takes twice as long as "%x".
    padded = _Rendered(lambda text: f"%4x:\t{text.replace('%', '%%')}{end}")
    formats = _Rendered(lambda text: f"%x:\t{text.replace('%', '%%')}{end}")
    hexes = _Hexes(" ")
    lines = None
    if prog.btf is not None:
        lines = plain_formats(prog.lines(), prog.btf.string, linum)
    for function, insns in zip(decoded.functions, decoded.instructions):
        if prog.is_split:
            proto = decoded.names.prototype(function)
            if proto:
                out.write(f"{proto}:\n")
            out.write(f"{decoded.names.function(function)}:\n")
        texts = list(insns.texts)
        # Hardly two jumps go the same way: they are not worth a place among the formats.
        for index in insns.targets:
            texts[index] = ""
        beyond = bisect_left(insns.pcs, 0x1000)
        pieces = [*map(padded.__getitem__, texts[:beyond])]
        pieces += map(formats.__getitem__, texts[beyond:])
        named = dict(decoded.names.targets(function, insns))
        for index in insns.targets:
            head = "%4x" if index < beyond else "%x"
            text = insns.texts[index]
            if index in named:
                text = f"{text} <{named[index]}>"
            pieces[index] = f"{head}:\t{text.replace('%', '%%')}{end}"
        if lines is not None:
            shown = prog.shown_lines(function, insns.pcs)
            for (index, _), text in zip(shown, lines([r for _, r in shown])):
                pieces[index] = text + pieces[index]
        for begin, stop in _runs(len(pieces)):
            arguments = _arguments(insns, begin, stop, hexes if opcodes else None)
            out.write("".join(pieces[begin:stop]) % tuple(arguments))
        if prog.is_split:
            out.write("\n")


def dump_json(
    json: JsonStream, prog: JitedProgram, opcodes: bool, linum: bool, syntax: str = "att"
) -> None:
    """Write a program's machine code as JSON.

    An array of functions (``proto``, ``name``, ``insns``), or of instructions where the
    kernel does not tell where functions begin. An instruction has ``src``, ``file``,
    ``line_num`` and ``line_col`` where there is such a thing, ``pc``, ``operation``,
    ``operands``, ``opcodes`` on request, and ``target`` (the symbol) for a direct jump or
    call.
    """
    decoded = _Decoded(prog, syntax)
    if not prog.is_split:
        forms = _JsonForms(json, prog, opcodes, linum, json.depth)
        _json_instructions(json, forms, decoded, decoded.functions[0])
        return
    forms = _JsonForms(json, prog, opcodes, linum, json.depth + 2)
    json.begin_array()
    for function in decoded.functions:
        json.begin_object()
        proto = decoded.names.prototype(function)
        if proto:
            json.fields({"proto": proto})
        json.fields({"name": decoded.names.function(function)})
        json.name("insns")
        _json_instructions(json, forms, decoded, function)
        json.end()
    json.end()


class _JsonForms:
    """How the objects of one dump's instructions are written.

    :param depth: how deep their array stands.
    """

    __slots__ = ("end", "formats", "hexes", "lines", "target")

    def __init__(
        self, json: JsonStream, prog: JitedProgram, opcodes: bool, linum: bool, depth: int
    ) -> None:
        line = "\n" + "    " * (depth + 2) if json.is_pretty else ""
        colon = ": " if json.is_pretty else ":"

        def name(text: str) -> str:
            return f"{line}{quote(text)}{colon}"

        end_array = f"{line}]"
        head = f'{{{name("pc")}"0x%x",{name("operation")}"'
        middle = f'",{name("operands")}['
        tail = end_array + (f',{name("opcodes")}["0x%s"{end_array}' if opcodes else "")
        closing = "\n" + "    " * (depth + 1) + "}" if json.is_pretty else "}"
        tail += closing
        self.end = -len(closing)

        def render(text: str) -> str:
            # No disassembler writes a character that JSON would want escaped.
            operation, _, operands = text.replace("%", "%%").partition("\t")
            words = operands.translate(_SEPARATORS).split()
            array = '"' + '","'.join(words) + '"' if words else "null"
            return f"{head}{operation}{middle}{array}{tail}"

        self.formats = _Rendered(render)
        self.hexes = _Hexes('","0x') if opcodes else None
        self.target = name("target")
        self.lines = None
        if prog.btf is not None:
            self.lines = json_formats(prog.lines(), prog.btf.string, linum, name)


def _json_instructions(
    json: JsonStream, forms: _JsonForms, decoded: _Decoded, function: JitedFunction
) -> None:
    insns = decoded.instructions[function.index]
    json.begin_array()
    pieces = list(map(forms.formats.__getitem__, insns.texts))
    for index, symbol in decoded.names.targets(function, insns):
        piece = pieces[index]
        name = quote(symbol).replace("%", "%%")
        pieces[index] = f"{piece[: forms.end]},{forms.target}{name}{piece[forms.end :]}"
    if forms.lines is not None:
        shown = decoded.prog.shown_lines(function, insns.pcs)
        for (index, _), text in zip(shown, forms.lines([r for _, r in shown])):
            pieces[index] = f"{{{text}{pieces[index][1:]}"
    for begin, end in _runs(len(pieces)):
        arguments = _arguments(insns, begin, end, forms.hexes)
        json.raw(",".join(pieces[begin:end]) % tuple(arguments))
    json.end()


class _Rendered(dict[str, str]):
    """``%``-formats of instructions by their text, made when first asked for."""

    __slots__ = ("_render",)

    def __init__(self, render: Callable[[str], str]) -> None:
        super().__init__()
        self._render = render

    def __missing__(self, text: str) -> str:
        result = self[text] = self._render(text)
        return result


class _Hexes(dict[bytes, str]):
    """Bytes as hex digits with ``joint`` between them, made when first asked for."""

    __slots__ = ("_joint",)

    def __init__(self, joint: str) -> None:
        super().__init__()
        self._joint = joint

    def __missing__(self, code: bytes) -> str:
        result = self[code] = code.hex(",").replace(",", self._joint)
        return result


def _runs(count: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + _RUN, count)) for begin in range(0, count, _RUN))


def _arguments(
    insns: Instructions, begin: int, end: int, hexes: _Hexes | None
) -> list[int] | Iterator[int | str]:
    pcs = insns.pcs[begin:end]
    if hexes is None:
        return pcs
    codes = map(hexes.__getitem__, insns.codes[begin:end])
    return chain.from_iterable(zip(pcs, codes))
