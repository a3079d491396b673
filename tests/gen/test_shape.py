"""Names that C cannot have, in skeletons of objects of other languages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from pybpftool.gen.shape import c_names
from tests.support.bpfc import bpf_clang
from tests.support.cli import run

SOURCE = """\
#define SEC(name) __attribute__((section(name), used))
int a asm("register"), b asm("x$y"), c asm("x_y"), d asm("op == z"), e asm("höhe");
SEC("xdp") int first(void *ctx) asm("default");
SEC("xdp") int first(void *ctx) { a++; b++; c++; d++; e++; return 2; }
SEC("xdp") int second(void *ctx) asm("zähle");
SEC("xdp") int second(void *ctx) { return 2; }
char _license[] SEC("license") = "GPL";
"""


def test_c_names() -> None:
    assert c_names(["plain", "class", "int", "int_", "9", "a.b", "a_b", "a b"]) == [
        "plain", "class", "int_", "int__", "_9", "a_b", "a_b_", "a_b__"
    ]  # fmt: skip
    # Letters of other languages are C's, too, and so is "$"; what is no text is not.
    assert c_names(["$a$b", "a$b", "a_b"]) == ["$a$b", "a$b", "a_b"]
    assert c_names(["höhe", "größe\u20ac", "\udcff", "9é"]) == ["höhe", "gr____e___", "_", "_9__"]


def test_types_of_other_alphabets(tmp_path: Path) -> None:
    """A skeleton names types as the source does, which its user includes, too."""
    types = "struct größe { int ä; };\ntypedef struct größe maß_t;\nenum $farbe { grün };\n"
    source = tmp_path / "utf.c"
    source.write_text(f"{types}struct größe v; maß_t w; enum $farbe f;\n")
    made = tmp_path / "utf.o"
    words = [bpf_clang(), "-target", "bpf", "-g", "-c", str(source), "-o", str(made)]
    subprocess.run(words, check=True)
    text = run("gen", "skeleton", str(made)).text
    assert "\t\tstruct größe v;\n\t\tmaß_t w;\n\t\tenum $farbe f;\n" in text
    dump = run("btf", "dump", "file", str(made), "format", "c").text
    assert "struct größe {\n\tint ä;\n};\n\ntypedef struct größe maß_t;\n" in dump
    assert "enum $farbe {\n\tgrün = 0,\n};\n" in dump


def test_sections_that_differ_in_what_c_cannot_have(tmp_path: Path) -> None:
    source = tmp_path / "sections.c"
    source.write_text(
        "#define SEC(name) __attribute__((section(name), used))\n"
        'int y SEC(".data.a.b") = 1, z SEC(".data.a_b") = 2, v = 4;\n'
        'struct { int (*type)[2]; int *key, *value; int (*max_entries)[1]; } bss SEC(".maps");\n'
        'int u; char _license[] SEC("license") = "GPL";\n'
    )
    made = tmp_path / "sections.o"
    words = [bpf_clang(), "-target", "bpf", "-g", "-O2", "-c", str(source), "-o", str(made)]
    subprocess.run(words, check=True)
    members = [("data_a_b", "y"), ("data_a_b_", "z"), ("data", "v"), ("bss_", "u")]
    for words in (["skeleton"], ["subskeleton"], ["-L", "skeleton"]):
        text = run(*words[:-1], "gen", words[-1], str(made)).text
        star = "*" * ("sub" in words[-1])
        name = re.findall(r"struct (\w+) \{\n", text)[0]
        for ident, variable in members:
            assert f"struct {name}__{ident} {{\n\t\tint {star}{variable};\n" in text, (words, ident)
            assert len(re.findall(rf"struct bpf_map\w* \*?{ident};\n", text)) == 1
        assert len(re.findall(r"struct bpf_map\w* \*?bss;\n", text)) == 1
    text = run("gen", "python", str(made)).text
    for ident, variable in members:
        name = re.findall(rf"self\.{ident} = (\w+)\(", text)[0]
        assert f"    {variable} = _bpf" in text.split(f"class {name}(")[1].split("class ")[0]


def test_skeletons(tmp_path: Path) -> None:
    source = tmp_path / "switch.c"
    source.write_text(SOURCE)
    made = tmp_path / "switch.o"
    words = [bpf_clang(), "-target", "bpf", "-g", "-O2", "-c", str(source), "-o", str(made)]
    subprocess.run(words, check=True)
    text = run("gen", "skeleton", str(made)).text
    assert "struct switch_ {\n" in text
    assert "\t\tstruct bpf_program *default_;\n" in text
    assert 'name = "default";' in text
    assert "\t\tint register_;\n\t\tint x_y;\n\t\tint x_y_;\n\t\tint op____z;\n" in text
    assert "\t\tint h__he;\n" in text
    assert "\t\tstruct bpf_program *zähle;\n" in text
    assert "sizeof(s->bss->register_)" in text
    text = run("gen", "subskeleton", str(made)).text
    assert "\t\tint *register_;\n\t\tint *x$y;\n\t\tint *x_y;\n\t\tint *op____z;\n" in text
    assert 'name = "register";' in text
    assert ".addr = (void **)&obj->bss.x$y;" in text
    assert "\t\tint *höhe;\n" in text
