"""Copies of object files whose maps of struct_ops refer to one program."""

from __future__ import annotations

import pytest

from pybpftool.elf.relocatable import Relocatable
from pybpftool.elf.struct_ops import has_struct_ops, with_one_program
from tests.support.objbuild import EXEC, FUNC, RETURN, ObjBuilder


def made(order: str = "<", *sections: str) -> bytes:
    build = ObjBuilder(order)
    code = build.section("struct_ops", RETURN * 2, flags=EXEC)
    first = build.symbol("first", code, 0, 16, FUNC)
    second = build.symbol("second", code, 16, 16, FUNC)
    for name in sections or (".struct_ops.link",):
        maps = build.section(name, bytes(64))
        build.relocations(maps, [(0, first), (8, second), (16, first)])
    build.section(".BTF", b"\0" + b"\0".join(name.encode() for name in sections) + b"\0")
    return build.build()


def relocations(data: bytes) -> list[list[tuple[int, str]]]:
    elf = Relocatable(data)
    return [
        [(row.offset, elf.symbols[row.symbol].name) for row in elf.relocations(section)]
        for section in elf.sections
        if (section.name or "").startswith(".rel")
    ]


@pytest.mark.parametrize("order", "<>")
def test_one_program(order: str) -> None:
    data = made(order)
    assert has_struct_ops(Relocatable(data))
    copy, found = with_one_program(data, "first")
    assert found == [0, 16]
    assert relocations(copy) == [[(0, "first"), (16, "first")]]
    copy, found = with_one_program(data, "second")
    assert found == [8]
    assert relocations(copy) == [[(8, "second")]]
    assert len(copy) == len(data)


@pytest.mark.parametrize("name", [".struct_ops", ".struct_ops.link", "?.struct_ops.link"])
def test_the_name_that_every_libbpf_knows(name: str) -> None:
    copy, _ = with_one_program(made("<", name), "first")
    names = [section.name for section in Relocatable(copy).sections]
    assert ".struct_ops" in names
    assert ".rel.struct_ops" in names
    elf = Relocatable(copy)
    types = elf.section_of(".BTF")
    assert types is not None
    assert elf.content(types).rstrip(b"\0") == b"\0.struct_ops"


def test_names_stay_where_there_are_two_sections() -> None:
    copy, found = with_one_program(made("<", ".struct_ops", ".struct_ops.link"), "second")
    assert found == [8, 8]
    names = [section.name for section in Relocatable(copy).sections]
    assert {".struct_ops", ".struct_ops.link"} <= set(names)


def test_no_maps_where_none_refers_to_it() -> None:
    copy, found = with_one_program(made("<", "?.struct_ops"), "third")
    assert found == []
    assert not has_struct_ops(Relocatable(copy))
    elf = Relocatable(copy)
    types = elf.section_of(".BTF")
    assert types is not None
    assert elf.content(types) == b"\0__struct_ops\0"
    assert relocations(copy) == [[]]


def test_without_maps() -> None:
    build = ObjBuilder()
    build.symbol("main", build.section("xdp", RETURN, flags=EXEC), 0, 16, FUNC)
    assert not has_struct_ops(Relocatable(build.build()))
