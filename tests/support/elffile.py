"""Small ELF files with given sections, in both classes and byte orders."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping


def object_file(
    contents: Mapping[str, bytes],
    *,
    order: str = "little",
    is_64: bool = True,
    compressed: bool = False,
    section_type: int = 1,
) -> bytes:
    """An ELF object with these sections; ``compressed`` ones carry an Elf_Chdr (zlib)."""
    mark = "<" if order == "little" else ">"
    header_size, entry_size = (64, 64) if is_64 else (52, 40)
    names = b"\0"
    body = b""
    # name, type, flags, addr, offset, size, link, info, align, entsize
    headers: list[tuple[int, ...]] = [(0,) * 10]
    for name, content in contents.items():
        data = content
        flags = 0
        if compressed:
            flags = 0x800
            if is_64:
                chdr = struct.pack(f"{mark}IIQQ", 1, 0, len(data), 1)
            else:
                chdr = struct.pack(f"{mark}3I", 1, len(data), 1)
            data = chdr + zlib.compress(data)
        place = header_size + len(body)
        headers.append((len(names), section_type, flags, 0, place, len(data), 0, 0, 4, 0))
        names += name.encode() + b"\0"
        body += data
        body += bytes(-len(body) % 8)
    at = len(names)
    names += b".shstrtab\0"
    headers.append((at, 3, 0, 0, header_size + len(body), len(names), 0, 0, 1, 0))
    body += names
    body += bytes(-len(body) % 8)
    table = header_size + len(body)
    layout = f"{mark}IIQQQQIIQQ" if is_64 else f"{mark}10I"
    for header in headers:
        body += struct.pack(layout, *header)
    ident = b"\x7fELF" + bytes((2 if is_64 else 1, 1 if order == "little" else 2, 1))
    address = "Q" if is_64 else "I"
    rest = struct.pack(
        f"{mark}HHI3{address}I6H",
        1, 247, 1, 0, 0, table, 0, header_size, 0, 0, entry_size, len(headers), len(headers) - 1,
    )  # fmt: skip
    return ident.ljust(16, b"\0") + rest + body
