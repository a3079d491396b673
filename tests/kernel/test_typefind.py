"""Offsets and ids found in BTF as bytes."""

from __future__ import annotations

import pytest

from pybpftool.kernel import typefind
from pybpftool.kernel.typefind import KernelTypes
from tests.support.btfbuild import BtfBuilder


def build() -> tuple[BtfBuilder, dict[str, int]]:
    btf = BtfBuilder()
    ids = {"int": btf.add_int("int", 4)}
    ids["ptr"] = btf.add_ptr(ids["int"])
    # A member, a variable and a struct without members of the same name come first.
    btf.add_struct("outer", 8, [("file", ids["int"], 0), ("f_op", ids["int"], 32)])
    btf.add_var("file", ids["int"])
    btf.add_struct("file", 0)
    btf.add_fwd("file")
    ids["file"] = btf.add_struct("file", 24, [("f_mode", ids["int"], 0), ("f_op", ids["ptr"], 64)])
    ids["proto"] = btf.add_func_proto(ids["int"], [("a", ids["int"]), ("b", ids["ptr"])])
    ids["func"] = btf.add_func("bpf_iter_x", ids["proto"])
    return btf, ids


def test_offsets_of_members() -> None:
    types = KernelTypes(build()[0].build())
    assert types.offsets("file", "f_op") == (8,)
    assert types.offsets("file", "f_op", "f_mode") == (8, 0)
    assert types.offsets("outer", "f_op") == (4,)


def test_what_is_not_there() -> None:
    types = KernelTypes(build()[0].build())
    assert types.offsets("file", "private_data") is None
    assert types.offsets("absent", "f_op") is None
    assert types.offsets("int", "f_op") is None


def test_a_struct_with_bit_fields_keeps_their_size_apart() -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4)
    btf.add_struct("s", 8, [("bits", number, 0, 3), ("after", number, 32, 0)])
    assert KernelTypes(btf.build()).offsets("s", "after") == (4,)


def test_the_id_of_a_function_behind_its_prototype() -> None:
    btf, ids = build()
    types = KernelTypes(btf.build())
    assert types.function("bpf_iter_x", 2) == ids["func"]
    assert types.function("bpf_iter_x", 3) is None
    assert types.function("absent", 2) is None


def test_a_function_that_shares_an_earlier_prototype_has_no_known_id() -> None:
    btf, ids = build()
    btf.add_func("bpf_iter_y", ids["proto"])
    assert KernelTypes(btf.build()).function("bpf_iter_y", 2) is None


@pytest.mark.parametrize("is_late", [True, False])
def test_records_far_from_where_their_names_let_expect_them(is_late: bool) -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4)
    members = [("", number, 32 * n) for n in range(500)]
    if is_late:
        # The names come first, at a place where other records use them.
        for name in ("wanted", "bpf_iter_x"):
            btf.add_var(name, number)
    else:
        btf.add_struct("n" * 5000, 4, [("m" * 5000, number, 0)])
    for _ in range(20 * is_late):
        btf.add_struct("", 2000, members)
    btf.add_struct("wanted", 8, [("b", number, 32), ("a", number, 0)])
    function = btf.add_func("bpf_iter_x", btf.add_func_proto(number, [("a", number)]))
    for _ in range(20 * (not is_late)):
        btf.add_struct("", 2000, members)
    types = KernelTypes(btf.build())
    assert types.offsets("wanted", "a", "b") == (0, 4)
    assert types.function("bpf_iter_x", 1) == function


def in_order(is_sorted: bool) -> tuple[KernelTypes, dict[str, int], dict[str, int]]:
    """Types in the order of names, all of them or functions alone.

    Also the offsets of a member of structs, and the ids of functions.
    """
    btf = BtfBuilder()
    number = btf.add_int("int" if not is_sorted else "", 4)
    names = [f"{chr(97 + n % 26)}{n:05}" for n in range(6000)]
    protos = [btf.add_func_proto(number, [("a", number)]) for _ in names[:: 1 if is_sorted else 2]]
    offsets, ids = {}, {}
    for index, name in enumerate(sorted(names)):
        if index % 10 == 3:
            offsets[name] = index % 200 * 4
            btf.add_struct(name, 1000, [("a", number, 0), ("b", number, 8 * offsets[name])])
            continue
        proto = protos[index // 2]
        if not is_sorted:
            proto = btf.add_func_proto(number, [("a", number)])
        ids[name] = btf.add_func(name, proto)
    return KernelTypes(btf.build()), offsets, ids


@pytest.mark.parametrize("is_sorted", [True, False])
def test_structs_among_functions_in_the_order_of_names(is_sorted: bool) -> None:
    types, offsets, _ = in_order(is_sorted)
    assert tuple(types._order()) == (True, is_sorted)
    assert {name: types.offsets(name, "b", "a") for name in offsets} == {
        name: (offset, 0) for name, offset in offsets.items()
    }
    assert types.offsets("zz", "a") is None and types.offsets("a00000", "a") is None


def test_places_in_sorted_types_are_near() -> None:
    types, offsets, _ = in_order(True)
    for name in offsets:
        at, _ = next(types._structs(name))
        assert 0 <= at - types._place_in_order(name.encode()) <= 2 * typefind._NEAR


def test_a_function_has_no_known_id_in_sorted_types() -> None:
    types, _, ids = in_order(True)
    assert {types.function(name, 1) for name in ids} == {None}


def test_functions_in_the_order_of_names() -> None:
    types, offsets, ids = in_order(False)
    assert {name: types.function(name, 1) for name in ids} == ids
    assert {types.function(name, 2) for name in ids} == {None}
    assert {types.function(name, 1) for name in (*offsets, "zz", "")} == {None}


@pytest.mark.parametrize("cut", [0, 10, 30, -1])
def test_truncated_data(cut: int) -> None:
    with pytest.raises(ValueError, match="BTF"):
        KernelTypes(build()[0].build()[:cut])
