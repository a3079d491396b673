"""Declarations of variables: the short way says what the long one says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pybpftool.btf.c.plain import DeclarationTexts
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.gen import map_defs
from pybpftool.gen.declarations import Declarations
from pybpftool.gen.opening import open_file
from pybpftool.uapi.bpf import MAP_TYPES
from tests.support.bpfc import compile_object
from tests.support.btfbuild import BtfBuilder

SIMPLE = """
typedef unsigned int u32; typedef const volatile u32 ro_u32;
struct pair { int a; }; union both { int a; char b; }; enum color { RED = 1 };
enum wide { WIDE = 1ULL << 40 };
struct pair p = {}; union both b = {}; enum color c = RED; enum wide w = WIDE;
const volatile u32 u = 1; ro_u32 r = 1; _Bool yes = 1; signed char sc = 1; __int128 big = 1;
char text[3][4] = { "a" }; const char *const names[2] = { 0 }; struct pair **pp = 0;
void *nothing = 0; long long ll = 1; unsigned short us = 1; double d = 1; long empty[0] = {};
"""
OTHER = """
int before = 1; struct { int a; } nameless = {}; int (*function)(struct pair *, char) = 0;
int (*to_array)[3] = 0; struct never *ahead = 0; struct pair after = {};
"""


def _all(btf: Btf, texts: Declarations | DeclarationTexts, ids: list[int]) -> list[str]:
    return [texts.of(type_id, name, 2) for type_id in ids for name in ("x", "")]


@pytest.mark.parametrize("source", [SIMPLE, SIMPLE + OTHER])
def test_as_dumps_have_them(tmp_path: Path, source: str) -> None:
    btf = open_file(compile_object(tmp_path, source)).btf
    assert btf is not None
    ids = [one for section in btf_variables(btf) for one in section]
    assert _all(btf, Declarations(btf), ids) == _all(btf, DeclarationTexts(btf), ids)
    exact = DeclarationTexts(btf)
    short = Declarations(btf)
    for type_id in ids:
        assert short.of(type_id, "x", 2, True) == exact.of(type_id, "x", 2, True)


def btf_variables(btf: Btf) -> list[list[int]]:
    """The types of variables by section."""
    from pybpftool.gen.datasecs import ids_of_kind
    from pybpftool.uapi.btf import DATASEC

    return [
        [btf.type(var_id).size_or_type for var_id, _, _ in btf.secinfos(section)]
        for section in ids_of_kind(btf, DATASEC)
    ]


def test_names_that_two_types_have() -> None:
    build = BtfBuilder()
    number = build.add_int("int", 4)
    first = build.add_struct("s", 4, [("a", number, 0)])
    alias = build.add_typedef("s", first)
    second = build.add_struct("s", 8, [("a", number, 0), ("b", number, 32)])
    btf = Btf.from_bytes(build.build())
    texts = Declarations(btf)
    found = [texts.of(one, "x", 0) for one in (first, alias, first, second, number, alias, second)]
    assert found == [
        "struct s x",
        "s x",
        "struct s x",
        "struct s___2 x",
        "int x",
        "s x",
        "struct s___2 x",
    ]


def test_loads_no_dump(tmp_path: Path) -> None:
    """What a skeleton of everyday variables needs is less than what a dump in C does."""
    import subprocess

    path = compile_object(tmp_path, "int a = 1; struct s { int b; } *c = 0;")
    code = (
        "import sys; from pybpftool.cli.main import main;"
        f"main(['gen', 'skeleton', {path!r}]);"
        "print(*[one for one in sys.modules if one.startswith('pybpftool.')], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = done.stderr.split()
    assert "pybpftool.gen.skeleton" in loaded
    assert not [one for one in loaded if one.startswith("pybpftool.btf.c.")]


def test_numbers_of_map_types() -> None:
    numbers = (
        map_defs.ARRAY_MAP,
        map_defs.PROG_ARRAY,
        map_defs.PERCPU_ARRAY,
        *map_defs.OF_MAPS,
        map_defs.STRUCT_OPS,
        *map_defs.RINGBUFS,
        map_defs.ARENA,
    )
    assert " ".join([MAP_TYPES[number] for number in numbers]) == (
        "array prog_array percpu_array array_of_maps hash_of_maps"
        " struct_ops ringbuf user_ringbuf arena"
    )


def test_strange_types() -> None:
    """The return type of a prototype is not checked when BTF is opened."""
    build = BtfBuilder()
    pointer = build.add_ptr(build.add_func_proto(999))
    btf = Btf.from_bytes(build.build())
    with pytest.raises(FormatError, match="type that it does not have"):
        Declarations(btf).of(pointer, "x", 0)
