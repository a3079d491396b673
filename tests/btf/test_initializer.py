"""C initializers: what they give for each kind of type, and what is refused with which words."""

from __future__ import annotations

import struct

import pytest

from pybpftool.btf.initializer import encode
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError
from tests.support.btfbuild import BOOL, SIGNED, BtfBuilder, Order


class Types:
    """BTF with one type of each kind, by name."""

    def __init__(self, order: Order = "little") -> None:
        b = BtfBuilder(order)
        self.int = b.add_int("int", 4, SIGNED)
        self.u8 = b.add_int("unsigned char", 1)
        self.u16 = b.add_int("unsigned short", 2)
        self.u64 = b.add_int("unsigned long", 8)
        self.char = b.add_int("char", 1, SIGNED)
        self.bool = b.add_int("_Bool", 1, BOOL)
        self.float = b.add_float("float", 4)
        self.double = b.add_float("double", 8)
        self.enum = b.add_enum("state", [("RUNNING", 1), ("DONE", -2)])
        self.enum64 = b.add_enum64("wide", [("HUGE", 1 << 40)])
        self.pointer = b.add_ptr(0)
        self.name = b.add_array(self.char, self.int, 8)
        self.numbers = b.add_array(self.int, self.int, 3)
        self.grid = b.add_array(b.add_array(self.u8, self.int, 2), self.int, 2)
        self.key = b.add_struct("key", 8, [("pid", self.int, 0), ("cpu", self.int, 32)])
        self.typedef = b.add_typedef("key_t", b.add_const(self.key))
        anonymous = b.add_union("", 4, [("whole", self.int, 0), ("low", self.u16, 0)])
        self.nested = b.add_struct(
            "nested",
            24,
            [("inner", self.key, 0), ("", anonymous, 64), ("list", self.numbers, 96)],
        )
        self.bits = b.add_struct(
            "bits",
            4,
            [
                ("a", self.int, 0, 3),
                ("", self.int, 3, 2),
                ("b", self.u16, 5, 5),
                ("c", self.u8, 24),
            ],
        )
        self.fwd = b.add_fwd("unknown")
        var = b.add_var("counter", self.u64)
        other = b.add_var("limit", self.int)
        self.section = b.add_datasec(".bss", 16, [(var, 0, 8), (other, 8, 4)])
        self.btf = Btf.from_bytes(b.build())


TYPES = Types()


@pytest.mark.parametrize(
    ("type_name", "text", "data"),
    [
        ("int", "=5", struct.pack("<i", 5)),
        ("int", "-1", b"\xff" * 4),
        ("int", "{7}", struct.pack("<i", 7)),
        ("u8", "255", b"\xff"),
        ("u8", "'A'", b"A"),
        ("char", "'\\xff'", b"\xff"),
        ("char", "'\\n'", b"\n"),
        ("u16", "0xBEEF", b"\xef\xbe"),
        ("u64", "010", struct.pack("<Q", 8)),
        ("u64", "18446744073709551615", b"\xff" * 8),
        ("bool", "true", b"\1"),
        ("bool", "false", b"\0"),
        ("bool", "1", b"\1"),
        ("float", "1.5", struct.pack("<f", 1.5)),
        ("double", "-2e-3", struct.pack("<d", -2e-3)),
        ("double", "3", struct.pack("<d", 3)),
        ("enum", "RUNNING", struct.pack("<i", 1)),
        ("enum", "DONE", struct.pack("<i", -2)),
        ("enum", "77", struct.pack("<i", 77)),
        ("enum64", "HUGE", struct.pack("<q", 1 << 40)),
        ("pointer", "0xffff888000000000", struct.pack("<Q", 0xFFFF888000000000)),
        ("name", '"sh"', b"sh" + bytes(6)),
        ("name", '"eightchr"', b"eightchr"),
        ("name", "{'a', 'b'}", b"ab" + bytes(6)),
        ("name", '"\\x01\\"\\\\"', b'\x01"\\' + bytes(5)),
        ("numbers", "{1, 2, 3,}", struct.pack("<3i", 1, 2, 3)),
        ("numbers", "{[2] = 9}", struct.pack("<3i", 0, 0, 9)),
        ("numbers", "{[1] = 9, 8}", struct.pack("<3i", 0, 9, 8)),
        ("grid", "{{1, 2}, {3, 4}}", bytes((1, 2, 3, 4))),
        ("grid", "{[1][0] = 5}", bytes((0, 0, 5, 0))),
        ("key", "{.pid = 1, .cpu = 2}", struct.pack("<2i", 1, 2)),
        ("key", "{.cpu=2}", struct.pack("<2i", 0, 2)),
        ("key", "{3, 4}", struct.pack("<2i", 3, 4)),
        ("key", " { } ", bytes(8)),
        ("typedef", "{.pid = 6}", struct.pack("<2i", 6, 0)),
        ("nested", "{.inner.cpu = 4, .low = 2}", struct.pack("<2iHxx3i", 0, 4, 2, 0, 0, 0)),
        ("nested", "{{1, 2}, {3}, {4, 5, 6}}", struct.pack("<6i", 1, 2, 3, 4, 5, 6)),
        ("nested", "{.list[2] = 7}", struct.pack("<6i", 0, 0, 0, 0, 0, 7)),
        ("bits", "{.a = -1, .b = 21, .c = 9}", struct.pack("<I", 7 | 21 << 5 | 9 << 24)),
        ("bits", "{1, 2, 3}", struct.pack("<I", 1 | 2 << 5 | 3 << 24)),
        ("section", "{.counter = 5, .limit = -1}", struct.pack("<Qi4x", 5, -1)),
    ],
)
def test_values(type_name: str, text: str, data: bytes) -> None:
    assert encode(TYPES.btf, getattr(TYPES, type_name), text, len(data)) == data


def test_room_after_the_type_is_zero() -> None:
    assert encode(TYPES.btf, TYPES.int, "1", 8) == b"\1" + bytes(7)


def test_big_endian() -> None:
    types = Types("big")
    assert encode(types.btf, types.key, "{1, 2}", 8) == struct.pack(">2i", 1, 2)
    assert encode(types.btf, types.bits, "{.a = 1, .b = 3, .c = 9}", 4) == struct.pack(
        ">I", 1 << 29 | 3 << 22 | 9
    )


@pytest.mark.parametrize(
    ("type_name", "text", "words"),
    [
        ("int", "2147483648", "does not fit the value, an integer 'int' from -2147483648"),
        ("u8", "256", "from 0 to 255"),
        ("u8", "-1", "from 0 to 255"),
        ("bool", "2", "from 0 to 1"),
        ("u64", "18446744073709551616", "does not fit"),
        ("int", "1.5", "which 1.5 does not fit"),
        ("int", '"x"', 'which "x" does not fit'),
        ("int", "RUNNING", "which has no 'RUNNING'"),
        ("int", "{1, 2}", "a single value"),
        ("int", "{.a = 1}", "a single value"),
        ("float", "x", "floating-point"),
        ("float", "1e60", "too large"),
        ("enum", "WAITING", "has no 'WAITING' (it has DONE, RUNNING)"),
        ("enum", "99999999999", "does not fit"),
        ("name", '"ninechars"', "has 9 bytes, the value only 8"),
        ("name", "5", "an array of 8 chars and needs braces"),
        ("numbers", '"abc"', "needs braces"),
        ("numbers", "{1, 2, 3, 4}", "has only 3 elements"),
        ("numbers", "{[3] = 1}", "has only 3 elements"),
        ("numbers", "{[0] = 1, [0] = 2}", "element 0 of the value is given twice"),
        ("numbers", "{.x = 1}", "it has no members"),
        ("numbers", "{[x] = 1}", "an index is a number"),
        ("key", "5", "a struct 'key' and needs braces"),
        ("key", "{.tid = 1}", "no member 'tid' (it has pid, cpu)"),
        ("key", "{[0] = 1}", "no member '0'"),
        ("key", "{.pid = 1, .pid = 2}", "'pid' is given twice"),
        ("key", "{1, 2, 3}", "has only 2 members"),
        ("key", "{.pid.x = 1}", "which 'x' does not fit"),
        ("nested", "{.inner[0] = 1}", "which '0' does not fit"),
        ("nested", "{.inner = {1, 2}, {3, 4}}", "only one of its members"),
        ("bits", "{.a = 4}", "from -4 to 3"),
        ("fwd", "1", "does not fit its size"),
        ("key", "{.pid = 1", "expected ',' or '}'"),
        ("key", "{.pid 1}", "expected '='"),
        ("key", "{.pid = 1} x", "it should have ended here"),
        ("key", "{. = 1}", "expected a name"),
        ("key", "{.pid = }", "expected a value"),
        ("key", "{.pid = -x}", "after the sign"),
        ("key", "{.pid = 1x}", "this is not a number"),
        ("key", "{.pid = 'ab'}", "one byte"),
        ("key", "{.pid = 'a}", "never closed"),
        ("key", "{.pid = '\\q'}", "escape is not known"),
        ("key", "{.pid = '\\xz'}", "two hexadecimal digits"),
        ("numbers", "{[1 = 2}", "expected ']'"),
        ("key", "{" * 100, "nested too deeply"),
    ],
)
def test_refusals(type_name: str, text: str, words: str) -> None:
    size = {"u8": 1, "u64": 8, "name": 8, "numbers": 12, "key": 8, "nested": 24}.get(type_name, 4)
    with pytest.raises(BpfError) as caught:
        encode(TYPES.btf, getattr(TYPES, type_name), text, size)
    assert words in str(caught.value), str(caught.value)


def test_types_that_are_missing_or_too_large() -> None:
    with pytest.raises(BpfError, match="says nothing of this type"):
        encode(TYPES.btf, 0, "1", 4)
    with pytest.raises(BpfError, match="does not fit its size of 4 bytes"):
        encode(TYPES.btf, TYPES.key, "{}", 4)


def test_what_is_read_is_what_values_print() -> None:
    """The bytes of an initializer, decoded again."""
    from pybpftool.btf.builders import python_value

    data = encode(TYPES.btf, TYPES.nested, "{.inner = {-3, 4}, .whole = 70000, .list = {1}}", 24)
    value = python_value(TYPES.btf, TYPES.nested, data)
    assert isinstance(value, dict)
    assert value["inner"] == {"pid": -3, "cpu": 4}
    assert value["list"] == [1, 0, 0]
