"""``.BTF.ext``: functions, source lines and CO-RE relocations of the sections of a BPF object.

A header says where the three tables are; each is a size of its records and then, section by
section, a name, a number and so many records (``tools/lib/bpf/libbpf_internal.h``).
"""

from __future__ import annotations

import struct

from pybpftool.errors import FormatError
from pybpftool.records import Record
from pybpftool.uapi.btf import MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf

_HEADER_MIN, _HEADER = 24, 32  # without and with the place of the relocations
_FUNCTION, _LINE, _RELOCATION = 8, 16, 16


class Function(Record):
    """Where a function begins, in bytes, and its FUNC."""

    offset: int
    type_id: int


class Line(Record):
    """The source of the instructions from here; names are offsets of BTF's strings."""

    offset: int
    file: int
    text: int
    position: int  # line << 10 | column


class Relocation(Record):
    """A CO-RE relocation: an instruction, the type that it begins at and the way from there."""

    offset: int
    type_id: int
    access: str
    kind: int


class BtfExt:
    """The tables, by the name of the section of code.  Raises :class:`FormatError`."""

    def __init__(self, data: bytes, btf: Btf) -> None:
        self._data = data
        self._btf = btf
        if len(data) < 8:
            raise FormatError("the section .BTF.ext is too short")
        magic = int.from_bytes(data[:2], "little")
        self._order = "<" if magic == MAGIC else ">"
        magic, version, flags, length = struct.unpack_from(f"{self._order}HBBI", data)
        if magic != MAGIC or version != 1 or flags:
            raise FormatError("the section .BTF.ext has an unknown form")
        if length < _HEADER_MIN or len(data) <= length:
            raise FormatError("the section .BTF.ext is cut off or empty")
        self._begin = length
        places = struct.unpack_from(f"{self._order}{'6' if length >= _HEADER else '4'}I", data, 8)
        self.functions = {
            name: [Function(*row) for row in rows]
            for name, rows in self._table(places[0], places[1], _FUNCTION)
        }
        self.lines = {
            name: [Line(*row) for row in rows]
            for name, rows in self._table(places[2], places[3], _LINE)
        }
        self.relocations: dict[str, list[Relocation]] = {}
        if length >= _HEADER:
            for name, rows in self._table(places[4], places[5], _RELOCATION):
                some = self.relocations.setdefault(name, [])
                for offset, type_id, access, kind in rows:
                    some.append(Relocation(offset, type_id, btf.string(access) or "", kind))

    def _table(self, at: int, length: int, least: int) -> list[tuple[str, list[tuple[int, ...]]]]:
        """One table's records by section, in the file's order."""
        if not length:
            return []
        at += self._begin
        end = at + length
        if at % 4 or length < 4 or end > len(self._data):
            raise FormatError("a table of .BTF.ext is misplaced")
        order = self._order
        (size,) = struct.unpack_from(f"{order}I", self._data, at)
        at += 4
        if size < least or size % 4 or at == end:
            raise FormatError("a table of .BTF.ext is empty or has records of a wrong size")
        record = struct.Struct(f"{order}{least // 4}I{size - least}x")
        found = []
        while at < end:
            if end - at < 8:
                raise FormatError("a table of .BTF.ext is cut off")
            name, count = struct.unpack_from(f"{order}II", self._data, at)
            at += 8
            if not count or count * size > end - at:
                raise FormatError("a table of .BTF.ext is cut off")
            rows = list(record.iter_unpack(self._data[at : at + count * size]))
            found.append((self._btf.string(name) or "", rows))
            at += count * size
        return found
