"""ELF files through pyelftools: what :mod:`pybpftool.elf` does not read by hand."""

from __future__ import annotations

import os
import struct

from pybpftool.adapters import missing
from pybpftool.errors import FormatError

try:
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile
except ImportError as error:
    raise missing("reading such an ELF file", "pyelftools", error) from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    # (offset, size, size of the file): raises FormatError for what no file can hold.
    CheckExtent = Callable[[int, int, int], None]

MAX_SECTION = 1 << 30


class Image:
    """The tables of an executable in which functions and probes are found.

    ``word`` is the size of an address in bytes, ``order`` the byte order for
    :mod:`struct`; ``segments`` is (file offset, address, size) of what is loaded,
    ``symbols`` has a symbol table's bytes and its strings', ``notes`` the sections
    .note.stapsdt and ``base_address`` the address of .stapsdt.base (0 without one).
    """

    __slots__ = ("base_address", "notes", "order", "segments", "symbols", "word")

    def __init__(self, file: BinaryIO, check: CheckExtent) -> None:
        elf = ELFFile(file)
        file_size = os.fstat(file.fileno()).st_size
        self.word: int = elf.elfclass // 8
        self.order = "<" if elf.little_endian else ">"
        self.segments: list[tuple[int, int, int]] = [
            (segment["p_offset"], segment["p_vaddr"], segment["p_filesz"])
            for segment in elf.iter_segments("PT_LOAD")
        ]
        self.symbols: list[tuple[bytes, bytes]] = []
        self.notes: list[bytes] = []
        base = elf.get_section_by_name(".stapsdt.base")
        self.base_address = int(base["sh_addr"]) if base is not None else 0
        for section in elf.iter_sections():
            if section["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM"):
                names = elf.get_section(section["sh_link"])
                for part in (section, names):
                    check(part["sh_offset"], part["sh_size"], file_size)
                self.symbols.append((section.data(), bytes(names.data())))
            elif section.name == ".note.stapsdt":
                check(section["sh_offset"], section["sh_size"], file_size)
                self.notes.append(section.data())


def image(file: BinaryIO, check: CheckExtent) -> Image:
    """The tables of an ELF file; raises FormatError, OSError."""
    try:
        return Image(file, check)
    except (
        ELFError, ConstructError, KeyError, AttributeError, TypeError, AssertionError,
        EOFError, MemoryError, struct.error,
    ) as error:  # fmt: skip
        raise FormatError(
            f"it is not an ELF file, or it is broken ({type(error).__name__})"
        ) from None


def build_id(file: BinaryIO) -> str:
    """The build id of an ELF file in hexadecimal, empty without one; raises FormatError."""
    try:
        segments: Any = ELFFile(file).iter_segments("PT_NOTE")
        for segment in segments:
            for note in segment.iter_notes():
                if note["n_type"] == "NT_GNU_BUILD_ID":
                    return str(note["n_desc"])
    except (
        ELFError, ConstructError, KeyError, AttributeError, TypeError, AssertionError,
        EOFError, MemoryError, struct.error, ValueError,
    ) as error:  # fmt: skip
        raise FormatError(
            f"it is not an ELF file, or it is broken ({type(error).__name__})"
        ) from None
    return ""


def sections(
    file: BinaryIO, names: tuple[str, ...], check: CheckExtent
) -> tuple[int, dict[str, bytes]]:
    """The pointer size of an ELF file and the contents of its sections of these names."""
    file_size = os.fstat(file.fileno()).st_size
    found: dict[str, bytes] = {}
    try:
        elf = ELFFile(file)
        if elf.num_sections() * elf["e_shentsize"] + elf["e_shoff"] > file_size:
            raise FormatError("the ELF file's section table is cut off")
        for section in elf.iter_sections():
            if section.name not in names:
                continue
            if section["sh_type"] != "SHT_PROGBITS":
                raise FormatError(
                    f"the section {section.name} has the unexpected type {section['sh_type']}"
                )
            check(section["sh_offset"], section["sh_size"], file_size)
            found[section.name] = _contents(section)
    except (
        ELFError, ConstructError, UnicodeDecodeError, KeyError, AttributeError, ValueError,
        TypeError, OverflowError, AssertionError, EOFError, struct.error,
    ) as error:  # fmt: skip
        raise FormatError(f"the ELF file is broken ({type(error).__name__})") from None
    return elf.elfclass // 8, found


def _contents(section: object) -> bytes:
    """A section's data; decompressed within bounds, whatever size its header claims."""
    from typing import Any, cast

    part = cast(Any, section)
    if not part.compressed:
        return bytes(part.data())
    import zlib

    if part.data_size > MAX_SECTION:
        raise FormatError(f"the section {part.name} claims {part.data_size} bytes")
    part.stream.seek(part["sh_offset"])
    raw = part.stream.read(part["sh_size"])
    header = part.structs.Elf_Chdr.sizeof()
    if part.header["sh_size"] < header:
        raise FormatError(f"the compressed section {part.name} is cut off")
    if part._compression_type != "ELFCOMPRESS_ZLIB":
        raise FormatError(f"the section {part.name} is compressed in an unknown way")
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(raw[header:], part.data_size + 1)
    except zlib.error as error:
        raise FormatError(f"the section {part.name} does not decompress: {error}") from None
    if len(data) != part.data_size:
        raise FormatError(
            f"the compressed section {part.name} does not have the size that it claims"
        )
    return data
