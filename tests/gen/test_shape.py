"""Names that C cannot have, in skeletons of objects of other languages."""

from __future__ import annotations

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
    # Letters of other languages are C's, too; what is no text is not.
    assert c_names(["höhe", "größe\u20ac", "\udcff", "9é"]) == ["höhe", "gr____e___", "_", "_9__"]


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
    assert "\t\tint *register_;\n\t\tint *x_y;\n\t\tint *x_y_;\n\t\tint *op____z;\n" in text
    assert 'name = "register";' in text
    assert ".addr = (void **)&obj->bss.x_y_;" in text
    assert "\t\tint *höhe;\n" in text
