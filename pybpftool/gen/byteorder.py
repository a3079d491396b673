"""Object files of BPF in the other byte order: headers, symbols, code, BTF.

A libbpf that knows its own machine's order alone can link objects for another one that way:
turned around, linked and turned back. Data of programs stays as it is, nobody knows its form.
"""

from __future__ import annotations

import struct

from pybpftool.elf.relocatable import (
    SHF_EXECINSTR,
    SHT_NOBITS,
    SHT_NULL,
    SHT_PROGBITS,
    SHT_REL,
    SHT_SYMTAB,
    Relocatable,
    read_file,
)
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.elf.relocatable import Section

_HEADER = "HHIQQQIHHHHHH"
_SECTION = "IIQQQQIIQQ"
_NIBBLES = bytes([(byte & 0xF) << 4 | byte >> 4 for byte in range(256)])


def is_foreign(data: bytes) -> bool:
    """Whether an ELF file is in the other byte order than this machine's."""
    import sys

    return data[:4] == b"\x7fELF" and data[5:6] == (b"\2" if sys.byteorder == "little" else b"\1")


def turned_files(paths: Sequence[str]) -> list[bytes] | None:
    """Files in this machine's order, if all are in the other one; else None.

    Raises :class:`pybpftool.errors.BpfError`.
    """
    contents = []
    for path in paths:
        data = read_file(path)
        if not is_foreign(data):
            return None
        contents.append(data)
    return [*map(turned, contents)]


def turned(data: bytes) -> bytes:
    """The file in its other byte order.  Raises :class:`FormatError`."""
    elf = Relocatable(data)
    old = elf.order
    new = "<" if old == ">" else ">"
    out = bytearray(data)
    out[5] = 1 if new == "<" else 2
    out[16:64] = struct.pack(new + _HEADER, *struct.unpack_from(old + _HEADER, data, 16))
    (table,) = struct.unpack_from(f"{old}Q", data, 40)
    for section in elf.sections:
        at = table + 64 * section.number
        header = struct.unpack_from(old + _SECTION, data, at)
        out[at : at + 64] = struct.pack(new + _SECTION, *header)
        if section.type in (SHT_NULL, SHT_NOBITS):
            continue
        content = _content(elf.content(section), section, old, new)
        out[section.offset : section.offset + len(content)] = content
    return bytes(out)


def _content(data: bytes, section: Section, old: str, new: str) -> bytes:
    if section.type == SHT_SYMTAB:
        return _records(data, "IBBHQQ", old, new)
    if section.type == SHT_REL:
        return _records(data, "QQ", old, new)
    if section.type != SHT_PROGBITS:
        return data
    if section.flags & SHF_EXECINSTR:
        turned_code = bytearray(_records(data, "BBHI", old, new))
        turned_code[1::8] = data[1::8].translate(_NIBBLES)
        return bytes(turned_code)
    if section.name in (".BTF", ".BTF.ext"):
        return _btf(data, section.name, old)
    return data


def _records(data: bytes, layout: str, old: str, new: str) -> bytes:
    one = struct.Struct(old + layout)
    if len(data) % one.size:
        raise FormatError("a section is not made of whole records")
    pack = struct.Struct(new + layout).pack
    return b"".join([pack(*row) for row in one.iter_unpack(data)])


def _btf(data: bytes, name: str, old: str) -> bytes:
    """BTF is a header, 32-bit words, and strings; .BTF.ext has no strings of its own."""
    if len(data) < 24:
        raise FormatError(f"the section {name} is too short")
    (length,) = struct.unpack_from(f"{old}I", data, 4)
    if name == ".BTF":
        types, size = struct.unpack_from(f"{old}II", data, 8)
        ranges = [(4, length), (length + types, length + types + size)]
    else:
        ranges = [(4, len(data))]
    from array import array  # it loads collections

    out = bytearray(data)
    out[0:2] = data[1::-1]
    for start, end in ranges:
        if start % 4 or end % 4 or end > len(data) or start > end:
            raise FormatError(f"the section {name} is not made of whole words")
        words = array("I", data[start:end])
        words.byteswap()
        out[start:end] = words.tobytes()
    return bytes(out)
