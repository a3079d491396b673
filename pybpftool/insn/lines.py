"""Line records of a program (``struct bpf_line_info``) and which instruction shows which.

Upstream looks a record up for every instruction it prints: among the records from
the ``nr_skip``-th on, the last one before the first that lies beyond the instruction
(``bpf_prog_linfo__lfind`` of libbpf), and it raises ``nr_skip`` by one after each
record shown. With one record per instruction at most, in ascending order, that shows
each record once, where it belongs; this module does the same for any records, in
linear time.
"""

from __future__ import annotations

from _bisect import bisect_left, bisect_right
from itertools import accumulate
from operator import lt

from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Events = tuple[Sequence[int], Sequence[int]]
    NameText = Callable[[str], str]

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
    :param rec_size: bytes per record, at least :data:`RECORD_SIZE` (with less there
        are no records).

    ``insn_offs``, ``file_name_offs``, ``line_offs`` (into the strings of the
    program's BTF) and ``line_cols`` hold one number per record.
    """

    __slots__ = ("_reach", "file_name_offs", "insn_offs", "line_cols", "line_offs")

    def __init__(self, data: bytes, rec_size: int = RECORD_SIZE, byteorder: str = "<") -> None:
        self._reach: list[int] | None = None
        columns: list[tuple[int, ...]] = [(), (), (), ()]
        if rec_size >= RECORD_SIZE and len(data) >= rec_size:
            from struct import unpack

            count = len(data) // rec_size
            if rec_size == RECORD_SIZE:
                words = unpack(f"{byteorder}{4 * count}I", data[: count * rec_size])
            else:
                one = f"IIII{rec_size - RECORD_SIZE}x"
                words = unpack(byteorder + one * count, data[: count * rec_size])
            columns = [words[i::4] for i in range(4)]
        self.insn_offs, self.file_name_offs, self.line_offs, self.line_cols = columns

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


class LineTexts:
    """Source lines as they are printed before an instruction.

    :param string: the string at an offset into the BTF's strings, None outside of them.
    """

    __slots__ = ("_files", "_info", "_sources", "_string")

    def __init__(self, info: LineInfo, string: Callable[[int], str | None]) -> None:
        self._info = info
        self._string = string
        self._sources: dict[int, str | None] = {}
        self._files: dict[int, str | None] = {}

    def source(self, off: int) -> str | None:
        """The source line at a ``line_off`` without its indentation, None without one."""
        if off not in self._sources:
            text = self._string(off)
            self._sources[off] = None if text is None else text.lstrip(SPACES)
        return self._sources[off]

    def file(self, off: int) -> str | None:
        """The source file's name at a ``file_name_off``, None without one."""
        if off not in self._files:
            self._files[off] = self._string(off)
        return self._files[off]

    def plain(self, record: int, linum: bool) -> str:
        """The line ``"; SOURCE"`` with its line feed, ``""`` where there is no source."""
        return self.plain_lines(range(record, record + 1), linum)[0]

    def plain_lines(self, records: Sequence[int], linum: bool) -> list[str]:
        """:meth:`plain` of several records."""
        info = self._info
        source = self.source
        begins = {
            off: "" if (text := source(off)) is None else f"; {text}" if linum else f"; {text}\n"
            for off in {info.line_offs[record] for record in records}
        }
        if not linum:
            return [begins[info.line_offs[record]] for record in records]
        file = self.file
        files = {
            off: f" [file:{file(off) or ''} line_num:"
            for off in {info.file_name_offs[record] for record in records}
        }
        return [
            f"{begin}{files[info.file_name_offs[record]]}{col >> 10} line_col:{col & 0x3FF}]\n"
            if (begin := begins[info.line_offs[record]])
            else ""
            for record in records
            for col in (info.line_cols[record],)
        ]

    def fields(self, record: int, linum: bool) -> dict[str, object]:
        """JSON properties: ``src`` and, with ``linum``, ``file``, ``line_num``, ``line_col``."""
        info = self._info
        fields: dict[str, object] = {}
        text = self.source(info.line_offs[record])
        if text is not None:
            fields["src"] = text
        if linum:
            file = self.file(info.file_name_offs[record])
            if file is not None:
                fields["file"] = file
            line, col = info.number(record)
            if line:
                fields["line_num"] = line
            if col:
                fields["line_col"] = col
        return fields

    def json_members(self, records: Sequence[int], linum: bool, name: NameText) -> list[str]:
        """The properties of :meth:`fields` as JSON text, each with a comma after it.

        :param name: a property's name with its colon in the layout of the document.
        """
        info = self._info
        members = {}
        for off in {info.line_offs[record] for record in records}:
            text = self.source(off)
            members[off] = "" if text is None else f"{name('src')}{quote(text)},"
        if not linum:
            return [members[info.line_offs[record]] for record in records]
        files = {}
        for off in {info.file_name_offs[record] for record in records}:
            text = self.file(off)
            files[off] = "" if text is None else f"{name('file')}{quote(text)},"
        line_num = name("line_num")
        line_col = name("line_col")
        result = []
        for record in records:
            packed = info.line_cols[record]
            line = packed >> 10
            col = packed & 0x3FF
            text = f"{members[info.line_offs[record]]}{files[info.file_name_offs[record]]}"
            if line and col:
                text = f"{text}{line_num}{line},{line_col}{col},"
            elif line:
                text = f"{text}{line_num}{line},"
            elif col:
                text = f"{text}{line_col}{col},"
            result.append(text)
        return result


def jited_line_ranges(
    addresses: Sequence[int], ksyms: Sequence[int], func_lens: Sequence[int]
) -> list[range] | None:
    """The line records of each native function, as ranges of record indexes.

    :param addresses: native address of each line record (``jited_line_info``).
    :param ksyms: address of each function.
    :param func_lens: bytes of each function.
    :return: None when the addresses do not fit the functions (then upstream shows no
        source lines at all, in translated dumps neither).
    """
    if not addresses or not ksyms or len(ksyms) != len(func_lens) or ksyms[0] != addresses[0]:
        return None
    begins = [0]
    for i in range(1, len(addresses)):
        if len(begins) == len(ksyms):
            break
        previous = addresses[i - 1]
        func = len(begins)
        if addresses[i] == ksyms[func]:
            # A 32-bit length is compared with a 64-bit distance, unsigned.
            if (previous - ksyms[func - 1] + 1) & 0xFFFFFFFFFFFFFFFF > func_lens[func - 1]:
                return None
            begins.append(i)
        elif addresses[i] <= previous:
            return None
    if len(begins) != len(ksyms):
        return None
    return [range(a, b) for a, b in zip(begins, [*begins[1:], len(addresses)], strict=True)]
