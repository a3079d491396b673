"""``gen``: its words, and what goes where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import assert_one_sentence, run
from tests.support.objbuild import small_object


@pytest.fixture
def path(tmp_path: Path) -> str:
    made = tmp_path / "small.bpf.o"
    made.write_bytes(small_object())
    return str(made)


def test_help_names_what_build_systems_look_for() -> None:
    result = run("gen", "help")
    assert result.status == 0
    assert any("gen skeleton" in line and "name" in line for line in result.errors.splitlines())
    assert run("-j", "gen", "help").out == b"null\n"
    assert "gen" in run("help").errors.split()


def test_skeleton(path: str) -> None:
    result = run("gen", "skeleton", path)
    assert result.status == 0
    assert "#ifndef __SMALL_BPF_SKEL_H__" in result.text
    assert "static inline struct small_bpf *small_bpf__open_and_load(void)" in result.text
    assert run("gen", "skeleton", path).out == result.out


def test_name(path: str) -> None:
    text = run("gen", "skel", path, "name", "a-b").text
    assert "struct a_b {" in text
    assert "struct t" * 63 not in run("gen", "skeleton", path, "name", "t" * 70).text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "expected a command"),
        (("skeleton",), "expected an object file"),
        (("skeleton", "F", "x"), "expected 'name', got 'x'"),
        (("skeleton", "F", "name"), "the object's name"),
        (("skeleton", "F", "name", "a", "name", "b"), "has a name already"),
        (("skeleton", "/none"), "No such file"),
        (("skeleton", "/"), "not a regular file"),
    ],
)
def test_refused(words: tuple[str, ...], sentence: str, path: str) -> None:
    assert_one_sentence(run("gen", *[path if word == "F" else word for word in words]), sentence)


OPS = """
struct ops { int flags; void (*init)(void *); };
SEC("struct_ops") void on_init(void *x) {}
SEC(".struct_ops.link") struct ops mine = { .init = (void *)on_init };
"""


def test_for_an_older_libbpf(tmp_path: Path) -> None:
    from tests.support.bpfc import compile_object

    path = compile_object(tmp_path, OPS)
    newest = run("gen", "skeleton", path).text
    assert run("gen", "skeleton", path, "--libbpf", "1.5").text == newest
    assert "map->link" in newest and "BPF_SKEL_SUPPORTS_MAP_AUTO_ATTACH" in newest
    middle = run("gen", "skeleton", path, "--libbpf", "v1.4.3").text
    assert "->link = &obj->links.mine" not in middle and "} struct_ops;" in middle
    assert "BPF_SKEL_SUPPORTS_MAP_AUTO_ATTACH" not in middle
    oldest = run("gen", "skeleton", path, "--libbpf=1.1").text
    assert "struct_ops;" not in oldest and "initial_value" not in oldest
    assert "struct bpf_map *mine;" in oldest
    assert_one_sentence(run("gen", "skeleton", path, "--libbpf", "new"), "cannot read 'new'")


def test_light_skeleton(path: str) -> None:
    from pybpftool.control import libbpf

    try:
        libbpf.library()
    except libbpf.LibbpfError:
        pytest.skip("no libbpf")
    result = run("-L", "gen", "skeleton", path)
    assert result.status == 0
    assert "#include <bpf/skel_internal.h>" in result.text
    assert "static inline int small_bpf__main__attach(struct small_bpf *skel)" in result.text
    signed = run("-S", "-k", "/no/key", "-i", "cert", "gen", "skeleton", path)
    sentence = assert_one_sentence(signed)  # by the library's version
    assert "cannot read '/no/key'" in sentence or "need libbpf 1.7 or newer" in sentence


def test_object(tmp_path: Path) -> None:
    from pybpftool.control import libbpf
    from tests.support.bpfc import compile_object

    try:
        libbpf.library()
    except libbpf.LibbpfError:
        pytest.skip("no libbpf")
    path = compile_object(tmp_path, "int x = 1;")
    out = str(tmp_path / "out.o")
    assert run("gen", "object", out, path).status == 0
    assert run("gen", "skeleton", out).status == 0
    # For machines of the other byte order, too.
    from pybpftool.gen.byteorder import turned

    foreign = tmp_path / "foreign.o"
    foreign.write_bytes(turned(Path(path).read_bytes()))
    assert run("gen", "object", str(foreign), str(foreign)).status == 0
    assert turned(foreign.read_bytes()) == Path(out).read_bytes()
    # The file may be one that is read.
    assert run("gen", "object", out, out).status == 0
    assert run("gen", "skeleton", out).status == 0
    assert_one_sentence(run("gen", "object", out), "an object file")
    assert_one_sentence(run("gen", "object", out, "/none"), "No such file")
    assert run("gen", "skeleton", out).status == 0


def test_min_core_btf(tmp_path: Path) -> None:
    from pybpftool.btf.load import from_file
    from tests.support.bpfc import compile_object
    from tests.support.coreobjects import KERNEL, PROGRAM

    kernel = compile_object(tmp_path, KERNEL, "kernel")
    program = compile_object(tmp_path, PROGRAM, "program")
    out = str(tmp_path / "out.btf")
    assert run("gen", "min", kernel, out, program).status == 0
    assert from_file(out).find("task")
    assert_one_sentence(run("gen", "min_core_btf", kernel, out), "an object file")
    assert_one_sentence(run("gen", "min_core_btf", "/none", out, program), "'/none'")
    assert_one_sentence(run("gen", "min_core_btf", kernel, str(tmp_path), program), "directory")


def test_refused_as_json(tmp_path: Path) -> None:
    broken = tmp_path / "x.o"
    broken.write_bytes(small_object()[:100])
    result = run("-j", "gen", "skeleton", str(broken))
    assert result.status == 255
    assert "cannot open the BPF object" in result.json["error"]
    assert result.err == b""


def test_subskeleton(path: str) -> None:
    result = run("gen", "sub", path)
    assert result.status == 0
    assert "#ifndef __SMALL_BPF_SUBSKEL_H__" in result.text
    assert "int *hits;" in result.text
    assert_one_sentence(run("-L", "gen", "subskeleton", path), "leave out -L")
