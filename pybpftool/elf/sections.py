"""ELF files: the sections that BTF is in.

Ordinary files are read by hand: their section headers are a table, and importing
pyelftools takes longer than everything else that a dump of an object file does.
What is not ordinary (compressed sections, counts too large for the ELF header) is
left to pyelftools.
"""

from __future__ import annotations

import os
import stat
import struct

from pybpftool.btf.parser import Btf
from pybpftool.errors import BpfError, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_SHT_PROGBITS = 1
_SHT_STRTAB = 3
_SHN_XINDEX = 0xFFFF
_SHF_COMPRESSED = 0x800
_MAX_SECTION = 1 << 30

_BTF, _BTF_EXT, _BTF_BASE = ".BTF", ".BTF.ext", ".BTF.base"
_WANTED = (_BTF, _BTF_EXT, _BTF_BASE)


def read_btf(path: str, base: Btf | None = None) -> Btf:
    """The BTF of an ELF file.

    A ``.BTF.base`` section of the file is the base of its types; if ``base`` is given
    too, the types are moved onto it. Raises :class:`FormatError` when the file has no
    BTF or is broken, :class:`BpfError` when it cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BpfError(f"cannot read BTF from '{path}': not a regular file")
            pointer_size, found = sections(file, _WANTED)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot read '{path}': {reason}") from None
    except FormatError as error:
        raise FormatError(f"cannot read BTF from '{path}': {error}") from None
    data = found.get(_BTF)
    if data is None:
        raise FormatError(f"'{path}' has no .BTF section")
    try:
        if _BTF_BASE in found:
            own_base = Btf.from_bytes(found[_BTF_BASE])
            btf = Btf.from_bytes(data, own_base)
            if base is not None:
                from pybpftool.btf.relocate import relocate

                btf = relocate(btf, own_base, base)
        else:
            btf = Btf.from_bytes(data, base)
    except FormatError as error:
        raise FormatError(f"cannot read BTF from '{path}': {error}") from None
    btf.pointer_size = pointer_size
    return btf


def sections(file: BinaryIO, names: tuple[str, ...]) -> tuple[int, dict[str, bytes]]:
    """The pointer size of an ELF file and the contents of its sections of these names.

    The sections must hold program data (SHT_PROGBITS); of several with one name the
    last counts. Compressed ones are decompressed. Raises :class:`FormatError`.
    """
    found = _by_hand(file, names)
    return found if found is not None else _with_pyelftools(file, names)


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    data = os.pread(file.fileno(), size, offset)
    while len(data) < size:
        more = os.pread(file.fileno(), size - len(data), offset + len(data))
        if not more:
            raise FormatError(f"the ELF file ends before byte {offset + size}")
        data += more
    return data


def _check_size(offset: int, size: int, file_size: int) -> None:
    if offset + size > file_size:
        raise FormatError(f"the ELF file ends before byte {offset + size}")
    if size > _MAX_SECTION:
        raise FormatError(f"an ELF section claims {size} bytes")


def _by_hand(file: BinaryIO, names: tuple[str, ...]) -> tuple[int, dict[str, bytes]] | None:
    file_size = os.fstat(file.fileno()).st_size
    ident = os.pread(file.fileno(), 64, 0)
    if len(ident) < 52 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2):
        raise FormatError("the file is not ELF, or its header is cut off")
    if ident[5] not in (1, 2):
        raise FormatError("the ELF file has an unknown byte order")
    order = "<" if ident[5] == 1 else ">"
    is_64 = ident[4] == 2
    if len(ident) < 64 and is_64:
        raise FormatError("the ELF header is cut off")
    (table,) = (
        struct.unpack_from(f"{order}Q", ident, 40)
        if is_64
        else struct.unpack_from(f"{order}I", ident, 32)
    )
    entry_size, count, names_index = struct.unpack_from(f"{order}3H", ident, 58 if is_64 else 46)
    if table and (not count or names_index == _SHN_XINDEX):
        return None
    header = struct.Struct(f"{order}IIQQQQII" if is_64 else f"{order}8I")
    full_size = 64 if is_64 else 40
    if not table or names_index >= count or entry_size != full_size:
        raise FormatError("the ELF file has no section names")
    _check_size(table, entry_size * count, file_size)
    data = _read(file, table, entry_size * count)
    headers = [header.unpack_from(data, entry_size * index) for index in range(count)]
    _, kind, _, _, offset, size, _, _ = headers[names_index]
    if kind != _SHT_STRTAB:
        raise FormatError("the ELF file's section names are in no string table")
    _check_size(offset, size, file_size)
    strings = _read(file, offset, size)
    wanted = {name.encode(): name for name in names}
    found: dict[str, bytes] = {}
    for name_at, kind, flags, _, offset, size, _, _ in headers[1:]:
        end = strings.find(b"\0", name_at) if name_at < len(strings) else -1
        if end < 0:
            raise FormatError("an ELF section has no name")
        name = wanted.get(strings[name_at:end])
        if name is None:
            continue
        if kind != _SHT_PROGBITS:
            raise FormatError(f"the section {name} has the unexpected type {kind}")
        if flags & _SHF_COMPRESSED:
            return None
        _check_size(offset, size, file_size)
        found[name] = _read(file, offset, size)
    return 8 if is_64 else 4, found


def _with_pyelftools(file: BinaryIO, names: tuple[str, ...]) -> tuple[int, dict[str, bytes]]:
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile

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
            _check_size(section["sh_offset"], section["sh_size"], file_size)
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

    if part.data_size > _MAX_SECTION:
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
        raise FormatError(f"the compressed section {part.name} has not the size it claims")
    return data


class Probes:
    """What an ELF file tells about places in its code.

    ``segments`` is (file offset, address, size) of what is loaded; ``functions`` is
    (address, size, name) in the order of addresses; ``usdt`` is (address, "provider:name")
    of the USDT probes (systemtap's notes).
    """

    __slots__ = ("functions", "segments", "usdt")

    def __init__(
        self,
        segments: list[tuple[int, int, int]],
        functions: list[tuple[int, int, str]],
        usdt: list[tuple[int, str]],
    ) -> None:
        self.segments = segments
        self.functions = functions
        self.usdt = usdt


_STT_FUNC, _STT_GNU_IFUNC = 2, 10
_NT_STAPSDT = 3


def read_probes(path: str) -> Probes:
    """Functions and USDT probes of an ELF file; raises BpfError or FormatError."""
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        # Not blocking: what is opened may turn out to be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BpfError(f"'{path}' is not a regular file")
            elf = ELFFile(file)
            file_size = os.fstat(file.fileno()).st_size
            order = "<" if elf.little_endian else ">"
            segments = [
                (segment["p_offset"], segment["p_vaddr"], segment["p_filesz"])
                for segment in elf.iter_segments("PT_LOAD")
            ]
            functions: dict[int, tuple[int, int, str]] = {}
            usdt: list[tuple[int, str]] = []
            base = elf.get_section_by_name(".stapsdt.base")
            base_address = int(base["sh_addr"]) if base is not None else 0
            for section in elf.iter_sections():
                if section["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM"):
                    names = elf.get_section(section["sh_link"])
                    for part in (section, names):
                        _check_size(part["sh_offset"], part["sh_size"], file_size)
                    strings = bytes(names.data())
                    for row in _functions(section.data(), strings, order, elf.elfclass):
                        functions.setdefault(row[0], row)
                elif section.name == ".note.stapsdt":
                    _check_size(section["sh_offset"], section["sh_size"], file_size)
                    usdt += _usdt(section.data(), order, elf.elfclass // 8, base_address)
    except FormatError as error:
        raise FormatError(f"cannot read '{path}': {error}") from None
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name or number"
        raise BpfError(f"cannot read '{path}': {reason}") from None
    except (
        ELFError, ConstructError, KeyError, AttributeError, TypeError, AssertionError,
        EOFError, MemoryError, struct.error,
    ) as error:  # fmt: skip
        raise FormatError(f"'{path}' is no ELF file, or broken ({type(error).__name__})") from None
    return Probes(segments, sorted(functions.values()), usdt)


def _functions(
    data: bytes, strings: bytes, order: str, elf_class: int
) -> list[tuple[int, int, str]]:
    """(address, size, name) of the functions that a symbol table defines."""
    if elf_class == 64:  # st_name, st_info, st_other, st_shndx, st_value, st_size
        layout, name_at, info_at, index_at, value_at, size_at = "IBBHQQ", 0, 1, 3, 4, 5
    else:  # st_name, st_value, st_size, st_info, st_other, st_shndx
        layout, name_at, info_at, index_at, value_at, size_at = "IIIBBH", 0, 3, 5, 1, 2
    symbol = struct.Struct(order + layout)
    found = []
    for row in symbol.iter_unpack(data[: len(data) // symbol.size * symbol.size]):
        if row[info_at] & 15 in (_STT_FUNC, _STT_GNU_IFUNC) and row[index_at] and row[value_at]:
            start = row[name_at]
            end = strings.find(b"\0", start)
            name = strings[start : end if end >= 0 else len(strings)]
            if name:
                found.append((row[value_at], row[size_at], name.decode("utf-8", "surrogateescape")))
    return found


def _usdt(data: bytes, order: str, word: int, base_address: int) -> list[tuple[int, str]]:
    """(address, "provider:name") of the probes in a .note.stapsdt section.

    A note's description is three addresses (of the probe, of .stapsdt.base when the
    file was linked, of the semaphore) and three strings (provider, name, arguments).
    """
    found = []
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from(order + "III", data, at)
        start = at + 12 + ((name_size + 3) & ~3)
        description = data[start : start + size]
        if kind == _NT_STAPSDT and len(description) > 3 * word:
            code = "Q" if word == 8 else "I"
            address, linked_base, _ = struct.unpack_from(f"{order}3{code}", description)
            if base_address:
                # prelink(8) moves the sections, not what the notes say.
                address = (address + base_address - linked_base) % (1 << 8 * word)
            strings = description[3 * word :].split(b"\0")
            if len(strings) > 2:
                label = b":".join(strings[:2]).decode("utf-8", "surrogateescape")
                found.append((address, label))
        at = start + ((size + 3) & ~3)
    return found
