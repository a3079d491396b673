"""Line records of a program (``struct bpf_line_info``) and which instruction shows which.

Upstream looks a record up for every instruction it prints: among the records from
the ``nr_skip``-th on, the last one before the first that lies beyond the instruction
(``bpf_prog_linfo__lfind`` of libbpf), and it raises ``nr_skip`` by one after each
record shown. With one record per instruction at most, in ascending order, that shows
each record once, where it belongs; this module does the same for any records, in
linear time.
"""

from __future__ import annotations

import struct
import sys
from _bisect import bisect_left, bisect_right
from _operator import lt  # without the Python of operator
from itertools import accumulate

from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Events = tuple[Sequence[int], Sequence[int]]

RECORD_SIZE = 16
"""Bytes of ``struct bpf_line_info`` that are known; the kernel's may be longer."""

# What isspace(3) accepts in the C locale.
SPACES = " \t\n\v\f\r"


class LineCursor:
    """Walks ascending positions past records' positions as upstream's dumps do.

    :param positions: where each record lies (instruction slot or native address).
    """

    __slots__ = ("_bound", "_positions", "_skip")

    def __init__(self, positions: Sequence[int]) -> None:
        self._positions = positions
        self._skip = 0
        self._bound = 0

    def find(self, position: int) -> int | None:
        """The index of the record to show at ``position``, which may not descend."""
        positions = self._positions
        skip = self._skip
        if skip >= len(positions) or position < positions[skip]:
            return None
        # The first record beyond `position` never moves backwards.
        bound = max(self._bound, skip)
        while bound < len(positions) and positions[bound] <= position:
            bound += 1
        self._bound = bound
        self._skip = skip + 1
        return bound - 1


class LineInfo:
    """The line records of one program.

    :param data: the records; an incomplete last one is left out.
    :param rec_size: bytes per record, at least :data:`RECORD_SIZE` and a
        multiple of 4 (else there are no records).

    ``insn_offs``, ``file_name_offs``, ``line_offs`` (into the strings of the
    program's BTF) and ``line_cols`` hold one number per record.
    """

    __slots__ = ("_reach", "file_name_offs", "insn_offs", "line_cols", "line_offs")

    def __init__(self, data: bytes, rec_size: int = RECORD_SIZE, byteorder: str = "<") -> None:
        self._reach: list[int] | None = None
        words: Sequence[int] = ()
        step = 4
        if rec_size >= RECORD_SIZE and rec_size % 4 == 0:
            step = rec_size // 4
            data = data[: len(data) // rec_size * rec_size]
            if (byteorder == "<") == (sys.byteorder == "little"):
                words = memoryview(data).cast("I").tolist()
            else:
                words = struct.unpack(f"{byteorder}{len(data) // 4}I", data)
        self.insn_offs, self.file_name_offs, self.line_offs, self.line_cols = (
            words[i::step] for i in range(4)
        )

    def __len__(self) -> int:
        return len(self.insn_offs)

    def find(self, slot: int) -> int | None:
        """The record that covers instruction ``slot`` (a lookup that skips nothing)."""
        if not self.insn_offs or slot < self.insn_offs[0]:
            return None
        if self._reach is None:
            # Records before the first one beyond `slot`: with the running maximum
            # that holds for records in any order.
            self._reach = list(accumulate(self.insn_offs, max))
        return bisect_right(self._reach, slot) - 1

    def shown(self, count: int, is_start: bytes | bytearray | None = None) -> Events:
        """Which instruction shows which record, as ``(slots, record indexes)``.

        :param count: number of instruction slots.
        :param is_start: 1 or 0 for each slot: whether an instruction begins there; None
            when one begins at every slot.
        """
        offs = self.insn_offs
        if not offs or not count:
            return (), ()
        if all(map(lt, offs, offs[1:])):
            # As the kernel's verifier demands it: one record for one instruction.
            if offs[-1] >= count:
                offs = offs[: bisect_left(offs, count)]
            if is_start is None or all(map(is_start.__getitem__, offs)):
                return offs, range(len(offs))
        slots = []
        records = []
        cursor = LineCursor(self.insn_offs)
        slot = 0
        for off in self.insn_offs:
            # Nothing is shown before the record that is next in turn.
            slot = max(slot, off)
            if is_start is not None and slot < count and not is_start[slot]:
                slot += 1
            if slot >= count:
                break
            record = cursor.find(slot)
            if record is not None:
                slots.append(slot)
                records.append(record)
            slot += 1
        return slots, records

    def number(self, record: int) -> tuple[int, int]:
        """``(line, column)`` of a record; 0 when unknown."""
        packed = self.line_cols[record]
        return packed >> 10, packed & 0x3FF


class _Rendered(dict[int, str]):
    """Texts by string offset, each made once: ``begin`` + string + ``end``.

    :param column: the string offset of each record.
    :param string: the string at an offset, None outside of the strings.
    :param change: applied to the string first.
    :param missing: the text of an offset that has no string.
    """

    __slots__ = ("_begin", "_change", "_column", "_end", "_missing", "_string")

    def __init__(
        self,
        column: Sequence[int],
        string: Callable[[int], str | None],
        begin: str,
        end: str,
        change: Callable[[str], str],
        missing: str = "",
    ) -> None:
        super().__init__()
        self._column = column
        self._string = string
        self._begin = begin
        self._end = end
        self._change = change
        self._missing = missing

    def of(self, records: Sequence[int]) -> Iterable[str]:
        """The texts of the strings to which ``records`` refer in the column."""
        column = self._column
        if isinstance(records, range):
            offs = column[records.start : records.stop]
        else:
            offs = [column[record] for record in records]
        new = list(set(offs).difference(self))
        if new:
            change = self._change
            strings = [(off, s) for off, s in zip(new, map(self._string, new))]
            # All at once: neither a string nor what it became holds a NUL.
            texts = f"{self._end}\0{self._begin}".join(
                ["" if s is None else change(s) for _, s in strings]
            )
            texts = f"{self._begin}{texts}{self._end}".replace("%", "%%")
            self.update(zip(new, texts.split("\0")))
            for off, s in strings:
                if s is None:
                    self[off] = self._missing
        return map(self.__getitem__, offs)


def plain_formats(
    info: LineInfo, string: Callable[[int], str | None], linum: bool
) -> Callable[[Sequence[int]], list[str]]:
    """Makes the lines ``"; SOURCE"`` of record indexes, each with its line feed.

    A record that names no source gives ``""``. The texts are ``%``-formats (a per cent
    sign is doubled).

    :param string: the string at an offset into the BTF's strings, None outside of them.
    :param linum: add file, line and column.
    """
    end = "" if linum else "\n"
    sources = _Rendered(info.line_offs, string, "; ", end, lambda s: s.lstrip(SPACES))
    if not linum:
        return lambda records: list(sources.of(records))
    begin, end = " [file:", " line_num:"
    files = _Rendered(info.file_name_offs, string, begin, end, str, begin + end)
    line_cols = info.line_cols

    def lines(records: Sequence[int]) -> list[str]:
        cols = [line_cols[record] for record in records]
        return [
            f"{source}{file}{col >> 10} line_col:{col & 0x3FF}]\n" if source else ""
            for source, file, col in zip(sources.of(records), files.of(records), cols)
        ]

    return lines


def json_formats(
    info: LineInfo,
    string: Callable[[int], str | None],
    linum: bool,
    name: Callable[[str], str],
) -> Callable[[Sequence[int]], list[str]]:
    """Makes the JSON properties of record indexes, each property with a comma after it.

    The texts are ``%``-formats (a per cent sign is doubled).

    :param string: the string at an offset into the BTF's strings, None outside of them.
    :param linum: add ``file``, ``line_num`` and ``line_col`` to ``src``.
    :param name: a property's name with its colon in the layout of the document.
    """
    src = name("src")
    sources = _Rendered(info.line_offs, string, src, ",", lambda s: quote(s.lstrip(SPACES)))
    if not linum:
        return lambda records: list(sources.of(records))
    files = _Rendered(info.file_name_offs, string, name("file"), ",", quote)
    line_cols = info.line_cols
    line_num = name("line_num")
    line_col = name("line_col")

    def members(records: Sequence[int]) -> list[str]:
        result = []
        for record, source, file in zip(records, sources.of(records), files.of(records)):
            packed = line_cols[record]
            line = packed >> 10
            col = packed & 0x3FF
            if line and col:
                text = f"{source}{file}{line_num}{line},{line_col}{col},"
            elif line:
                text = f"{source}{file}{line_num}{line},"
            elif col:
                text = f"{source}{file}{line_col}{col},"
            else:
                text = source + file
            result.append(text)
        return result

    return members


def jited_line_ranges(
    addresses: Sequence[int], ksyms: Sequence[int], func_lens: Sequence[int]
) -> list[range] | None:
    """The line records of each native function, as ranges of record indexes.

    :param addresses: native address of each line record (``jited_line_info``).
    :param ksyms: address of each function.
    :param func_lens: bytes of each function.
    :return: None when the addresses do not fit the functions. One may have no records (what the
        verifier adds to a program that throws), and of two records with one address the first
        is of an instruction without machine code (``r9 = r9``): libbpf gives up on both, for
        translated dumps as well (dissect_jited_func() in src/bpf_prog_linfo.c).
    """
    if not addresses or not ksyms or len(ksyms) != len(func_lens):
        return None
    ranges = []
    at, count = 0, len(addresses)
    for func, (begin, length) in enumerate(zip(ksyms, func_lens)):
        first = at
        if at < count and addresses[at] == begin:
            if func + 1 == len(ksyms):
                at = count
            else:
                beyond, end = ksyms[func + 1], begin + length
                at += 1
                while at < count and addresses[at - 1] <= addresses[at] <= end:
                    if addresses[at] == beyond:
                        break
                    at += 1
        ranges.append(range(first, at))
    return ranges if at == count else None


def line_addresses_mended(
    addresses: Sequence[int], ksyms: Sequence[int], func_lens: Sequence[int]
) -> Sequence[int]:
    """The address of each line record, where the kernel wrote others over the first two.

    The function of two instructions that the verifier adds to a program that throws (v6.7) has
    no records, but its addresses are put into the program's first ones
    (bpf_prog_fill_jited_linfo() in kernel/bpf/core.c, with a linfo_idx of 0).
    """
    if not addresses or not ksyms or len(ksyms) != len(func_lens):
        return addresses
    spans = list(zip(ksyms, func_lens)) if addresses[0] != ksyms[0] else ()

    def is_lost(address: int) -> bool:
        return not any(begin <= address <= begin + length for begin, length in spans)

    if not spans or not is_lost(addresses[0]):
        return addresses
    mended = [ksyms[0], *addresses[1:]]
    if len(mended) > 1 and is_lost(mended[1]):
        # Where it was is not known: the next one, which is right, counts in its place.
        mended[1] = mended[2] if len(mended) > 2 else ksyms[0] + func_lens[0]
    return mended
