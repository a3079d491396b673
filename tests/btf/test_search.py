"""Types by name: what a search finds is what an index of all names has."""

from __future__ import annotations

import pytest

from pybpftool.btf.search import first, named
from pybpftool.btf.table import Btf
from pybpftool.uapi.btf import FUNC, INT, STRUCT, TYPEDEF
from tests.support.btfbuild import BtfBuilder, Order


def table(order: Order = "little", many: int = 0) -> Btf:
    """A struct, a function and a typedef of the name `task`, a member and a parameter of it."""
    build = BtfBuilder(order)
    u32 = build.add_int("u32", 4)
    for number in range(many):
        build.add_struct(f"other{number}", 4, [("task", u32, 0)])
    build.add_func("task", build.add_func_proto(u32, [("task", u32)]))
    build.add_struct("task", 8, [("task", u32, 0), ("tasks", u32, 32)])
    build.add_typedef("task", u32)
    return Btf.from_bytes(build.build())


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("many", [0, 12_000])
def test_all_of_a_name(order: Order, many: int) -> None:
    btf = table(order, many)
    assert named(btf, "task") == [many + 3, many + 4, many + 5]
    assert named(btf, "u32") == [1]
    assert named(btf, "tas") == named(btf, "ask") == named(btf, "") == named(btf, "tasks") == []
    for kind in (FUNC, STRUCT, TYPEDEF, INT):
        assert first(btf, "task", kind) == btf.find("task", kind)


def test_numbers_that_are_no_names() -> None:
    """A word of the same value as the name's place, where no type begins."""
    build = BtfBuilder()
    place = build.string("sought")
    build.add_array(1, 1, place)
    build.add_struct("sought", place)
    assert named(Btf.from_bytes(build.build(), None, True), "sought") == [2]


def test_split_types_may_have_names_of_their_base() -> None:
    base = BtfBuilder()
    u32 = base.add_int("u32", 4)
    base.add_struct("shared", 4, [("x", u32, 0)])
    below = Btf.from_bytes(base.build())
    split = BtfBuilder(first_id=below.count, base_strings=below.string_end)
    split.add_struct("own", 4, [("y", u32, 0)])
    btf = Btf.from_bytes(split.build(), below)
    assert named(btf, "own") == [3]
    assert first(btf, "shared", STRUCT) == 2
    assert first(btf, "own", STRUCT) == 3
    assert first(btf, "own", INT) is None
