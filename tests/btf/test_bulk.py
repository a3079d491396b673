"""Thousands of records decoded at once are what they are one by one."""

from __future__ import annotations

import random

import pytest

from pybpftool.btf.bulk import Bulk
from pybpftool.btf.table import Btf
from pybpftool.btf.values import compile_json, compile_text
from pybpftool.errors import FormatError
from tests.support.btfbuild import BOOL, CHAR, SIGNED, BtfBuilder, Order


def types(order: Order) -> tuple[Btf, dict[str, int]]:
    """One type for each way in which a record is read."""
    b = BtfBuilder(order)
    number = b.add_int("int", 4, SIGNED)
    byte = b.add_int("unsigned char", 1)
    wide = b.add_int("unsigned long", 8)
    char = b.add_int("char", 1, SIGNED)
    letter = b.add_int("letter", 1, CHAR)
    name = b.add_array(char, number, 6)
    overlapping = b.add_union(
        "either", 8, [("number", wide, 0), ("bytes", b.add_array(byte, number, 8), 0)]
    )
    ids = {
        "number": number,
        "letter": letter,
        "name": name,
        "flags": b.add_struct("flags", 4, [("a", number, 0, 3), ("b", number, 3, 20)]),
        "union": overlapping,
        "state": b.add_enum("state", [("IDLE", 0), ("BUSY", 1)]),
        "nothing": b.add_struct("nothing", 0, []),
        "many": b.add_array(number, number, 100),
        "struct": b.add_struct(
            "all",
            40,
            [
                ("n", number, 0),
                ("name", name, 32),
                ("letter", letter, 80),
                ("flag", b.add_int("_Bool", 1, BOOL), 88),
                ("either", overlapping, 128),
                ("last", wide, 256),
            ],
        ),
    }
    return Btf.from_bytes(b.build()), ids


@pytest.mark.parametrize("order", ("little", "big"))
@pytest.mark.parametrize("is_json", (False, True))
@pytest.mark.parametrize("pretty", (False, True))
def test_as_one_by_one(order: Order, is_json: bool, pretty: bool) -> None:
    btf, ids = types(order)
    source = random.Random(5)
    compile = compile_json if is_json else compile_text
    for label, type_id in ids.items():
        size = btf.size_of(type_id) or 0
        stride = size + 3
        for count in (1, 2, 50):
            # Few different bytes, so that values repeat and strings appear.
            data = bytes(source.choice(b"\0\0\1Ab\xff") for _ in range(stride * count + 5))
            bulk = Bulk(btf, is_json, pretty)
            bulk.literal("<%")
            bulk.value(type_id, 1, 2)
            bulk.literal(">")
            assert not bulk.is_broken
            columns = bulk.columns(data, 5, stride, count)
            assert len(columns) == bulk.width
            rows = list(zip(*columns)) if columns else [()] * count
            decode = compile(btf, type_id, 2, pretty)
            assert [bulk.format % row for row in rows] == [
                f"<%{decode(data, 5 + index * stride + 1)}>" for index in range(count)
            ], label
            # Formats are kept and used again.
            assert bulk.columns(data, 5, stride, count) == columns


def test_what_breaks_off() -> None:
    b = BtfBuilder()
    real = b.add_float("long double", 16)
    btf = Btf.from_bytes(b.build())
    bulk = Bulk(btf, False, False)
    bulk.value(real, 0, 0)
    assert bulk.is_broken
    bulk = Bulk(btf, True, False)
    bulk.value(real, 0, 0)
    assert not bulk.is_broken


def test_values_shorter_than_their_type() -> None:
    btf, ids = types("little")
    bulk = Bulk(btf, False, False)
    bulk.value(ids["struct"], 0, 0)
    with pytest.raises(FormatError, match="fewer than its type"):
        bulk.columns(bytes(300), 0, 30, 10)
    for stride, count in ((40, 8), (40, 1 << 40), (9_663_676_416, 1)):
        with pytest.raises(FormatError, match="more than there are"):
            bulk.columns(bytes(300), 0, stride, count)
