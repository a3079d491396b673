"""Dumps of translated programs: ``prog dump xlated`` as text and as JSON.

The work goes run by run of instructions: formats and arguments of a run come from
:class:`pybpftool.insn.disasm.Disassembler`, prototypes and source lines are put
before the formats, and one ``%`` makes the run's text.
"""

from __future__ import annotations

from _bisect import bisect_left
from itertools import compress

from pybpftool.insn.disasm import Disassembler, Image, decode, disassemble
from pybpftool.insn.lines import LineInfo, LineTexts
from pybpftool.insn.program import XlatedProgram
from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from pybpftool.output.jsontext import JsonStream
    from pybpftool.output.stream import Output

__all__ = [
    "LineInfo",
    "XlatedProgram",
    "decode",
    "dump_json",
    "dump_plain",
    "insn_texts",
]

# Slots per run: large enough that the work per run does not count, small enough
# that output starts early and memory stays flat.
_RUN = 8192


def insn_texts(prog: XlatedProgram) -> list[str]:
    """The text of each instruction by slot, ``""`` for the second half of a 64-bit load."""
    return disassemble(prog.insns, prog.byteorder, prog.calls())


def _runs(image: Image) -> Iterator[tuple[int, int]]:
    """Ranges of slots that no 64-bit load straddles."""
    begin = 0
    while begin < image.count:
        end = min(begin + _RUN, image.count)
        if image.is_start is not None and end < image.count and not image.is_start[end]:
            end += 1
        yield begin, end
        begin = end


def _hex_column(image: Image, begin: int, end: int, joint: str, first: int) -> list[int | str]:
    """For each slot its bytes from number ``first`` on as hex digits with ``joint`` between.

    For a 64-bit load the bytes of its second slot follow.
    """
    text = image.data[8 * begin : 8 * end].hex(",").replace(",", joint)
    byte = 2 + len(joint)
    length = (8 - first) * byte - len(joint)
    column: list[int | str] = [
        text[at : at + length] for at in range(first * byte, 8 * byte * (end - begin), 8 * byte)
    ]
    loads = image.loads
    for slot in loads[bisect_left(loads, begin) : bisect_left(loads, end)]:
        at = (8 * (slot - begin) + first) * byte
        column[slot - begin] = text[at : at + length + 8 * byte]
    return column


def _run_text(
    image: Image,
    begin: int,
    end: int,
    formats: list[str],
    columns: list[list[int | str]],
    separator: str,
) -> str:
    """One run's text: the joined formats, filled row by row from the columns."""
    if image.is_start is not None:
        is_start = image.is_start[begin:end]
        if 0 in is_start:
            formats = list(compress(formats, is_start))
            columns = [list(compress(column, is_start)) for column in columns]
    width = len(columns)
    if width == 1:
        arguments = columns[0]
    else:
        arguments = [0] * (width * len(formats))
        for i, column in enumerate(columns):
            arguments[i::width] = column
    return separator.join(formats) % tuple(arguments)


class _Before:
    """What stands before instructions: prototypes and source lines, run by run.

    :param proto: turns a declaration into text.
    :param lines: turns line records into texts.
    """

    __slots__ = ("_lines", "_protos", "_records", "_slots")

    def __init__(
        self,
        prog: XlatedProgram,
        image: Image,
        proto: Callable[[str], str],
        lines: Callable[[LineTexts, Sequence[int]], list[str]],
    ) -> None:
        self._protos = [(slot, proto(text)) for slot, text in prog.prototypes(image)]
        info = prog.lines()
        self._slots, self._records = info.shown(image.count, image.is_start)
        texts = LineTexts(info, prog.btf.string) if prog.btf else None
        self._lines: Callable[[Sequence[int]], list[str]] = (
            (lambda records: lines(texts, records)) if texts else (lambda _: [])
        )

    def put(self, formats: list[str], begin: int, end: int) -> None:
        """Put the texts before the formats of the slots from ``begin`` to before ``end``."""
        slots = self._slots
        first = bisect_left(slots, begin)
        last = bisect_left(slots, end)
        for slot, text in zip(
            slots[first:last], self._lines(self._records[first:last]), strict=True
        ):
            at = slot - begin
            formats[at] = (text.replace("%", "%%") if "%" in text else text) + formats[at]
        for slot, text in self._protos:
            if begin <= slot < end:
                formats[slot - begin] = text.replace("%", "%%") + formats[slot - begin]


def dump_plain(out: Output, prog: XlatedProgram, opcodes: bool, linum: bool) -> None:
    """Write a program's instructions as text, one per line.

    :param opcodes: add each instruction's bytes in a line of their own.
    :param linum: add file, line and column to source lines.
    """
    image = prog.image()
    suffix = "\n       %s\n" if opcodes else "\n"
    disassembler = Disassembler(
        image, prog.calls(), lambda code, dst, src, off, text: f"%4d: {text}{suffix}"
    )
    before = _Before(
        prog,
        image,
        lambda proto: f"{proto}:\n",
        lambda texts, records: texts.plain_lines(records, linum),
    )
    for begin, end in _runs(image):
        formats, immediates = disassembler.pieces(begin, end)
        before.put(formats, begin, end)
        columns: list[list[int | str]] = [list(range(begin, end)), immediates]
        if opcodes:
            columns.append(_hex_column(image, begin, end, " ", 0))
        out.write(_run_text(image, begin, end, formats, columns, ""))


def dump_json(json: JsonStream, prog: XlatedProgram, opcodes: bool, linum: bool) -> None:
    """Write a program's instructions as one array of objects.

    Properties: ``proto``, ``src``, ``file``, ``line_num``, ``line_col`` where there is
    such a thing, ``disasm`` always, ``opcodes`` on request.
    """
    image = prog.image()
    json.begin_array()
    depth = json.depth
    line = _pretty_line if json.is_pretty else _no_line
    name = _namer(line(depth + 1))
    closing = line(depth) + "}"

    def finish(code: int, dst: int, src: int, off: int, text: str) -> str:
        text = f'{disasm}"{text}"'
        if opcodes:
            text += tail % (code, src, dst, *off.to_bytes(2, order, signed=True))
        return text

    disasm = name("disasm")
    order: Literal["little", "big"] = "little" if image.is_little else "big"
    inner = _namer(line(depth + 2))
    end_array = line(depth + 2) + "]"
    tail = (
        f',{name("opcodes")}{{{inner("code")}"0x%02x",{inner("src_reg")}"0x%x",'
        f'{inner("dst_reg")}"0x%x",{inner("off")}["0x%02x","0x%02x"{end_array},'
        f'{inner("imm")}["0x%%s"{end_array}{line(depth + 1)}}}'
    )
    disassembler = Disassembler(image, prog.calls(), finish, lambda text: quote(text)[1:-1])
    before = _Before(
        prog,
        image,
        lambda proto: f"{name('proto')}{quote(proto)},",
        lambda texts, records: texts.json_members(records, linum, name),
    )
    separator = closing + ",{"
    for begin, end in _runs(image):
        formats, immediates = disassembler.pieces(begin, end)
        before.put(formats, begin, end)
        columns = [immediates]
        if opcodes:
            columns.append(_hex_column(image, begin, end, '","0x', 4))
        json.raw("{" + _run_text(image, begin, end, formats, columns, separator) + closing)
    json.end()


def _pretty_line(depth: int) -> str:
    return "\n" + "    " * depth


def _no_line(depth: int) -> str:
    return ""


def _namer(line: str) -> Callable[[str], str]:
    """Makes a property's name with its colon; ``line`` is the line break before it, if any."""
    colon = ": " if line else ":"
    return lambda name: f"{line}{quote(name)}{colon}"
