"""Relocatable ELF files of BPF programs: sections, symbols, relocations.

What a compiler writes for ``-target bpf`` (64 bits, either byte order), read as a whole.
Every number is checked before it is used; nothing here knows BTF.
"""

from __future__ import annotations

import posix
import struct

from pybpftool.errors import BpfError, FormatError
from pybpftool.reading import is_regular, read_all
from pybpftool.records import Record

# Numbers of include/uapi/linux/elf.h and of the BPF psABI.
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB = 0, 1, 2, 3
SHT_NOBITS, SHT_REL = 8, 9
SHT_LLVM_ADDRSIG = 0x6FFF4C03
SHF_EXECINSTR, SHF_COMPRESSED = 4, 0x800
SHN_UNDEF, SHN_XINDEX = 0, 0xFFFF
STT_OBJECT, STT_FUNC, STT_SECTION = 1, 2, 3
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN = 0, 1, 2
EM_BPF = 247
ET_REL = 1
_SYMBOL_BYTES, _REL_BYTES, _HEADER_BYTES = 24, 16, 64
MAX_FILE = 1 << 30


class Section(Record):
    """A section header; ``name`` is None where the table of names does not have it."""

    number: int
    name: str | None
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int


class Symbol(Record):
    """A symbol; ``section`` is an index or one of the SHN_ numbers."""

    number: int
    name: str
    name_offset: int
    value: int
    size: int
    section: int
    info: int
    other: int

    @property
    def type(self) -> int:
        """STT_FUNC and its like."""
        return self.info & 0xF

    @property
    def binding(self) -> int:
        """STB_LOCAL, STB_GLOBAL or STB_WEAK."""
        return self.info >> 4

    @property
    def visibility(self) -> int:
        """STV_DEFAULT, STV_HIDDEN, ..."""
        return self.other & 3

    @property
    def is_extern(self) -> bool:
        """Whether it is a variable or function that this file only declares."""
        return (
            self.section == SHN_UNDEF and self.binding in (STB_GLOBAL, STB_WEAK) and not self.type
        )


class Relocation(Record):
    """An entry of a SHT_REL section: where in the target section, what kind, which symbol."""

    offset: int
    type: int
    symbol: int


def read_file(path: str) -> bytes:
    """A regular file as a whole; raises :class:`BpfError`."""
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot open '{path}': {reason}") from None
    try:
        if not is_regular(fd):
            raise BpfError(f"cannot read '{path}': not a regular file")
        if posix.fstat(fd).st_size > MAX_FILE:
            raise BpfError(f"cannot read '{path}': the file has more than 1 GiB")
        return read_all(fd)
    except OSError as error:
        raise BpfError(f"cannot read '{path}': {error.strerror}") from None
    finally:
        posix.close(fd)


class Relocatable:
    """A BPF object file's sections and symbols.  Raises :class:`FormatError`."""

    def __init__(self, data: bytes) -> None:
        self.bytes = data
        if len(data) < _HEADER_BYTES or data[:4] != b"\x7fELF":
            raise FormatError("the file is not ELF, or its header is cut off")
        if data[4] != 2:
            raise FormatError("it is not a 64-bit ELF file, as those of BPF are")
        if data[5] not in (1, 2):
            raise FormatError("the ELF file has an unknown byte order")
        if data[6] != 1:  # EI_VERSION; of the two versions libelf looks at this one
            raise FormatError("the ELF file has an unknown version")
        self.order = "<" if data[5] == 1 else ">"
        self.machine, kind = self._machine()
        if kind != ET_REL or self.machine not in (0, EM_BPF):  # old LLVM says EM_NONE
            raise FormatError("it is not an object file of BPF programs")
        self.sections = self._sections()
        tables = [section for section in self.sections[1:] if section.type == SHT_SYMTAB]
        if not tables:
            raise FormatError("it has no symbol table; was the file stripped?")
        if len(tables) > 1:
            raise FormatError("it has more than one symbol table")
        self.symbol_table = tables[0]
        self.symbols = self._symbols(tables[0])

    def _machine(self) -> tuple[int, int]:
        kind, machine = struct.unpack_from(f"{self.order}HH", self.bytes, 16)
        return machine, kind

    def _sections(self) -> list[Section]:
        data, order = self.bytes, self.order
        (table,) = struct.unpack_from(f"{order}Q", data, 40)
        # The size of a header stands there, too; libelf does not look at it.
        count, names_index = struct.unpack_from(f"{order}2H", data, 60)
        header = struct.Struct(f"{order}IIQQQQIIQQ")
        if not table or table + header.size > len(data):
            raise FormatError("the ELF file has no table of sections")
        first = header.unpack_from(data, table)
        count = count or first[5]
        if names_index == SHN_XINDEX:
            names_index = first[6]
        if table + count * header.size > len(data):
            raise FormatError("the ELF file's table of sections is cut off")
        rows = [header.unpack_from(data, table + at * header.size) for at in range(count)]
        if not 0 < names_index < count or rows[names_index][1] != SHT_STRTAB:
            raise FormatError("the ELF file has no section names")
        if rows[names_index][2] & SHF_COMPRESSED:  # libelf reads no strings out of such
            raise FormatError("the ELF file's section names are compressed")
        self.names_index = names_index
        start, size = rows[names_index][4:6]
        if start + size > len(data):
            raise FormatError("the ELF file's section names are cut off")
        names = data[start : start + size]
        sections = []
        for number, row in enumerate(rows):
            name_at, kind, flags, _, *rest = row
            sections.append(Section(number, text_at(names, name_at), kind, flags, *rest))
        return sections

    def content(self, section: Section) -> bytes:
        """A section's bytes, none for those without (SHT_NOBITS)."""
        if section.type in (SHT_NOBITS, SHT_NULL):
            return b""
        end = section.offset + section.size
        if end > len(self.bytes):
            raise FormatError(f"the section '{section.name}' lies beyond the end of the file")
        return self.bytes[section.offset : end]

    def section_of(self, name: str) -> Section | None:
        """The first section of this name."""
        for section in self.sections[1:]:
            if section.name == name:
                return section
        return None

    def _symbols(self, table: Section) -> list[Symbol]:
        data = self.content(table)
        if table.entry_size != _SYMBOL_BYTES or len(data) % _SYMBOL_BYTES:
            raise FormatError("the symbol table is not made of whole symbols")
        self._symbol_names = names = b""
        if 0 < table.link < len(self.sections):
            strings = self.sections[table.link]
            if strings.type == SHT_STRTAB and not strings.flags & SHF_COMPRESSED:
                self._symbol_names = names = self.content(strings)
        found = []
        rows = struct.iter_unpack(f"{self.order}IBBHQQ", data)
        for index, (name_at, info, other, section, value, size) in enumerate(rows):
            name = text_at(names, name_at)
            found.append(Symbol(index, name or "", name_at, value, size, section, info, other))
        return found

    def has_name(self, symbol: Symbol) -> bool:
        """Whether the table of names has one at the symbol's place, be it empty."""
        return text_at(self._symbol_names, symbol.name_offset) is not None

    def relocations(self, section: Section) -> list[Relocation]:
        """The entries of a SHT_REL section."""
        data = self.content(section)
        if section.entry_size != _REL_BYTES or len(data) % _REL_BYTES:
            raise FormatError(f"the section '{section.name}' is not made of whole relocations")
        return [
            Relocation(offset, info & 0xFFFFFFFF, info >> 32)
            for offset, info in struct.iter_unpack(f"{self.order}QQ", data)
        ]


def text_at(strings: bytes, offset: int) -> str | None:
    """The string at an offset into a string table; None beyond it or without an end."""
    end = strings.find(b"\0", offset) if offset < len(strings) else -1
    return None if end < 0 else strings[offset:end].decode("utf-8", "surrogateescape")
