"""Skeletons: what they define, how variables lie in them, that compilers take them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pybpftool.errors import FormatError
from pybpftool.gen.c_bytes import c_string
from pybpftool.gen.light_skeleton import light_skeleton
from pybpftool.gen.opening import open_bytes, open_file
from pybpftool.gen.skeleton import skeleton
from tests.support.bpfc import compile_object
from tests.support.objbuild import small_object

VARIABLES = """
struct pair { int a; char b; };
char first = 1;
struct pair pair = { 1 };
const volatile int limits[2] = { 1, 2 };
int (*handler)(struct pair *, const char *);
unsigned long long wide = 1;
static volatile int own = 1;
struct { int a : 3; const char *b; } nameless = { 1 };
const char *const texts[2];
SEC("xdp") int f(void *ctx) { return own + limits[1]; }
"""


def test_variables(tmp_path: Path) -> None:
    obj = open_file(compile_object(tmp_path, VARIABLES))
    text = skeleton(obj, "t")
    lines = [line.strip() for line in text.splitlines()]
    assert "int limits[2];" in lines
    assert "int (*handler)(struct pair *, char *);" in lines
    assert "char *texts[2];" in lines
    assert "unsigned long long wide;" in lines
    assert not [line for line in lines if " own;" in line]
    assert "_Static_assert(sizeof(s->data->wide) == 8, \"'wide' has another size" in text


def test_padding(tmp_path: Path) -> None:
    source = """
    char a SEC(".data.x") = 1; long b SEC(".data.x") = 2; char c SEC(".data.x") = 3;
    """
    text = skeleton(open_file(compile_object(tmp_path, source)), "t")
    _, _, body = text.partition("struct t__data_x {\n")
    # The host may be one of 32 bits, where a long is aligned to four bytes.
    assert [line.strip() for line in body.split("\t}")[0].splitlines() if line.strip()] == [
        "char a;",
        "char __pad0[7];",
        "long b;",
        "char c;",
    ]


def test_per_cpu_variables(tmp_path: Path) -> None:
    source = """
    int counter SEC(".percpu") = 3; long other SEC(".percpu.x") = 1;
    SEC("xdp") int f(void *ctx) { return counter++ + other; }
    """
    obj = open_file(compile_object(tmp_path, source))
    assert [(one.name, one.definition.type, one.definition.map_flags) for one in obj.maps] == [
        (".percpu", 6, 0),
        (".percpu.x", 6, 0),
    ]
    text = skeleton(obj, "t")
    assert "struct t__percpu {\n\t\tint counter;\n\t} *percpu;" in text
    assert "map->mmaped = (void **)&obj->percpu_x;" in text
    unused = source.replace("counter++ + other", "0")
    assert open_file(compile_object(tmp_path, unused)).maps == []
    with pytest.raises(FormatError, match="per-CPU variables"):
        light_skeleton(obj, "t", b"", b"", {})


def test_struct_ops(tmp_path: Path) -> None:
    source = """
    struct ops {
        int flags; void (*init)(void *); const char name[8]; void *owner; long n; char z;
    };
    SEC("struct_ops") void on_init(void *x) {}
    SEC(".struct_ops.link") struct ops mine = { .init = (void *)on_init };
    """
    text = skeleton(open_file(compile_object(tmp_path, source)), "t")
    _, _, body = text.partition("struct t__mine__ops {\n")
    assert [line.strip() for line in body.split("\t}")[0].splitlines() if line.strip()] == [
        "int flags;",
        "char __padding_1[4];",
        "struct bpf_program *init;",
        "char __unsupported_2[8];",
        "char __unsupported_3[8];",
        "long n;",
        "char z;",
        "char __padding_end[7];",
    ]
    assert "struct bpf_link *mine;" in text
    assert "map->link = &obj->links.mine;" in text


def test_bit_fields_of_struct_ops(tmp_path: Path) -> None:
    source = """
    struct ops { char a; int b : 3, c : 7, d : 20; short e; unsigned long f : 40; long g; };
    SEC(".struct_ops.link") struct ops mine = { .a = 1 };
    """
    text = skeleton(open_file(compile_object(tmp_path, source)), "t")
    _, _, body = text.partition("struct t__mine__ops {\n")
    # Places as in C: b begins in byte 1, d in byte 4, e in 8, f in 10.
    assert [line.strip() for line in body.split("\t}")[0].splitlines() if line.strip()] == [
        "char a;",
        "char __unsupported_1[1];",
        "char __unsupported_2[1];",
        "char __unsupported_3[4];",
        "char __padding_4[1];",
        "short e;",
        "char __unsupported_5[5];",
        "char __padding_6[1];",
        "long g;",
    ]


def test_place_before_the_section(tmp_path: Path) -> None:
    """A place of 2 GiB and more is a negative one to libbpf."""
    data = bytearray(Path(compile_object(tmp_path, 'int a SEC(".data.x") = 1;')).read_bytes())
    elf = open_bytes(bytes(data), "t").elf
    symbol = next(one for one in elf.symbols if one.name == "a")
    assert elf.has_name(symbol)
    at = elf.symbol_table.offset + 24 * symbol.number + 8
    data[at : at + 8] = (0xFFFFFF00).to_bytes(8, "little" if elf.order == "<" else "big")
    with pytest.raises(FormatError, match=r"'a' of \.data\.x is at"):
        skeleton(open_bytes(bytes(data), "t"), "t")


def test_no_btf_no_maps() -> None:
    from tests.support.objbuild import EXEC, FUNC, RETURN, ObjBuilder

    build = ObjBuilder()
    build.symbol("main", build.section("xdp", RETURN, flags=EXEC), 0, 16, FUNC)
    text = skeleton(open_bytes(build.build(), "t"), "t")
    assert "maps;" not in text
    assert "t__assert" not in text
    assert "struct bpf_program *main;" in text


def test_bytes() -> None:
    data = bytes(range(256)) * 2
    literal = c_string(data)
    body = literal[1:-1].replace("\\\n", "")
    # The same as in Python, but for the short zero.
    assert eval(f'"{body}"').encode("latin-1") == data  # noqa: S307
    assert max(map(len, literal.splitlines())) <= 260
    assert c_string(b"") == '""'
    assert c_string(b"\0") == '"\\\n\\0"'


HEADER = """
#pragma once
#include <stddef.h>
struct bpf_object; struct bpf_map; struct bpf_program; struct bpf_link;
struct bpf_object_open_opts;
struct bpf_map_skeleton { const char *name; struct bpf_map **map; void **mmaped;
                          struct bpf_link **link; };
struct bpf_prog_skeleton { const char *name; struct bpf_program **prog; struct bpf_link **link; };
struct bpf_object_skeleton {
    size_t sz; const char *name; const void *data; size_t data_sz; struct bpf_object **obj;
    int map_cnt; int map_skel_sz; struct bpf_map_skeleton *maps;
    int prog_cnt; int prog_skel_sz; struct bpf_prog_skeleton *progs;
};
#ifdef __cplusplus
extern "C" {
#endif
int bpf_object__open_skeleton(struct bpf_object_skeleton *s, const struct bpf_object_open_opts *o);
int bpf_object__load_skeleton(struct bpf_object_skeleton *s);
int bpf_object__attach_skeleton(struct bpf_object_skeleton *s);
void bpf_object__detach_skeleton(struct bpf_object_skeleton *s);
void bpf_object__destroy_skeleton(struct bpf_object_skeleton *s);
void *bpf_map__initial_value(const struct bpf_map *map, size_t *size);
#ifdef __cplusplus
}
#endif
"""
MAIN = """
#include <stdio.h>
#include "t.skel.h"
int bpf_object__open_skeleton(struct bpf_object_skeleton *s, const struct bpf_object_open_opts *o)
{
    size_t size;
    fwrite(t__elf_bytes(&size), 1, s->data_sz, stdout);
    fprintf(stderr, "%d %s %d %s\\n", s->map_cnt, s->maps->name, s->prog_cnt, s->progs->name);
    return 0;
}
int bpf_object__load_skeleton(struct bpf_object_skeleton *s) { return s ? 0 : -1; }
int bpf_object__attach_skeleton(struct bpf_object_skeleton *s) { return s ? 0 : -1; }
void bpf_object__detach_skeleton(struct bpf_object_skeleton *s) { free(s->maps); free(s->progs); }
void bpf_object__destroy_skeleton(struct bpf_object_skeleton *s) { free(s); }
int main(void)
{
    struct t *t = t__open_and_load();
    if (!t || t__attach(t))
        return 1;
    t__detach(t);
    t__destroy(t);
    return 0;
}
"""


@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang-19"])
def test_compiles_and_holds_the_object(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    data = small_object()
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf/libbpf.h").write_text(HEADER)
    (tmp_path / "t.skel.h").write_text(skeleton(open_bytes(data, "t"), "t"))
    is_cpp = compiler == "g++"
    source = tmp_path / ("main.cpp" if is_cpp else "main.c")
    source.write_text(MAIN)
    words = [compiler, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-I", str(tmp_path)]
    made = tmp_path / "main"
    result = subprocess.run(
        [*words, str(source), "-o", str(made)], check=False, capture_output=True
    )
    assert result.returncode == 0, result.stderr.decode()
    result = subprocess.run([str(made)], check=True, capture_output=True)
    assert result.stdout == data
    assert result.stderr == b"2 flows 1 main\n"
