"""Subskeletons: pointers to a library's variables, and what upstream leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.errors import FormatError
from pybpftool.gen.opening import open_bytes, open_file
from pybpftool.gen.subskeleton import subskeleton
from tests.support.bpfc import compile_object
from tests.support.objbuild import EXEC, FUNC, RETURN, ObjBuilder

SOURCE = """
struct pair { int a; char b; };
struct pair pairs[2] = { { 1 } };
int (*handler)(int) = (void *)1;
const char *text = "x";
const volatile struct pair limit = { 1 };
static int own = 1;
int (*rows)[3];
int (**handlers)(int);
int seen SEC(".data.more") = 1;
SEC("xdp") int f(void *ctx) { return own++ + limit.a; }
"""


def test_pointers(tmp_path: Path) -> None:
    text = subskeleton(open_file(compile_object(tmp_path, SOURCE), ""), "lib")
    lines = [line.strip() for line in text.splitlines()]
    assert "__typeof__(struct pair[2]) *pairs;" in lines
    assert "__typeof__(int (*)(int)) *handler;" in lines
    assert "char * *text;" in lines
    assert "struct pair *limit;" in lines
    assert "__typeof__(int(*)[3]) *rows;" in lines
    assert "__typeof__(int (**)(int)) *handlers;" in lines
    assert "s->var_cnt = 7;" in lines
    assert "s->vars[1].addr = (void **)&obj->data.handler;" in lines
    assert 'map->name = ".data";' in lines
    assert 'map->name = ".data.more";' in lines
    assert "own" not in text
    assert "mmaped" not in text.replace("offsetof(struct bpf_map_skeleton, mmaped)", "")
    assert "link" not in text


def test_without_btf() -> None:
    build = ObjBuilder()
    build.symbol("main", build.section("xdp", RETURN, flags=EXEC), 0, 16, FUNC)
    with pytest.raises(FormatError, match="needs BTF"):
        subskeleton(open_bytes(build.build(), ""), "lib")


def test_arena(tmp_path: Path) -> None:
    source = """
    #define __arena __attribute__((address_space(1)))
    struct { __uint(type, BPF_MAP_TYPE_ARENA); __uint(map_flags, 1024); __uint(max_entries, 10); }
        arena SEC(".maps");
    int __arena inside;
    int outside = 1;
    SEC("syscall") int f(void *ctx) { inside++; return (long)&arena; }
    """
    path = compile_object(tmp_path, source.replace("BPF_MAP_TYPE_ARENA", "33"))
    text = subskeleton(open_file(path, ""), "lib")
    assert "struct bpf_map *arena;" in text
    assert "int *outside;" in text
    assert "inside" not in text
