"""`bpf_metadata_*` variables: .rodata maps with BTF of every kind of type and chosen values."""

from __future__ import annotations

import struct

from tests.support import load
from tests.support.btfbuild import BOOL, CHAR, SIGNED, BtfBuilder


class Rodata:
    """Collects variables of one .rodata section: BTF, DATASEC and the bytes of the values."""

    def __init__(self) -> None:
        self.btf = BtfBuilder()
        self.data = bytearray()
        self._rows: list[tuple[int, int, int]] = []

    def variable(self, name: str, type_id: int, value: bytes, align: int = 8) -> None:
        """Append a variable; `name` gets the prefix that makes it metadata."""
        self.plain("bpf_metadata_" + name, type_id, value, align)

    def plain(self, name: str, type_id: int, value: bytes, align: int = 8) -> None:
        """Append a variable under exactly this name."""
        self.data += bytes(-len(self.data) % align)
        var = self.btf.add_var(name, type_id)
        self._rows.append((var, len(self.data), len(value)))
        self.data += value

    def create(self, name: str = "test.rodata", *, freeze: bool = True) -> load.Fd:
        """Load the BTF, create the map with the values, freeze it."""
        size = len(self.data)
        section = self.btf.add_datasec(".rodata", size, self._rows)
        with load.btf_load(self.btf.build()) as btf:
            made = load.map_create(
                "array",
                4,
                size,
                1,
                name=name,
                flags=load.F_RDONLY_PROG,
                btf=btf,
                btf_value=section,
            )
        try:
            load.map_update(made, bytes(4), bytes(self.data))
            if freeze:
                load.map_freeze(made)
        except OSError:
            made.close()
            raise
        return made


def _le(value: int, size: int) -> bytes:
    return (value & ((1 << size * 8) - 1)).to_bytes(size, "little")


def integers() -> Rodata:
    """All widths and signs at their limits, __int128, bool, char."""
    out = Rodata()
    btf = out.btf
    names = {1: "char", 2: "short", 4: "int", 8: "long"}
    for size, name in names.items():
        top = 1 << size * 8 - 1
        signed = btf.add_int(name, size, SIGNED)
        unsigned = btf.add_int("unsigned " + name, size)
        out.variable("s%d_min" % (size * 8), signed, _le(-top, size))
        out.variable("s%d_max" % (size * 8), signed, _le(top - 1, size))
        out.variable("s%d_m1" % (size * 8), signed, _le(-1, size))
        out.variable("u%d_max" % (size * 8), unsigned, _le(-1, size))
        out.variable("u%d_zero" % (size * 8), unsigned, _le(0, size))
    big = btf.add_int("__int128", 16, SIGNED)
    ubig = btf.add_int("unsigned __int128", 16)
    out.variable("i128_small", big, _le(5, 16), 16)
    out.variable("i128_neg", big, _le(-2, 16), 16)
    out.variable("u128", ubig, _le(0x112233445566778899AABBCCDDEEFF00, 16), 16)
    out.variable("u128_low", ubig, _le(0xFFFFFFFFFFFFFFFF, 16), 16)
    out.variable("u128_high", ubig, _le(1 << 64, 16), 16)
    flag = btf.add_int("_Bool", 1, BOOL)
    out.variable("yes", flag, b"\1", 1)
    out.variable("no", flag, b"\0", 1)
    out.variable("odd", flag, b"\2", 1)
    letter = btf.add_int("char", 1, CHAR)
    for index, byte in enumerate(b"A\0\n \t\x7f\x80\xff"):
        out.variable("char%d" % index, letter, bytes([byte]), 1)
    out.plain("not_metadata", letter, b"x", 1)
    return out


def strings_and_arrays() -> Rodata:
    """Character arrays (terminated, full, with control characters), arrays of ints, nested."""
    out = Rodata()
    btf = out.btf
    number = btf.add_int("int", 4, SIGNED)
    plain_char = btf.add_int("char", 1, SIGNED)
    coded_char = btf.add_int("char", 1, CHAR)
    index = btf.add_int("unsigned int", 4)

    def text(name: str, value: bytes, element: int = plain_char) -> None:
        out.variable(name, btf.add_array(element, index, len(value)), value, 1)

    text("version", b"v1.2.3\0")
    text("full", b"no end")
    text("quoted", b'say "hi" \\ \n\t\r\x01\x7f\0')
    text("utf8", "h\u00e9llo \u20ac\0".encode())
    text("empty", b"\0\0\0\0")
    text("embedded", b"ab\0cd\0")
    text("coded", b"coded\0", coded_char)
    text("latin", b"\xe9t\xe9\0")
    out.variable("numbers", btf.add_array(number, index, 3), struct.pack("<3i", 1, -2, 3), 4)
    # The kernel takes no empty variable, but an empty array at the end of a struct.
    tail = btf.add_struct(
        "tail", 4, [("count", number, 0), ("rows", btf.add_array(number, index, 0), 32)]
    )
    out.variable("none", tail, struct.pack("<i", 1), 4)
    row = btf.add_array(number, index, 2)
    grid = btf.add_array(row, index, 2)
    out.variable("grid", grid, struct.pack("<4i", 1, 2, 3, 4), 4)
    alias = btf.add_typedef("name_t", btf.add_array(plain_char, index, 8))
    out.variable("alias", btf.add_const(alias), b"typedef\0", 1)
    return out


def composites() -> Rodata:
    """Structs, unions, bitfields, enums, pointers, typedefs and qualifiers."""
    out = Rodata()
    btf = out.btf
    number = btf.add_int("int", 4, SIGNED)
    u32 = btf.add_int("unsigned int", 4)
    u64 = btf.add_int("unsigned long long", 8)
    u8 = btf.add_int("unsigned char", 1)
    letter = btf.add_int("char", 1, SIGNED)
    flag = btf.add_int("_Bool", 1, BOOL)
    color = btf.add_enum("color", [("RED", 0), ("GREEN", 1), ("BLUE", 7), ("MINUS", -1)])
    bare = btf.add_enum("", [("ONE", 1)])
    out.variable("enum_known", color, _le(1, 4), 4)
    out.variable("enum_unknown", color, _le(42, 4), 4)
    out.variable("enum_minus", color, _le(-1, 4), 4)
    out.variable("enum_bare", bare, _le(1, 4), 4)
    pointer = btf.add_ptr(number)
    out.variable("ptr", pointer, _le(0xFFFF888012345678, 8))
    out.variable("null", btf.add_ptr(0), _le(0, 8))
    out.variable("fn_ptr", btf.add_ptr(btf.add_func_proto(number, [("a", u32)])), _le(64, 8))
    inner = btf.add_struct("inner", 8, [("a", number, 0), ("b", u32, 32)])
    text = btf.add_array(letter, u32, 4)
    outer = btf.add_struct(
        "outer",
        32,
        [
            ("head", inner, 0),
            ("text", text, 64),
            ("flag", flag, 96),
            ("color", color, 128),
            ("ptr", pointer, 192),
        ],
    )
    value = struct.pack("<iI4sBxxxIxxxxQ", -1, 2, b"abc\0", 1, 7, 0x1000)
    out.variable("outer", outer, value)
    either = btf.add_union("either", 8, [("number", u64, 0), ("low", u32, 0), ("byte", u8, 0)])
    out.variable("union", either, _le(0x0102030405060708, 8))
    bits = btf.add_struct(
        "bits",
        16,
        [
            ("a", u32, 0, 3),
            ("b", u32, 3, 5),
            ("c", number, 8, 7),
            ("d", u64, 15, 40),
            ("e", flag, 56, 1),
            ("f", color, 64, 4),
            ("whole", u32, 96, 0),
        ],
    )
    out.variable("bits", bits, _le(0x00FEDCBA98765432_89ABCDEF, 16))
    anonymous = btf.add_union("", 4, [("x", number, 0), ("y", u32, 0)])
    holder = btf.add_struct("holder", 8, [("", anonymous, 0), ("tail", u32, 32)])
    out.variable("holder", holder, struct.pack("<iI", -7, 9))
    alias = btf.add_typedef("number_t", btf.add_const(btf.add_volatile(number)))
    out.variable("typedef", alias, _le(-12, 4))
    rows = btf.add_array(inner, u32, 2)
    out.variable("structs", rows, struct.pack("<iIiI", 1, 2, 3, 4))
    return out


def enum64() -> Rodata:
    """ENUM64, signed and not (kernel 6.0)."""
    out = Rodata()
    btf = out.btf
    big = btf.add_enum64("big", [("BIG_ONE", 1), ("BIG_TOP", (1 << 64) - 1)])
    low = btf.add_enum64("low", [("LOW_MIN", -(1 << 63)), ("LOW_M1", -1)], signed=True)
    for index, value in enumerate((1, (1 << 64) - 1, 77, 1 << 40)):
        out.variable("big%d" % index, big, _le(value, 8))
    for index, value in enumerate((-(1 << 63), -1, -2)):
        out.variable("low%d" % index, low, _le(value, 8))
    signed = btf.add_enum("signed", [("NEG", -3), ("POS", 3)], signed=True)
    for index, value in enumerate((-3, 3, -4)):
        out.variable("signed%d" % index, signed, _le(value, 4))
    return out


def quotes() -> Rodata:
    """Characters that need escapes, where upstream writes invalid JSON."""
    out = Rodata()
    letter = out.btf.add_int("char", 1, CHAR)
    for index, byte in enumerate(b"\"\\'/"):
        out.variable("quote%d" % index, letter, bytes([byte]), 1)
    return out


def floats() -> Rodata:
    """FLOAT, which upstream's value dumper does not know, after an int that it knows."""
    out = Rodata()
    btf = out.btf
    out.variable("first", btf.add_int("int", 4, SIGNED), _le(1, 4), 4)
    out.variable("pi", btf.add_float("double", 8), struct.pack("<d", 3.25))
    out.variable("half", btf.add_float("float", 4), struct.pack("<f", 0.5), 4)
    return out


def no_metadata() -> Rodata:
    """A .rodata map whose variables are all ordinary."""
    out = Rodata()
    number = out.btf.add_int("int", 4, SIGNED)
    out.plain("threshold", number, _le(5, 4))
    out.plain("bpf_metadat", number, _le(6, 4))
    return out


ALL = {
    "ints": integers,
    "strings": strings_and_arrays,
    "composites": composites,
    "enum64": enum64,
    "quotes": quotes,
    "floats": floats,
    "no_metadata": no_metadata,
}

# What upstream stops at or writes as invalid JSON.
BEYOND_UPSTREAM = ("quotes", "floats")
