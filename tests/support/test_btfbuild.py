"""The BTF builder against bytes written by hand, and against a small reader of its own."""

from __future__ import annotations

import struct

import pytest

from tests.support.btfbuild import (
    BOOL,
    CHAR,
    EXTERN,
    GLOBAL,
    KINDS,
    SIGNED,
    BtfBuilder,
    BtfIndex,
    Order,
)


def parts(blob: bytes, mark: str = "<") -> tuple[bytes, bytes]:
    """(type section, string section)."""
    magic, version, flags, length, t_off, t_len, s_off, s_len = struct.unpack_from(
        mark + "HBBIIIII", blob
    )
    assert (magic, version, flags, length, t_off, s_off) == (0xEB9F, 1, 0, 24, 0, t_len)
    assert len(blob) == 24 + t_len + s_len
    return blob[24 : 24 + t_len], blob[24 + t_len :]


def words(data: bytes, mark: str = "<") -> list[int]:
    return [row[0] for row in struct.iter_unpack(mark + "I", data)]


def test_empty() -> None:
    assert BtfBuilder().build().hex() == (
        "9feb0100" + "18000000" + "00000000" + "00000000" + "00000000" + "01000000" + "00"
    )


@pytest.mark.parametrize("order", ["little", "big"])
def test_byte_orders(order: Order) -> None:
    mark = "<" if order == "little" else ">"
    btf = BtfBuilder(order)
    assert btf.add_int("int", 4, SIGNED) == 1
    types, strings = parts(btf.build(), mark)
    assert words(types, mark) == [1, 1 << 24, 4, SIGNED << 24 | 32]
    assert strings == b"\0int\0"


def one(add: str, *args: object, **kw: object) -> list[int]:
    """The words of a single type."""
    btf = BtfBuilder()
    getattr(btf, add)(*args, **kw)
    return words(parts(btf.build())[0])


def test_every_kind() -> None:
    def info(kind: str, vlen: int = 0, kflag: int = 0) -> int:
        return kflag << 31 | KINDS[kind] << 24 | vlen

    assert one("add_int", "b", 1, BOOL) == [1, info("int"), 1, BOOL << 24 | 8]
    assert one("add_int", "c", 1, CHAR, bits=7, offset=1) == [
        1,
        info("int"),
        1,
        CHAR << 24 | 1 << 16 | 7,
    ]
    assert one("add_ptr", 5) == [0, info("ptr"), 5]
    assert one("add_array", 2, 3, 10) == [0, info("array"), 0, 2, 3, 10]
    assert one("add_struct", "s", 8, [("a", 1, 0), ("b", 2, 32)]) == [
        *(1, info("struct", 2), 8),
        *(3, 1, 0),
        *(5, 2, 32),
    ]
    assert one("add_union", "u", 4, [("a", 1, 3, 5)]) == [
        *(1, info("union", 1, 1), 4),
        *(3, 1, 5 << 24 | 3),
    ]
    assert one("add_enum", "e", [("A", -1)], signed=True) == [
        *(1, info("enum", 1, 1), 4),
        *(3, 0xFFFFFFFF),
    ]
    assert one("add_enum64", "e", [("A", 1 << 32 | 7)]) == [1, info("enum64", 1), 8, 3, 7, 1]
    assert one("add_fwd", "f", union=True) == [1, info("fwd", 0, 1), 0]
    assert one("add_typedef", "t", 3) == [1, info("typedef"), 3]
    assert one("add_const", 3) == [0, info("const"), 3]
    assert one("add_volatile", 3) == [0, info("volatile"), 3]
    assert one("add_restrict", 3) == [0, info("restrict"), 3]
    assert one("add_func_proto", 1, [("a", 2), ("", 0)]) == [
        *(0, info("func_proto", 2), 1),
        *(1, 2, 0, 0),
    ]
    assert one("add_func", "f", 2, EXTERN) == [1, info("func", EXTERN), 2]
    assert one("add_var", "v", 2) == [1, info("var"), 2, GLOBAL]
    assert one("add_datasec", ".data", 8, [(1, 0, 4)]) == [1, info("datasec", 1), 8, 1, 0, 4]
    assert one("add_float", "double", 8) == [1, info("float"), 8]
    assert one("add_decl_tag", "tag", 2, 1) == [1, info("decl_tag"), 2, 1]
    assert one("add_decl_tag", "tag", 2) == [1, info("decl_tag"), 2, 0xFFFFFFFF]
    assert one("add_type_tag", "tag", 2, kflag=True) == [1, info("type_tag", 0, 1), 2]


def test_strings_are_shared_and_bytes_pass_through() -> None:
    btf = BtfBuilder()
    assert btf.string("") == 0
    assert btf.string("abc") == btf.string(b"abc") == 1
    assert btf.string(b"\xff") == 5
    assert parts(btf.build())[1] == b"\0abc\0\xff\0"


def test_split_continues_ids_and_strings() -> None:
    base = BtfBuilder()
    number = base.add_int("int", 4, SIGNED)
    strings = parts(base.build())[1]
    split = BtfBuilder(first_id=base.next_id, base_strings=len(strings))
    assert split.add_typedef("mine", number) == 2
    types, own = parts(split.build())
    assert words(types)[0] == len(strings)
    assert own == b"mine\0"


def test_index_finds_names() -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    pair = btf.add_struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    btf.add_enum64("pair", [("X", 1)])
    proto = btf.add_func_proto(number, [("p", btf.add_ptr(pair))])
    func = btf.add_func("work", proto)
    btf.add_datasec(".bss", 4, [(btf.add_var("count", number), 0, 4)])
    btf.add_decl_tag("t", func)
    last = btf.add_func("last", proto)
    index = BtfIndex(btf.build())
    assert index.find("struct", "pair") == pair
    assert index.find("func", "work") == func
    assert index.find("func", "last") == last
    assert index.find("func", "nothing") is None
    assert index.count == btf.next_id
    with pytest.raises(ValueError, match="not little-endian"):
        BtfIndex(BtfBuilder("big").build())
