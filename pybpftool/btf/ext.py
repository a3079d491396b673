"""``.BTF.ext``: functions, source lines and CO-RE relocations of the sections of a BPF object.

A header says where the three tables are; each is a size of its records and then, section by
section, a name, a number and so many records (``tools/lib/bpf/libbpf_internal.h``).
"""

from __future__ import annotations

import struct
import sys

from pybpftool.errors import FormatError
from pybpftool.records import Record
from pybpftool.uapi.btf import MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf

    _Place = tuple[int, int, int]  # where a table begins, its length, its records' least size

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
        self._order, places = _header(data)
        self.functions = {
            name: [Function(*row) for row in rows] for name, rows in self._table(places[0])
        }
        self.lines = {name: [Line(*row) for row in rows] for name, rows in self._table(places[1])}
        self.relocations: dict[str, list[Relocation]] = {}
        for name, rows in self._table(places[2]):
            some = self.relocations.setdefault(name, [])
            for offset, type_id, access, kind in rows:
                some.append(Relocation(offset, type_id, btf.string(access) or "", kind))

    def _table(self, place: _Place) -> list[tuple[str, list[tuple[int, ...]]]]:
        """One table's records by section, in the file's order."""
        size, sections = _sections(self._data, self._order, place)
        least = place[2]
        record = struct.Struct(f"{self._order}{least // 4}I{max(size - least, 0)}x")
        return [
            (
                self._btf.string(name) or "",
                list(record.iter_unpack(self._data[at : at + count * size])),
            )
            for name, at, count in sections
        ]


def check(data: bytes) -> None:
    """Raise :class:`FormatError` where libbpf's ``btf_ext__new()`` (1.8) refuses the section."""
    order, places = _header(data)
    for place in places:
        _sections(data, order, place)


def _header(data: bytes) -> tuple[str, list[_Place]]:
    """The order of bytes, for :mod:`struct`, and the places of the three tables."""
    if len(data) < 8:
        raise FormatError("the section .BTF.ext is too short")
    order = "<" if int.from_bytes(data[:2], "little") == MAGIC else ">"
    magic, version, flags, length = struct.unpack_from(f"{order}HBBI", data)
    if magic != MAGIC or version != 1 or flags:
        raise FormatError("the section .BTF.ext has an unknown form")
    if length < _HEADER_MIN or len(data) <= length:
        raise FormatError("the section .BTF.ext is cut off or empty")
    row = struct.unpack_from(f"{order}4I", data, 8)
    row += struct.unpack_from(f"{order}2I", data, 24) if length >= _HEADER else (0, 0)
    places = []
    for at, size, least in zip(row[::2], row[1::2], (_FUNCTION, _LINE, _RELOCATION)):
        if size and at % 4:
            raise FormatError("a table of .BTF.ext is misplaced")
        places.append((length + at, size, least))
    return order, places


def _sections(data: bytes, order: str, place: _Place) -> tuple[int, list[tuple[int, int, int]]]:
    """The size of a table's records and, by section, its name, where they begin, how many."""
    at, length, least = place
    if not length:
        return 0, []
    end = at + length
    if length < 4 or end > len(data):
        raise FormatError("a table of .BTF.ext is misplaced")
    (size,) = struct.unpack_from(f"{order}I", data, at)
    at += 4
    # In the other order of bytes libbpf takes no records that it cannot swap whole.
    is_known = size == least or (size > least and (order == "<") == (sys.byteorder == "little"))
    if not is_known or size % 4 or at == end:
        raise FormatError("a table of .BTF.ext is empty or has records of a wrong size")
    found = []
    while at < end:
        if end - at < 8:
            raise FormatError("a table of .BTF.ext is cut off")
        name, count = struct.unpack_from(f"{order}II", data, at)
        at += 8
        if not count or count * size > end - at:
            raise FormatError("a table of .BTF.ext is cut off")
        found.append((name, at, count))
        at += count * size
    return size, found
