"""Copies of object files with maps of struct_ops that libbpf takes.

It loads all programs that such a map refers to, or none: a copy of the file refers to a single
one, so that this can be tried without the others.
"""

from __future__ import annotations

import struct

from pybpftool.elf.relocatable import SHT_REL, STT_FUNC, Relocatable
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.elf.relocatable import Section, Symbol

SECTION = ".struct_ops"
_NAMES = (SECTION, ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")
_HEADER, _SIZE_AT = 64, 32  # bytes of a section header, of them sh_size
_REL = 16


class Copy(Record):
    """A copy for an older libbpf, and what it cannot tell: names of maps and programs."""

    data: bytes
    linked: frozenset[str]  # maps that take effect through a link
    optional: frozenset[str]  # maps that are not to be created
    sleepable: frozenset[str]  # programs that may sleep
    unneeded: frozenset[str]  # programs that no map of this kernel refers to


def has_struct_ops(elf: Relocatable) -> bool:
    """Whether an object has maps of struct_ops."""
    return any(section.name in _NAMES for section in elf.sections)


def with_one_program(data: bytes, program: str) -> tuple[bytes, list[int]]:
    """A copy of an object whose maps of struct_ops refer to ``program`` alone.

    Also the offsets in the section of maps at which they do; none for what is no such program.
    Where one section has all such maps, it gets the name that every libbpf knows; where there
    is nothing to refer to, the maps get names of which none is that of a map. Raises FormatError.
    """
    elf = Relocatable(data)
    copy = bytearray(data)
    found: list[int] = []
    maps = [section for section in elf.sections if section.name in _NAMES]
    wanted = _function(elf, program)
    for section in elf.sections:
        if section.type == SHT_REL and section.info in [one.number for one in maps]:
            found += _keep(elf, copy, section, wanted)
    for section in maps:
        name = section.name or ""
        if not found:
            # Some libbpf stumble over maps that no program to be loaded needs.
            _rename(elf, copy, name, name.replace("?", "_").replace(".struct", "_struct"))
        elif len(maps) == 1 and name != SECTION:
            _rename(elf, copy, name, SECTION)
    return bytes(copy), found


def _function(elf: Relocatable, name: str) -> Symbol | None:
    for symbol in elf.symbols:
        if symbol.type == STT_FUNC and symbol.name == name:
            return symbol
    return None


def _keep(elf: Relocatable, copy: bytearray, section: Section, wanted: Symbol | None) -> list[int]:
    """Drop the relocations to other functions; where those that stay are applied."""
    rows = []
    for row in elf.relocations(section):
        symbol = elf.symbols[row.symbol] if row.symbol < len(elf.symbols) else None
        if symbol is None or wanted is None:
            continue
        if (symbol.section, symbol.value) == (wanted.section, wanted.value):
            rows.append(row)
    at = section.offset
    for row in rows:
        struct.pack_into(f"{elf.order}QQ", copy, at, row.offset, row.symbol << 32 | row.type)
        at += _REL
    (table,) = struct.unpack_from(f"{elf.order}Q", copy, 40)
    size_at = table + section.number * _HEADER + _SIZE_AT
    struct.pack_into(f"{elf.order}Q", copy, size_at, len(rows) * _REL)
    return [row.offset for row in rows]


def _rename(elf: Relocatable, copy: bytearray, name: str, new_name: str) -> None:
    """Call a section otherwise in the file and in its BTF, in the space that the name has."""
    names = elf.sections[elf.names_index]
    types = elf.section_of(".BTF")
    # The name of the section with its relocations may be the same string, read from before.
    old = name.encode() + b"\0"
    new = new_name.encode().ljust(len(old), b"\0")
    for section in (names, types):
        if section is None:
            continue
        for before in (b"\0", b".rel"):
            place = copy.find(before + old, section.offset, section.offset + section.size)
            if place >= 0:
                place += len(before)
                copy[place : place + len(old)] = new
