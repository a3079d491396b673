"""``obj``: what object files have, what they refer to, whether a kernel has what they need."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support import coreobjects
from tests.support.bpfc import compile_object
from tests.support.cli import assert_one_sentence, run
from tests.support.objbuild import small_object

SOURCE = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __uint(pinning, 1);
         __type(key, int); __type(value, long); } flows SEC(".maps");
struct pair { int a; char b; } pair = { 1 };
static int own = 3;
extern void bpf_obscure(void) SEC(".ksyms");
static __attribute__((noinline)) int sub(int x) { return x * own++; }
SEC("?fentry/no_such_function") int entry(void *ctx) { return sub(pair.a); }
SEC("xdp") int packets(void *ctx)
{
    int key = 1;
    bpf_obscure();
    return bpf_map_lookup_elem(&flows, &key) ? 1 : 2;
}
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return compile_object(tmp_path, SOURCE)


def test_show(path: str) -> None:
    text = run("obj", "show", path).text
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0].startswith(f"{path}: license GPL, ")
    assert "prog  entry  tracing  section fentry/no_such_function" in text
    assert "not loaded by itself" in text
    assert "map  flows  hash  key 4B  value 8B  max_entries 8  flags 0x0  pinned by name" in lines
    assert "var  struct pair pair  .data+0  8B  global" in lines
    assert "extern  bpf_obscure  function  .ksyms" in lines
    assert not [line for line in lines if ".debug" in line]
    (found,) = run("-j", "obj", "show", path).json
    assert [(one["name"], one["autoload"]) for one in found["programs"]] == [
        ("entry", False),
        ("packets", True),
    ]
    assert [one["name"] for one in found["functions"]] == ["sub"]
    assert {one["name"]: one["static"] for one in found["variables"]} == {
        "pair": False,
        "own": True,
    }


def test_several_and_big_endian(tmp_path: Path) -> None:
    paths = []
    for order in "<>":
        (tmp_path / str(ord(order))).mkdir()
        paths.append(str(tmp_path / str(ord(order)) / "t.o"))
        Path(paths[-1]).write_bytes(small_object(order))
    little, big = run("-j", "obj", "list", *paths).json
    assert {**little, "file": ""} == {**big, "file": ""}


def test_dis(path: str) -> None:
    text = run("obj", "dis", path).text
    assert "packets: (section xdp)\n" in text
    assert "; return bpf_map_lookup_elem(&flows, &key) ? 1 : 2;\n" in text
    assert "<map flows>" in text
    assert "<extern call bpf_obscure>" in text
    assert "<data t.data+" in text
    one = run("obj", "dis", path, "name", "sub").text
    assert one.startswith("sub: (section .text)\n")
    assert "packets" not in one
    functions = run("-j", "obj", "dis", path).json
    (found,) = [one for one in functions if one["name"] == "packets"]
    assert ["map flows"] in [insn.get("refers") for insn in found["insns"]]
    assert found["insns"][-1]["disasm"] == "(95) exit"
    assert_one_sentence(run("obj", "dis", path, "name", "none"), "no function 'none'")


def test_control_characters_of_sources_do_not_reach_a_pager(path: str) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.replace(b"return sub(pair.a)", b"return sub(pa\x1b[2J)"))
    text = run("obj", "dis", path).text
    assert "\x1b" not in text and "return sub(pa\\x1b[2J)" in text


def test_relocs(tmp_path: Path, path: str) -> None:
    text = run("obj", "relocs", path).text
    assert "packets: insn" in text and ": map flows\n" in text
    core = compile_object(tmp_path, coreobjects.PROGRAM, "program")
    text = run("obj", "relocs", core).text
    assert ": byte_off struct task.in.y[1]\n" in text
    (found,) = run("-j", "obj", "relocs", core).json
    assert {"program": "prog", "kind": "type_size", "what": "struct task"}.items() <= {
        **next(one for one in found["core_relocations"] if one["kind"] == "type_size")
    }.items()


def test_check(tmp_path: Path) -> None:
    kernel = compile_object(tmp_path, coreobjects.KERNEL, "kernel")
    good = compile_object(tmp_path, coreobjects.PROGRAM, "program")
    result = run("obj", "check", good, "--against", kernel)
    assert (result.status, result.text) == (0, f"{good}: 12 CO-RE relocations, all as needed\n")
    source = """
    struct task { int gone; } __attribute__((preserve_access_index));
    SEC("tc") int first(struct task *t)
    {
        return t->gone;
    }
    """
    bad = compile_object(tmp_path, source, "bad")
    result = run("obj", "check", "--against", kernel, good, bad)
    assert result.status == 1
    assert "first: insn 0 `return t->gone;`: byte_off struct task.gone: not there" in result.text
    reports = run("-j", "obj", "check", "--against", kernel, bad).json
    assert [one["is_fatal"] for one in reports[0]["findings"]] == [True]


def test_check_of_targets(tmp_path: Path, path: str) -> None:
    kernel = compile_object(tmp_path, coreobjects.KERNEL, "kernel")
    result = run("obj", "check", path, "--against", kernel)
    assert result.status == 1
    # What is not loaded by itself is nothing that has to be there.
    assert "bpf_obscure: kernel function: not in the kernel's BTF" in result.text
    assert "no_such_function" not in result.text
    loaded = compile_object(tmp_path, SOURCE.replace("?fentry", "fentry"), "loaded")
    text = run("obj", "check", loaded, "--against", kernel).text
    assert "entry: section fentry/no_such_function: 'no_such_function' is not in" in text


def test_check_that_cannot_tell(tmp_path: Path, path: str) -> None:
    for words in ((path, "--against", "/none"), ("/none", "--against", path)):
        result = run("obj", "check", *words)
        assert result.status == 2
        assert "'/none'" in result.errors


def test_check_against_a_snapshot(tmp_path: Path, path: str) -> None:
    from pybpftool.btf.load import VMLINUX
    from pybpftool.elf.sections import read_sections
    from tests.support.fakekernel import FakeKernel
    from tests.support.saved import save

    kernel = FakeKernel()
    made = compile_object(tmp_path, coreobjects.KERNEL, "kernel")
    kernel.files[VMLINUX] = read_sections(made, (".BTF",))[1][".BTF"]
    snapshot = save(kernel, tmp_path / "host.zip")
    good = compile_object(tmp_path, coreobjects.PROGRAM, "program")
    folder = tmp_path / "folder"
    with zipfile.ZipFile(snapshot) as archive:
        archive.extractall(folder)
    for words in (
        ("--against", snapshot), ("--snapshot", snapshot), ("--against", str(folder))
    ):  # fmt: skip
        assert run("obj", "check", good, *words).status == 0
        assert run("obj", "check", path, *words).status == 1
    broken = tmp_path / "broken.zip"
    broken.write_bytes(Path(snapshot).read_bytes()[:50])
    assert run("obj", "check", good, "--against", str(broken)).status == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "expected a command"),
        (("show",), "expected an object file"),
        (("dis", "F", "x"), "expected 'name'"),
        (("show", "F", "--against", "x"), "No such file"),
        (("show", "/"), "not a regular file"),
        (("bogus", "F"), "unknown command 'bogus'"),
    ],
)
def test_refused(words: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    result = run("obj", *[str(tmp_path / "none.o") if word == "F" else word for word in words])
    assert_one_sentence(result, sentence)
