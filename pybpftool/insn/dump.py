"""Dumps of translated programs: ``prog dump xlated`` as text and as JSON.

The work goes run by run of instructions: formats and arguments of a run come from
:class:`pybpftool.insn.disasm.Disassembler`, prototypes and source lines are put
before the formats, and one ``%`` makes the run's text.
"""

from __future__ import annotations

from _bisect import bisect_left
from itertools import compress

from pybpftool.insn.disasm import Disassembler, Image, decode, disassemble
from pybpftool.insn.lines import LineInfo, json_formats, plain_formats
from pybpftool.insn.program import XlatedProgram
from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pybpftool.output.jsontext import JsonStream
    from pybpftool.output.stream import Output

    Lines = Callable[[Sequence[int]], list[str]]
    Column = tuple[list[int | str], bytes | bytearray | None]

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

# Line records from which on it is faster to read all strings of the BTF at once.
_MANY_RECORDS = 2000


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
    opening: str,
    closing: str,
    before: list[str],
    formats: list[str],
    is_start: bytearray | None,
    *columns: Column,
) -> str:
    """One run's text: the joined formats, filled row by row from the columns.

    Each row is ``opening``, what stands before the instruction, the instruction's
    format and ``closing``.

    :param is_start: see :class:`Image`; only rows that begin an instruction count.
    :param columns: arguments, each column with 1 where they are used and else 0; None
        for those of ``is_start``.
    """
    rows = len(formats)
    if is_start is not None and 0 in is_start:
        formats = list(compress(formats, is_start))
        before = list(compress(before, is_start))
        every = is_start
    else:
        every = bytearray(b"\1") * rows
    pieces = [closing + opening] * (3 * len(formats) + 1)
    pieces[0] = opening
    pieces[1::3] = before
    pieces[2::3] = formats
    pieces[-1] = closing
    width = len(columns)
    arguments: list[int | str] = [0] * (width * rows)
    used = bytearray(width * rows)
    for i, (column, mask) in enumerate(columns):
        arguments[i::width] = column
        used[i::width] = every if mask is None else mask
    return "".join(pieces) % tuple(compress(arguments, used))


class _Before:
    """What stands before instructions: prototypes and source lines, run by run.

    :param proto: turns a declaration into text.
    :param lines: turns line records into ``%``-formats without a hole.
    """

    __slots__ = ("_lines", "_protos", "_records", "_slots")

    def __init__(
        self,
        prog: XlatedProgram,
        image: Image,
        proto: Callable[[str], str],
        lines: Callable[[LineInfo, Callable[[int], str | None]], Lines],
    ) -> None:
        self._protos = [(slot, proto(text)) for slot, text in prog.prototypes(image)]
        self._slots: Sequence[int] = ()
        self._records: Sequence[int] = ()
        if prog.btf is not None:
            info = prog.lines()
            self._slots, self._records = info.shown(image.count, image.is_start)
            if len(self._records) > _MANY_RECORDS:
                prog.btf.names.load()
            self._lines = lines(info, prog.btf.string)

    def texts(self, begin: int, end: int) -> list[str]:
        """For the slots from ``begin`` to before ``end`` a format without a hole."""
        texts = [""] * (end - begin)
        slots = self._slots
        first = bisect_left(slots, begin)
        last = bisect_left(slots, end)
        if first < last:
            lines = self._lines(self._records[first:last])
            for slot, line in zip(slots[first:last], lines):
                texts[slot - begin] = line
        for slot, proto in self._protos:
            if begin <= slot < end:
                texts[slot - begin] = proto.replace("%", "%%") + texts[slot - begin]
        return texts


def dump_plain(out: Output, prog: XlatedProgram, opcodes: bool, linum: bool) -> None:
    """Write a program's instructions as text, one per line.

    :param opcodes: add each instruction's bytes in a line of their own.
    :param linum: add file, line and column to source lines.
    """
    image = prog.image()
    suffix = "\n       %s\n" if opcodes else "\n"
    before = _Before(
        prog,
        image,
        lambda proto: f"{proto}:\n",
        lambda info, string: plain_formats(info, string, linum),
    )
    # Before the disassembler, which needs the kernel's symbols: they may still be on their way.
    texts = [before.texts(begin, end) for begin, end in _runs(image)]
    disassembler = Disassembler(image, prog.calls(), "%s: ", lambda code, dst, src: suffix)
    for before_run, (begin, end) in zip(texts, _runs(image)):
        formats, immediates, has_hole = disassembler.pieces(begin, end)
        is_start = image.is_start[begin:end] if image.is_start else None
        # Only numbers of fewer than four digits need padding; an integer at a
        # bare "%s" or "%d" is formatted faster than at "%4d".
        numbers: list[int | str] = ["%4d" % slot for slot in range(begin, min(end, 1000))]
        numbers += range(begin + len(numbers), end)
        columns: list[Column] = [(numbers, None), (immediates, has_hole)]
        if opcodes:
            columns.append((_hex_column(image, begin, end, " ", 0), None))
        out.write(_run_text("", "", before_run, formats, is_start, *columns))


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

    suffix = '"'
    if opcodes:
        inner = _namer(line(depth + 2))
        end_array = line(depth + 2) + "]"
        suffix = (
            f'",{name("opcodes")}{{{inner("code")}"0x%02x",{inner("src_reg")}"0x%x",'
            f'{inner("dst_reg")}"0x%x",{inner("off")}["{{off}}"{end_array},'
            f'{inner("imm")}["0x%%s"{end_array}{line(depth + 1)}}}'
        )
    before = _Before(
        prog,
        image,
        lambda proto: f"{name('proto')}{quote(proto)},",
        lambda info, string: json_formats(info, string, linum, name),
    )
    texts = [before.texts(begin, end) for begin, end in _runs(image)]
    disassembler = Disassembler(
        image,
        prog.calls(),
        name("disasm") + '"',
        lambda code, dst, src: suffix % (code, src, dst) if opcodes else suffix,
        lambda text: quote(text)[1:-1],
    )
    for before_run, (begin, end) in zip(texts, _runs(image)):
        formats, immediates, has_hole = disassembler.pieces(begin, end)
        is_start = image.is_start[begin:end] if image.is_start else None
        columns: list[Column] = [(immediates, has_hole)]
        if opcodes:
            columns.append((_hex_column(image, begin, end, '","0x', 4), None))
        text = _run_text("{", closing + ",", before_run, formats, is_start, *columns)
        json.raw(text[:-1])
    json.end()


def _pretty_line(depth: int) -> str:
    return "\n" + "    " * depth


def _no_line(depth: int) -> str:
    return ""


def _namer(line: str) -> Callable[[str], str]:
    """Makes a property's name with its colon; ``line`` is the line break before it, if any."""
    colon = ": " if line else ":"
    return lambda name: f"{line}{quote(name)}{colon}"
