"""Copies of object files whose maps of struct_ops an older libbpf takes as a newer one does.

Before 1.2 libbpf sees a single section of such maps, ``.struct_ops``, and no program that may
sleep among their functions; before 1.4 it refuses members that the kernel does not have, also
where they are not set, and structs with a flavor in their name.
"""

from __future__ import annotations

import struct

from pybpftool.btf.core.compat import essential
from pybpftool.elf.relocatable import SHT_REL, SHT_STRTAB
from pybpftool.elf.struct_ops import SECTION, Copy
from pybpftool.gen.byteorder import is_foreign
from pybpftool.gen.datasecs import ids_of_kind, skip_modifiers
from pybpftool.gen.opening import open_bytes
from pybpftool.uapi.btf import DATASEC, PTR, STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.elf.relocatable import Section
    from pybpftool.gen.bpf_object import BpfObject, Map

ONE_SECTION, WHOLE_MEMBERS = (1, 2), (1, 4)
"""The versions of libbpf that know more sections than one, and that pass over members."""

_SLEEPABLE = "struct_ops.s"
_HEADER, _REL = 64, 16  # bytes of a section's header, of a relocation
_NAME_AT, _TYPE_AT, _OFFSET_AT, _INFO_AT = 0, 4, 24, 44
_SYMBOL, _SYMBOL_SECTION_AT, _SYMBOL_VALUE_AT = 24, 6, 8


def for_libbpf(
    data: bytes, version: tuple[int, ...], members_of: Callable[[str], set[str] | None]
) -> Copy | None:
    """A copy of an object that libbpf of this ``version`` takes; None where there is no need.

    :param members_of: the names that the kernel's struct of a name has as members, None where
        it has no such struct.

    Raises FormatError.
    """
    if version >= WHOLE_MEMBERS or is_foreign(data):
        return None
    obj = open_bytes(data, "obj")
    maps = [entry for entry in obj.maps if entry.kind == "struct_ops"]
    if obj.btf is None or not maps:
        return None
    return _Copier(obj, maps).made(version < ONE_SECTION, members_of)


class _Copier:
    """The file and its BTF while they change."""

    def __init__(self, obj: BpfObject, maps: list[Map]) -> None:
        self.obj, self.maps, self.elf = obj, maps, obj.elf
        self.file = bytearray(obj.elf.bytes)
        (self.table,) = struct.unpack_from("=Q", self.file, 40)
        section = self.elf.section_of(".BTF")
        assert section is not None and obj.btf is not None
        self.btf = obj.btf
        self.btf_section = section
        data = self.elf.content(section)
        header, type_at, type_size, text_at, text_size = struct.unpack_from("=4x5I", data)
        self.types = bytearray(data[header + type_at :][:type_size])
        self.strings = bytearray(data[header + text_at :][:text_size])
        self.header = data[:header]
        self.is_changed = False

    def made(self, is_one: bool, members_of: Callable[[str], set[str] | None]) -> Copy | None:
        maps = self.maps
        needed: set[str] = set()
        unneeded: set[str] = set()
        for entry in maps:
            self._pass_over(entry, members_of)
            (needed if entry.autocreate else unneeded).update(entry.slots.values())
        sleepable: set[str] = set()
        if is_one:
            sleepable = self._wake()
            # Maps alone that nobody wants are not shown to it: then it would not look for the
            # kernel's types and crash without them.
            if any(entry.autocreate for entry in maps):
                self._gather()
            self.is_changed |= bool(unneeded - needed)
        if not self.is_changed:
            return None
        self._place_btf()
        return Copy(
            bytes(self.file),
            frozenset(one.name for one in maps if is_one and one.definition.map_flags),
            frozenset(one.name for one in maps if not one.autocreate),
            frozenset(sleepable),
            frozenset(unneeded - needed),
        )

    def _pass_over(self, entry: Map, members_of: Callable[[str], set[str] | None]) -> None:
        """Turn members that are not set and that the kernel lacks into pointers that it has.

        libbpf passes over pointers without a function.
        """
        btf, type_id = self.btf, entry.definition.value_type_id
        own = btf.name(type_id)
        name = essential(own)
        known = members_of(name)
        if known is None:
            return
        _, at = btf.at(type_id)  # of the word behind the name
        if name != own:
            self._put(at - 1, self._string(name))
        members = btf.members(type_id)
        model = -1
        for index, member in enumerate(members):
            words, where = btf.at(skip_modifiers(btf, member.type_id))
            if member.name in known and words[where] >> 24 & 0x7F == PTR and not member.bit_size:
                model = index
        alike = [one for one in self.maps if one.definition.value_type_id == type_id]
        contents = [one.data or b"" for one in alike]
        functions = {index for one in alike for index in one.slots}
        for index, member in enumerate(members):
            if member.name in known or index in functions or member.bit_size or model < 0:
                continue
            start = member.bit_offset // 8
            end = start + (btf.size_of(member.type_id) or 1)
            if any(any(content[start:end]) for content in contents):
                continue
            row, like = at + 2 + 3 * index, at + 2 + 3 * model
            self._put(row, self._word(like))
            self._put(row + 1, self._word(like + 1))
            if start + 8 > len(contents[0]) and index:
                self._put(row + 2, self._word(row - 1))

    def _word(self, at: int) -> int:
        word: int = struct.unpack_from("=I", self.types, 4 * at)[0]
        return word

    def _put(self, at: int, word: int) -> None:
        struct.pack_into("=I", self.types, 4 * at, word)
        self.is_changed = True

    def _string(self, text: str) -> int:
        """The offset of a string that is added."""
        at = len(self.strings)
        self.strings += text.encode("utf-8", "surrogateescape") + b"\0"
        return at

    def _wake(self) -> set[str]:
        """Call sections of programs that may sleep by a name that every libbpf knows.

        It is as long as before: names of functions may be the ends of those of their sections.
        """
        found = [one for one in self.obj.functions if one.section.partition("/")[0] == _SLEEPABLE]
        for number in {one.section_index for one in found}:
            section = self.elf.sections[number]
            name = (section.name or "").replace(_SLEEPABLE, "struct_ops/s", 1)
            old = (section.name or "").encode("utf-8", "surrogateescape") + b"\0"
            new = name.encode("utf-8", "surrogateescape") + b"\0"
            names = self.elf.sections[self.elf.names_index]
            end = names.offset + names.size
            for before in (b"\0", b".rel"):
                at = self.file.find(before + old, names.offset, end)
                if at >= 0:
                    at += len(before)
                    self.file[at : at + len(old)] = new
            at = self.strings.find(b"\0" + old)
            if at >= 0:
                self.strings[at + 1 : at + 1 + len(old)] = new
            self.is_changed = True
        return {one.name for one in found}

    def _gather(self) -> None:
        """Put all maps of struct_ops into one section of the first name."""
        sections = self.obj.struct_ops_sections
        if [one.name for one in sections] == [SECTION]:
            return
        self.is_changed = True
        content = b""
        starts: dict[int, int] = {}
        for section in sections:
            content += bytes(-len(content) % max(section.align, 8))
            starts[section.number] = len(content)
            content += self.elf.content(section)
        first = sections[0].number
        self._place(first, content)
        for symbol in self.elf.symbols:
            start = starts.get(symbol.section)
            if start is not None:
                at = self.elf.symbol_table.offset + symbol.number * _SYMBOL
                struct.pack_into("=H", self.file, at + _SYMBOL_SECTION_AT, first)
                struct.pack_into("=Q", self.file, at + _SYMBOL_VALUE_AT, symbol.value + start)
        relocations = self._merge_relocations(starts, first)
        self._rename(first, relocations)
        for section in sections[1:]:
            self._head(section.number, _TYPE_AT, SHT_STRTAB)  # which nobody looks at
        self._merge_datasecs(starts, len(content))

    def _relocations(self) -> list[Section]:
        numbers = {one.number for one in self.obj.struct_ops_sections}
        return [one for one in self.elf.sections[1:] if one.type == SHT_REL and one.info in numbers]

    def _rows(self, section: Section, start: int) -> bytes:
        return b"".join(
            struct.pack("=QQ", row.offset + start, row.symbol << 32 | row.type)
            for row in self.elf.relocations(section)
        )

    def _merge_relocations(self, starts: dict[int, int], first: int) -> int:
        """All in one section; its number, 0 where there is none."""
        found = self._relocations()
        if not found:
            return 0
        number = found[0].number
        self._place(number, b"".join(self._rows(one, starts[one.info]) for one in found))
        self._head(number, _INFO_AT, first)
        for section in found[1:]:
            self._head(section.number, _TYPE_AT, SHT_STRTAB)
        return number

    def _rename(self, maps: int, relocations: int) -> None:
        names = self.elf.sections[self.elf.names_index]
        content = bytes(self.file[names.offset :][: names.size])
        self._place(names.number, content + f"{SECTION}\0.rel{SECTION}\0".encode())
        self._head(maps, _NAME_AT, len(content))
        if relocations:
            self._head(relocations, _NAME_AT, len(content) + len(SECTION) + 1)

    def _merge_datasecs(self, starts: dict[int, int], size: int) -> None:
        """A new DATASEC for all; the old ones become structs that nobody refers to."""
        btf, rows = self.btf, []
        ids = ids_of_kind(btf, DATASEC)
        for section in self.obj.struct_ops_sections:
            (id, *_) = [one for one in ids if btf.name(one) == section.name]
            variables = self.obj.datasecs[id].variables
            _, at = btf.at(id)
            for index, one in enumerate(variables):
                rows.append((one.var_id, one.offset + starts[section.number], one.size))
                for place, word in enumerate((0, one.type_id, 0)):
                    self._put(at + 2 + 3 * index + place, word)
            self._put(at - 1, 0)
            self._put(at, STRUCT << 24 | len(variables))
            self._put(at + 1, max([one.size for one in variables], default=0))
        head = struct.pack("=3I", self._string(SECTION), DATASEC << 24 | len(rows), size)
        self.types += head + b"".join(struct.pack("=3I", *row) for row in rows)

    def _place_btf(self) -> None:
        header = bytearray(self.header)
        struct.pack_into("=4I", header, 8, 0, len(self.types), len(self.types), len(self.strings))
        self._place(self.btf_section.number, bytes(header) + self.types + self.strings)

    def _place(self, number: int, content: bytes) -> None:
        """Give a section another content, at the end of the file."""
        self.file += bytes(-len(self.file) % 8)
        at = self.table + number * _HEADER + _OFFSET_AT
        struct.pack_into("=QQ", self.file, at, len(self.file), len(content))
        self.file += content
        self.is_changed = True

    def _head(self, number: int, at: int, word: int) -> None:
        struct.pack_into("=I", self.file, self.table + number * _HEADER + at, word)
