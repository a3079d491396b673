"""ELF files: the contents of sections by name.

Ordinary files are read by hand: their section headers are a table, and importing
pyelftools takes longer than everything else that a dump of an object file does.
What is not ordinary (compressed sections, counts too large for the ELF header) is
left to pyelftools.
"""

from __future__ import annotations

import posix
import struct

from pybpftool.errors import BpfError, FormatError
from pybpftool.reading import is_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

# Numbers of include/uapi/linux/elf.h.
_SHT_PROGBITS = 1
_SHT_STRTAB = 3
_SHN_XINDEX = 0xFFFF
_SHF_COMPRESSED = 0x800
_MAX_SECTION = 1 << 30


def read_sections(path: str, names: tuple[str, ...]) -> tuple[int, dict[str, bytes]]:
    """As :func:`sections`, of the file ``path``.

    Raises :class:`FormatError` when the file is broken, :class:`BpfError` when it
    cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if not is_regular(file.fileno()):
                raise BpfError(f"cannot read BTF from '{path}': not a regular file")
            return sections(file, names)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot read '{path}': {reason}") from None
    except FormatError as error:
        raise FormatError(f"cannot read BTF from '{path}': {error}") from None


def sections(file: BinaryIO, names: tuple[str, ...]) -> tuple[int, dict[str, bytes]]:
    """The pointer size of an ELF file and the contents of its sections of these names.

    The sections must hold program data (SHT_PROGBITS); of several with one name the
    last counts. Compressed ones are decompressed. Raises :class:`FormatError`.
    """
    found = _by_hand(file, names)
    if found is None:
        from pybpftool.adapters.elftools import sections as read

        found = read(file, names, check_extent)
    return found


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    data = posix.pread(file.fileno(), size, offset)
    while len(data) < size:
        more = posix.pread(file.fileno(), size - len(data), offset + len(data))
        if not more:
            raise FormatError(f"the ELF file ends before byte {offset + size}")
        data += more
    return data


def check_extent(offset: int, size: int, file_size: int) -> None:
    """Refuse what lies beyond the end of the file or is larger than any section."""
    if offset + size > file_size:
        raise FormatError(f"the ELF file ends before byte {offset + size}")
    if size > _MAX_SECTION:
        raise FormatError(f"an ELF section claims {size} bytes")


def _by_hand(file: BinaryIO, names: tuple[str, ...]) -> tuple[int, dict[str, bytes]] | None:
    file_size = posix.fstat(file.fileno()).st_size
    ident = posix.pread(file.fileno(), 64, 0)
    if len(ident) < 52 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2):
        raise FormatError("the file is not ELF, or its header is cut off")
    if ident[5] not in (1, 2):
        raise FormatError("the ELF file has an unknown byte order")
    if ident[6] != 1:
        raise FormatError("the ELF file has an unknown version")
    order = "<" if ident[5] == 1 else ">"
    is_64 = ident[4] == 2
    if len(ident) < 64 and is_64:
        raise FormatError("the ELF header is cut off")
    (table,) = (
        struct.unpack_from(f"{order}Q", ident, 40)
        if is_64
        else struct.unpack_from(f"{order}I", ident, 32)
    )
    # The size of a header stands before these; libelf does not look at it.
    count, names_index = struct.unpack_from(f"{order}2H", ident, 60 if is_64 else 48)
    if table and (not count or names_index == _SHN_XINDEX):
        return None
    header = struct.Struct(f"{order}IIQQQQII" if is_64 else f"{order}8I")
    entry_size = 64 if is_64 else 40
    if not table or names_index >= count:
        raise FormatError("the ELF file has no section names")
    check_extent(table, entry_size * count, file_size)
    data = _read(file, table, entry_size * count)
    headers = [header.unpack_from(data, entry_size * index) for index in range(count)]
    _, kind, _, _, offset, size, _, _ = headers[names_index]
    if kind != _SHT_STRTAB:
        raise FormatError("the ELF file's section names are in no string table")
    check_extent(offset, size, file_size)
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
        check_extent(offset, size, file_size)
        found[name] = _read(file, offset, size)
    return 8 if is_64 else 4, found
