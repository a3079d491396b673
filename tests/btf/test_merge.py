"""Merging split BTF, moving it onto another base, the order of libbpf's hash map."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.btf.hashmap import AppendMap
from pybpftool.btf.merge import merge
from pybpftool.btf.rawdump import text_blocks
from pybpftool.btf.relocate import relocate
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import KIND_MAX
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.cli import run
from tests.support.elffile import object_file


def base() -> BtfBuilder:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)  # 1
    builder.add_struct("shared", 4, [("a", number, 0)])  # 2
    builder.add_ptr(number)  # 3
    builder.add_fwd("declared")  # 4
    builder.add_ptr(4)  # 5
    return builder


BASE = Btf.from_bytes(base().build())


def split() -> BtfBuilder:
    return BtfBuilder(first_id=BASE.count, base_strings=BASE.string_end)


def parts(*builders: BtfBuilder) -> list[tuple[str, Btf]]:
    return [("part", Btf.from_bytes(builder.build(), BASE)) for builder in builders]


def lines(btf: Btf) -> list[str]:
    return "".join(text_blocks(btf)).splitlines()


def test_equal_types_stay_once() -> None:
    one, two = split(), split()
    for builder, extra in ((one, "first"), (two, "second")):
        number = builder.add_int("int", 4, SIGNED)
        pointer = builder.add_ptr(number)
        struct_id = builder.add_struct("both", 16, [("p", pointer, 0), ("n", number, 64)])
        builder.add_typedef("both_t", struct_id)
        builder.add_array(struct_id, number, 3)
        proto = builder.add_func_proto(number, [("x", pointer), ("", 0)])
        builder.add_func("work", proto)
        builder.add_decl_tag("tag", builder.add_func(extra, proto))
        builder.add_enum("colour", [("RED", 1)])
        builder.add_var("kept", number)
    merged = merge(parts(one, two), BASE)
    text = lines(merged)
    assert text[0].startswith("[6] STRUCT 'both'")
    assert [line for line in text if "'work'" in line] == [
        "[10] FUNC 'work' type_id=9 linkage=static"
    ]
    assert sum("'kept'" in line for line in text) == 2
    assert sum("DECL_TAG" in line for line in text) == 2
    assert not any(" INT " in line or " PTR " in line for line in text)
    assert merged.find("colour") and merged.pointer_size == 8


PROTOTYPES: list[list[tuple[str, int]]] = [
    [],
    [("a", 1)],
    [("b", 1)],
    [("a", 1), ("c", 1)],
    [("a", 1), ("d", 3)],
    [("", 1), ("", 0)],
]


@pytest.mark.parametrize("own", range(len(PROTOTYPES)))
def test_a_prototype_of_the_base_is_found(own: int) -> None:
    builder = base()
    ids = [builder.add_func_proto(1, params) for params in PROTOTYPES]
    kernel = Btf.from_bytes(builder.build())
    module = BtfBuilder(first_id=kernel.count, base_strings=kernel.string_end)
    module.add_func("work", module.add_func_proto(1, PROTOTYPES[own]))
    merged = merge([("part", Btf.from_bytes(module.build(), kernel))], kernel)
    assert lines(merged) == [f"[{kernel.count}] FUNC 'work' type_id={ids[own]} linkage=static"]


@pytest.mark.parametrize("params", ([("e", 1)], [("a", 3)], [("a", 1), ("e", 3)], [("a", 1)] * 3))
def test_another_prototype_is_kept(params: list[tuple[str, int]]) -> None:
    builder = base()
    for known in PROTOTYPES:
        builder.add_func_proto(1, known)
    kernel = Btf.from_bytes(builder.build())
    module = BtfBuilder(first_id=kernel.count, base_strings=kernel.string_end)
    module.add_func("work", module.add_func_proto(1, params))
    merged = merge([("part", Btf.from_bytes(module.build(), kernel))], kernel)
    assert lines(merged)[0].startswith(f"[{kernel.count}] FUNC_PROTO '(anon)' ret_type_id=1")


def test_declarations_find_their_structs() -> None:
    one, two = split(), split()
    fwd = one.add_fwd("thing")
    one.add_struct("user", 8, [("t", one.add_ptr(fwd), 0)])
    one.add_enum("e", [])
    number = two.add_int("int", 4, SIGNED)
    thing = two.add_struct("thing", 4, [("a", number, 0)])
    two.add_struct("user", 8, [("t", two.add_ptr(thing), 0)])
    two.add_enum("e", [("A", 1)])
    two.add_fwd("nothing", union=True)
    merged = merge(parts(one, two), BASE)
    text = "\n".join(lines(merged))
    assert text.count("STRUCT 'user'") == 1
    assert "FWD 'thing'" not in text
    assert "FWD 'nothing' fwd_kind=union" in text
    assert text.count("ENUM 'e'") == 1


def test_base_declarations_are_not_changed() -> None:
    one = split()
    number = one.add_int("int", 4, SIGNED)
    declared = one.add_struct("declared", 4, [("a", number, 0)])
    one.add_ptr(declared)
    two = split()
    two.add_fwd("declared")
    text = "\n".join(lines(merge(parts(one, two), BASE)))
    assert "STRUCT 'declared'" in text
    assert "PTR" in text


def test_what_differs_stays() -> None:
    one, two = split(), split()
    for builder, size in ((one, 4), (two, 8)):
        number = builder.add_int("number", size)
        inner = builder.add_struct("inner", 16, [("n", number, 0)])
        builder.add_struct("outer", 16, [("i", inner, 0)])
        builder.add_typedef("n_t", number)
        builder.add_enum64("wide", [("X", size)])
        builder.add_struct("twice", 24, [("a", builder.add_array(number, number, 2), 0)])
    text = "\n".join(lines(merge(parts(one, two), BASE)))
    for name in ("inner", "outer", "n_t", "wide", "twice"):
        assert text.count(f" '{name}'") >= 2


def test_merge_refuses() -> None:
    loop = split()
    loop.add_ptr(loop.next_id)
    with pytest.raises(FormatError):
        merge(parts(loop, split()), BASE)
    alone = Btf.from_bytes(base().build())
    with pytest.raises(FormatError):
        merge([("alone", alone)], BASE)


def test_merge_command(tmp_path: Path) -> None:
    paths = []
    for index in range(2):
        builder = split()
        builder.add_struct("both", 0)
        paths.append(tmp_path / f"part{index}")
        paths[-1].write_bytes(builder.build())
    base_path = tmp_path / "base"
    base_path.write_bytes(base().build())
    words = ["btf", "dump", "file", str(paths[0]), "file", str(paths[1])]
    result = run("-B", str(base_path), *words)
    assert (result.status, result.text) == (0, "[6] STRUCT 'both' size=0 vlen=0\n")
    result = run(*words)
    assert result.status and "base" in result.errors
    many = [word for _ in range(65) for word in ("file", str(paths[0]))]
    assert run("-B", str(base_path), "btf", "dump", *many).status


def distilled(size: int = 4) -> BtfBuilder:
    builder = BtfBuilder()
    builder.add_int("int", 4, SIGNED)
    builder.add_struct("shared", size)
    builder.add_fwd("declared")
    return builder


def on_distilled(dist: Btf) -> Btf:
    builder = BtfBuilder(first_id=dist.count, base_strings=dist.string_end)
    pointer = builder.add_ptr(2)
    builder.add_struct("own", 16, [("p", pointer, 0), ("s", 2, 64)])
    builder.add_typedef("d", 3)
    return Btf.from_bytes(builder.build(), dist)


def test_relocation() -> None:
    dist = Btf.from_bytes(distilled().build())
    moved = relocate(on_distilled(dist), dist, BASE)
    own = moved.find("own") or 0
    assert [member.type_id for member in moved.members(own)] == [6, 2]
    assert moved.type(6).size_or_type == 2
    assert moved.type(moved.find("d") or 0).size_or_type == 4


def test_relocation_refuses() -> None:
    wrong_size = Btf.from_bytes(distilled(8).build())
    with pytest.raises(FormatError, match="shared"):
        relocate(on_distilled(wrong_size), wrong_size, BASE)
    nameless = BtfBuilder()
    nameless.add_struct("", 4)
    dist = Btf.from_bytes(nameless.build())
    with pytest.raises(FormatError):
        relocate(dist, dist, BASE)
    twice = base()
    twice.add_int("int", 4, SIGNED)
    dist = Btf.from_bytes(distilled().build())
    with pytest.raises(FormatError, match="could be"):
        relocate(on_distilled(dist), dist, Btf.from_bytes(twice.build()))


def test_relocation_kinds() -> None:
    builder = BtfBuilder()
    builder.add_float("double", 8)
    builder.add_enum("small", [("A", 1)])
    builder.add_enum64("large", [("B", 1)])
    builder.add_union("u", 4)
    builder.add_struct("s", 4)
    builder.add_struct("s", 8)
    target = Btf.from_bytes(builder.build())
    builder = BtfBuilder()
    builder.add_float("double", 8)
    builder.add_enum("small", [])
    builder.add_enum("large", [], size=8)
    builder.add_fwd("u")
    builder.add_struct("s", 8)
    dist = Btf.from_bytes(builder.build())
    with pytest.raises(FormatError, match="'u'"):
        relocate(on_distilled(dist), dist, target)


def test_files_with_their_own_base(tmp_path: Path) -> None:
    dist = Btf.from_bytes(distilled().build())
    builder = BtfBuilder(first_id=dist.count, base_strings=dist.string_end)
    builder.add_ptr(2)
    path, base_path = tmp_path / "module.ko", tmp_path / "base"
    path.write_bytes(object_file({".BTF": builder.build(), ".BTF.base": distilled().build()}))
    base_path.write_bytes(base().build())
    assert run("btf", "dump", "file", str(path)).text == "[4] PTR '(anon)' type_id=2\n"
    moved = run("-B", str(base_path), "btf", "dump", "file", str(path))
    assert moved.text == "[6] PTR '(anon)' type_id=2\n"
    everything = run("-B", str(base_path), "btf", "dump", "file", str(path), "format", "c")
    assert "struct shared" in everything.text


def test_append_map_order() -> None:
    table = AppendMap()
    table.append("a", 1)  # capacity 4 from here on
    table.append("a", 2)
    assert table.get("a") == [2, 1]
    table.append("b", 3)
    assert table.get("a") == [2, 1]
    table.append("b", 4)  # grows to 8
    assert (table.get("a"), table.get("b")) == ([1, 2], [4, 3])
    table.append("a", 5)
    assert table.get("a") == [5, 1, 2]
    table.count_only()
    table.count_only()  # grows to 16
    assert table.get("a") == [2, 1, 5]
    assert table.get("nothing") == []
    # What is there stays first, what is not is appended: the 9th of 12, then the 10th.
    assert [table.first_or_append(key, 9) for key in ("a", "b", "c")] == [2, 3, 9]
    assert [table.first_or_append("c", 8), table.get("c")] == [9, [9]]
    table.append("c", 6)
    assert table.first_or_append("c", 7) == 6
    table.count_only(4)  # grows to 32
    assert (table.get("a"), table.first_or_append("c", 7)) == ([5, 1, 2], 9)


def test_append_map_grows_at_three_quarters() -> None:
    """Each value turns the order of "a" round as often as libbpf's table grew before it."""
    for count in range(200):
        table = AppendMap()
        table.append("a", 1)
        table.append("a", 2)
        table.count_only(count)
        size, capacity, grown = count + 2, 4, 0
        while size * 4 // 3 > capacity:
            capacity, grown = capacity * 2, grown + 1
        assert table.get("a") == ([1, 2] if grown % 2 else [2, 1]), count
    assert KIND_MAX == 22
