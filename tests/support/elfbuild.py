"""ELF files made by hand: segments, sections, symbols, USDT notes."""

from __future__ import annotations

import struct


class ElfBuilder:
    """An executable with one loaded segment at file offset 0x100.

    :param bits: 32 or 64.
    :param order: "<" or ">".
    """

    def __init__(self, bits: int = 64, order: str = "<", address: int = 0x400000) -> None:
        self.bits = bits
        self.order = order
        self.address = address
        self.symbols: list[tuple[str, int, int, int, int]] = []
        self.notes = b""
        self.base: int | None = None
        self.code = bytes(0x200)

    def symbol(self, name: str, value: int, size: int, kind: int = 2, section: int = 1) -> None:
        """A symbol; kind 2 is a function, section 0 means undefined."""
        self.symbols.append((name, value, size, kind, section))

    def probe(self, provider: str, name: str, address: int, linked_base: int = 0) -> None:
        """A USDT probe as systemtap's sys/sdt.h writes it."""
        code = "Q" if self.bits == 64 else "I"
        description = struct.pack(f"{self.order}3{code}", address, linked_base, 0)
        description += provider.encode() + b"\0" + name.encode() + b"\0-4@%edi\0"
        self.note(3, description)

    def note(self, kind: int, description: bytes, name: bytes = b"stapsdt\0") -> None:
        """Any note."""
        self.notes += struct.pack(f"{self.order}III", len(name), len(description), kind)
        for part in (name, description):
            self.notes += part + bytes(-len(part) % 4)

    def build(self) -> bytes:
        """The file."""
        is_64 = self.bits == 64
        strings = b"\0"
        table = bytes(24 if is_64 else 16)
        for name, value, size, kind, section in self.symbols:
            at = len(strings) if name else 0
            strings += name.encode() + b"\0" if name else b""
            table += (
                struct.pack(self.order + "IBBHQQ", at, kind, 0, section, value, size)
                if is_64
                else struct.pack(self.order + "IIIBBH", at, value, size, kind, 0, section)
            )
        # name, type, address, content, link, entry size
        sections: list[tuple[str, int, int, bytes, int, int]] = [
            (".text", 1, self.address, self.code, 0, 0),
            (".symtab", 2, 0, table, 3, 24 if is_64 else 16),
            (".strtab", 3, 0, strings, 0, 0),
            (".note.stapsdt", 7, 0, self.notes, 0, 0),
        ]
        if self.base is not None:
            sections.append((".stapsdt.base", 1, self.base, b"\0", 0, 0))
        names = b"\0"
        offsets = []
        data = b""
        start = 0x100
        for name, *_, content, _, _ in [*sections, (".shstrtab", 3, 0, b"", 0, 0)]:
            offsets.append((len(names), start + len(data)))
            names += name.encode() + b"\0"
            data += content + bytes(-len(content) % 8)
        sections.append((".shstrtab", 3, 0, names, 0, 0))
        data = data[: offsets[-1][1] - start] + names + bytes(-len(names) % 8)
        header_size, table_at = (64 if is_64 else 40), start + len(data)
        headers = bytes(header_size)
        layout = self.order + ("IIQQQQIIQQ" if is_64 else "10I")
        for (name_at, offset), (_, kind, address, content, link, entry) in zip(offsets, sections):
            headers += struct.pack(
                layout, name_at, kind, 0, address, offset, len(content), link, 0, 8, entry
            )
        count = len(sections) + 1
        ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1 if self.order == "<" else 2, 1]) + bytes(9)
        word = "Q" if is_64 else "I"
        head = ident + struct.pack(
            f"{self.order}HHI3{word}IHHHHHH",
            2,
            62 if is_64 else 3,
            1,
            self.address,
            64 if is_64 else 52,
            table_at,
            0,
            64 if is_64 else 52,
            56 if is_64 else 32,
            1,
            header_size,
            count,
            count - 1,
        )
        size = len(self.code)
        head += (
            struct.pack(
                self.order + "IIQQQQQQ", 1, 5, 0x100, self.address, self.address, size, size, 8
            )
            if is_64
            else struct.pack(
                self.order + "8I", 1, 0x100, self.address, self.address, size, size, 5, 8
            )
        )
        return head.ljust(0x100, b"\0") + data + headers
