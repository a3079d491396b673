"""Relocatable ELF files of BPF made by hand: what a compiler writes, and what none would."""

from __future__ import annotations

import struct

from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder

PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
ALLOC, EXEC = 2, 6
LOCAL, STRONG, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3
RETURN = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


class ObjBuilder:
    """Sections and symbols in the order in which they are added; indexes count from 1."""

    def __init__(self, order: str = "<", *, machine: int = 247, kind: int = 1) -> None:
        self.order = order
        self.machine = machine
        self.kind = kind
        self.sections: list[tuple[str, int, int, bytes, int, int, int]] = []
        self.symbols: list[tuple[str, int, int, int, int, int]] = [("", 0, 0, 0, 0, 0)]

    def section(
        self,
        name: str,
        data: bytes,
        kind: int = PROGBITS,
        flags: int = ALLOC,
        *,
        size: int | None = None,
        info: int = 0,
    ) -> int:
        """Add a section; returns its index."""
        length = len(data) if size is None else size
        self.sections.append((name, kind, flags, data, length, info, 16 if kind == REL else 0))
        return len(self.sections)

    def symbol(
        self,
        name: str,
        section: int,
        value: int = 0,
        size: int = 0,
        kind: int = OBJECT,
        binding: int = STRONG,
        visibility: int = 0,
    ) -> int:
        """Add a symbol; returns its index."""
        self.symbols.append((name, section, value, size, binding << 4 | kind, visibility))
        return len(self.symbols) - 1

    def relocations(self, target: int, rows: list[tuple[int, int]]) -> int:
        """Add a section of (offset in section ``target``, symbol); all of type 1."""
        data = b"".join([struct.pack(f"{self.order}QQ", at, sym << 32 | 1) for at, sym in rows])
        return self.section(f".rel{self.sections[target - 1][0]}", data, REL, 0, info=target)

    def build(self) -> bytes:
        """The file."""
        order = self.order
        strings = bytearray(b"\0")

        def string(text: str) -> int:
            at = len(strings)
            strings.extend(text.encode() + b"\0")
            return at

        rows = list(self.sections)
        table = b"".join(
            [
                struct.pack(f"{order}IBBHQQ", string(name), info, other, section, value, size)
                for name, section, value, size, info, other in self.symbols
            ]
        )
        index = len(rows) + 2
        rows.append((".symtab", SYMTAB, 0, table, len(table), 1, 24))
        names = [string(row[0]) for row in rows] + [string(".strtab")]
        rows.append((".strtab", STRTAB, 0, bytes(strings), len(strings), 0, 0))
        header = struct.Struct(f"{order}IIQQQQIIQQ")
        at = 64
        body, headers = b"", header.pack(*[0] * 10)
        for name, (_, kind, flags, data, size, info, each) in zip(names, rows):
            link = index if kind == SYMTAB else index - 1 if kind == REL else 0
            headers += header.pack(name, kind, flags, 0, at, size, link, info, 8, each)
            body += data
            at += len(data)
        ident = b"\x7fELF\x02" + (b"\1" if order == "<" else b"\2") + b"\1" + bytes(9)
        fixed = (self.kind, self.machine, 1, 0, 0, at, 0, 64, 0, 0, 64, len(rows) + 1, index)
        return ident + struct.pack(f"{order}HHIQQQIHHHHHH", *fixed) + body + headers


def small_object(order: str = "<") -> bytes:
    """A program `main` in `xdp`, `int hits` in .bss and a map `flows`, with BTF."""
    build = ObjBuilder(order)
    btf = BtfBuilder("little" if order == "<" else "big")
    number = btf.add_int("int", 4, SIGNED)
    size = btf.add_ptr(btf.add_array(number, number, 1))
    key = btf.add_ptr(number)
    definition = btf.add_struct("", 24, [("type", size, 0), ("key", key, 64), ("value", key, 128)])
    flows = btf.add_var("flows", definition, GLOBAL)
    hits = btf.add_var("hits", number, GLOBAL)
    btf.add_datasec(".maps", 0, [(flows, 0, 24)])
    btf.add_datasec(".bss", 0, [(hits, 0, 4)])
    code = build.section("xdp", RETURN, flags=EXEC)
    build.symbol("main", code, 0, 16, FUNC)
    maps = build.section(".maps", bytes(24))
    build.symbol("flows", maps, 0, 24)
    bss = build.section(".bss", b"", NOBITS, size=4)
    build.symbol("hits", bss, 0, 4)
    build.section("license", b"GPL\0")
    build.section(".BTF", btf.build(), flags=0)
    return build.build()
