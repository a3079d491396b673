"""Dumps equal what upstream printed for the same types."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pybpftool.btf import rawdump
from pybpftool.btf.c import dump as cdump
from pybpftool.btf.c.text import Texts
from pybpftool.btf.load import VMLINUX
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.worker import Worker
from tests.support import btfsamples as samples
from tests.support.bpfc import find_clang
from tests.support.btfbuild import KINDS, SIGNED, BtfBuilder
from tests.support.cli import assert_one_sentence, run

BLOBS = samples.blobs()
ANSWERS = samples.answers()
# The type that sorts first, which upstream writes only where another needs it (README),
# and what it belongs before.
FIRST = {
    "values": ("enum e64 {", "enum e32 {\n\tA = 1,\n\tB = -5,\n\tC = 200,\n};\n\n"),
}


def expected(name: str, form: str) -> str:
    """Upstream's answer, with the first type of a sorted C dump where it belongs.

    In JSON upstream extends the sign of unsigned enums' values.
    """
    answer = ANSWERS[name][form]
    if form in ("json", "pretty", "json-root"):
        return re.sub(r"18446744073[0-9]{9}", lambda m: str(int(m[0]) & 0xFFFFFFFF), answer)
    if form == "c" and name in FIRST:
        before, first = FIRST[name]
        return answer.replace(first, "").replace(before, first + before, 1)
    return answer


def without_layout(text: str) -> str:
    """A C dump without padding and packing, where upstream's form may not have the BTF's layout.

    tests/btf/test_c_layout.py compiles the same samples.
    """
    text = re.sub(r"\n\t*(?:long|int|short|char): \d+;", "", text)
    text = re.sub(r"\n\t*struct \{\n\t*\};", "", text)
    return re.sub(r" __attribute__\(\(packed(?:, aligned\(\d+\))?\)\)", "", text)


@pytest.mark.parametrize("form", samples.FORMS)
@pytest.mark.parametrize("name", BLOBS)
def test_as_upstream(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "sample"
    path.write_bytes(BLOBS[name])
    options, words = samples.FORMS[form]
    result = run(*options, "btf", "dump", "file", str(path), *words)
    assert (result.status, result.errors) == (0, "")
    if form in ("c", "unsorted") and name.startswith(("clang", "pahole")):
        assert without_layout(result.text) == without_layout(expected(name, form))
    else:
        assert result.text == expected(name, form)
    if form in ("json", "pretty", "json-root"):
        assert json.loads(result.out)["types"]


@pytest.mark.parametrize("name", [name for name in BLOBS if name.startswith("clang")])
def test_c_compiles(name: str, tmp_path: Path) -> None:
    clang = find_clang()
    if clang is None:
        pytest.skip("there is no clang")
    text = "".join(cdump.blocks(Btf.from_bytes(BLOBS[name])))
    path = tmp_path / "types.c"
    path.write_text(text)
    command = [clang, "-target", "bpf", "-g", "-w", "-c", str(path), "-o", "/dev/null"]
    assert subprocess.run(command, capture_output=True, check=False).stderr == b""


@pytest.mark.parametrize("form", ["c", "unsorted", "raw"])
def test_without_types(form: str, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(BtfBuilder().build())
    options, words = samples.FORMS[form]
    result = run(*options, "btf", "dump", "file", str(path), *words)
    assert (result.status, result.errors) == (0, "")
    assert ("/* BPF kfuncs */" in result.text) == (form != "raw")


def test_a_single_enum_is_defined() -> None:
    builder = BtfBuilder()
    builder.add_enum("only", [("ONE", 1)])
    for is_sorted in (True, False):
        text = "".join(cdump.blocks(Btf.from_bytes(builder.build()), (), is_sorted))
        assert "enum only {\n\tONE = 1,\n};\n" in text


def test_blocks_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    btf = Btf.from_bytes(BLOBS["values"])
    whole = "".join(rawdump.text_blocks(btf))
    as_json = "".join(rawdump.json_blocks(btf))
    for size in (3, 4, 17, 60, 300):
        monkeypatch.setattr(rawdump, "_BLOCK", size)
        assert "".join(rawdump.text_blocks(btf)) == whole
        assert "".join(rawdump.json_blocks(btf)) == as_json
        first, second = rawdump.halves(btf)
        halves = (*rawdump.text_blocks(btf, (), first), *rawdump.text_blocks(btf, (), second))
        assert "".join(halves) == whole


def test_parts_that_meet_anywhere() -> None:
    whole = "".join(rawdump.text_blocks(Btf.from_bytes(BLOBS["values"])))
    as_json = "".join(rawdump.json_blocks(Btf.from_bytes(BLOBS["values"])))
    end = len(Btf.from_bytes(BLOBS["values"]).words)
    for middle in range(1, end):
        text, json = "", ""
        for part in ((0, middle), (middle, end)):
            # Another process has looked at nothing yet.
            text += "".join(rawdump.text_blocks(Btf.from_bytes(BLOBS["values"]), (), part))
            json += "".join(rawdump.json_blocks(Btf.from_bytes(BLOBS["values"]), (), None, part))
        assert (text, json) == (whole, as_json), middle


def test_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sample"
    path.write_bytes(BLOBS["clang1"])
    monkeypatch.setattr("pybpftool.cli.btf._WORTH_TWO", 1)
    for form in ("raw", "json", "pretty"):
        options, words = samples.FORMS[form]
        result = run(*options, "btf", "dump", "file", str(path), *words)
        assert result.text == expected("clang1", form)


@pytest.mark.parametrize("is_failing", [False, True])
@pytest.mark.parametrize("name", BLOBS)
def test_c_by_two_processes(
    name: str, is_failing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sample"
    path.write_bytes(BLOBS[name])
    monkeypatch.setattr("pybpftool.btf.c.dump._WORTH_TWO", 1)
    monkeypatch.setattr("posix.sched_getaffinity", lambda pid: {0, 1})
    received = []

    def receive(worker: Worker) -> memoryview | None:
        received.append(None if is_failing else wait(worker))
        return received[-1]

    wait = Worker.receive
    monkeypatch.setattr(Worker, "receive", receive)
    for form in ("c", "unsorted"):
        options, words = samples.FORMS[form]
        result = run(*options, "btf", "dump", "file", str(path), *words)
        assert without_layout(result.text) == without_layout(expected(name, form))
    assert len(received) == 4
    # What fails there is done again here, and would not be seen in the text.
    assert is_failing or None not in received


def test_c_of_a_circle_by_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = BtfBuilder()
    builder.add_struct("first", 8, [("next", 2, 0)])
    builder.add_struct("second", 8, [("next", 1, 0)])
    path = tmp_path / "sample"
    path.write_bytes(builder.build())
    monkeypatch.setattr("pybpftool.btf.c.dump._WORTH_TWO", 1)
    result = run("btf", "dump", "file", str(path), "format", "c")
    assert_one_sentence(result, "contains itself")


def test_a_pointer_that_was_met_before_counts(tmp_path: Path) -> None:
    """A function's parameter defines a typedef, if what that stands for was met."""
    builder = BtfBuilder()
    builder.add_ptr(6)
    builder.add_ptr(5)
    builder.add_func_proto(0, [("", 2)])
    builder.add_struct("between", 0, [])
    builder.add_typedef("pointer_t", 1)
    builder.add_struct("target", 0, [])
    path = tmp_path / "sample"
    path.write_bytes(builder.build())
    text = run("btf", "dump", "file", str(path), "format", "c", "unsorted").text
    assert text.index("typedef struct target *pointer_t;") < text.index("struct between {")


def test_what_comes_before_a_circle_is_shown() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    builder.add_struct("fine", 4, [("a", number, 0)])
    builder.add_struct("first", 8, [("next", 4, 0)])
    builder.add_struct("second", 8, [("next", 3, 0)])
    btf = Btf.from_bytes(builder.build())
    for roots in ([], [2, 3]):
        shown = []
        with pytest.raises(FormatError):
            for block in cdump.blocks(btf, roots, False):
                shown.append(block)
        assert "struct fine {\n\tint a;\n};" in "".join(shown)


def test_values_are_numbered_once_where_a_member_has_no_size() -> None:
    builder = BtfBuilder()
    nameless = builder.add_enum("", [("E1", 0), ("E2", 1)])
    user = builder.add_struct("user", 4, [("a", nameless, 0), ("nothing", 0, 32)])
    text = cdump.definition(Btf.from_bytes(builder.build()), user)
    assert "E1 = 0" in text
    assert "___" not in text


def _doubling(kind: str) -> bytes:
    """Types of which each contains the one before twice: 2**60 of the first."""
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    levels = 60
    inner = number
    if kind == "itself":
        # What leads back to the outermost struct is looked into each time.
        inner = builder.add_ptr(number + 1 + levels + 1)
    for level in range(levels):
        if kind in ("struct", "itself"):
            members = [("a", inner, 0), ("b", inner, 64)]
            inner = builder.add_struct("", min(8 << level, 1 << 28), members)
        else:
            names = ("p", "q") if kind == "named" else ("", "")
            proto = builder.add_func_proto(number, [(name, inner) for name in names])
            inner = builder.add_ptr(proto)
    builder.add_struct("outermost", 1 << 28, [("x", inner, 0)])
    return builder.build()


@pytest.mark.parametrize("kind", ["struct", "itself", "named", "nameless"])
def test_endless_definitions(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "doubling"
    path.write_bytes(_doubling(kind))
    for words in ((), ("unsorted",), ("root_id", str(Btf.from_bytes(_doubling(kind)).count - 1))):
        result = run("btf", "dump", "file", str(path), "format", "c", *words)
        assert_one_sentence(result, "endless length")


@pytest.mark.parametrize("kind", ["array", "function"])
def test_deep_declarations_are_written_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = BtfBuilder()
    inner = number = builder.add_int("int", 4, SIGNED)
    for _ in range(300):
        if kind == "array":
            inner = builder.add_array(inner, number, 1)
        else:
            inner = builder.add_ptr(builder.add_func_proto(inner))
    builder.add_typedef("deep", inner)
    asked = []
    chain = Texts.chain

    def counted(texts: Texts, type_id: int, name: str, level: int) -> str:
        asked.append(type_id)
        return chain(texts, type_id, name, level)

    monkeypatch.setattr(Texts, "chain", counted)
    text = "".join(cdump.blocks(Btf.from_bytes(builder.build())))
    assert asked == [inner]
    function = f"{'(* ' * 299}(*deep)(void){')(void)' * 299}"
    declared = "deep" + "[1]" * 300 if kind == "array" else function
    assert f"typedef int {declared};\n" in text


def test_names_that_occur_again() -> None:
    """Texts are written ahead of their turn, the numbers of names are not."""
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    late = builder.add_struct("node", 4, [("a", number, 0)])
    again = builder.add_struct("node", 8, [("b", number, 0), ("c", number, 32)])
    word = builder.add_typedef("word", number)
    other = builder.add_typedef("word", late)
    builder.add_enum("colour", [("RED", 0), ("word", 1)])
    builder.add_enum("light", [("RED", 5)])
    builder.add_struct("user", 16, [("x", again, 0), ("y", other, 64), ("z", word, 96)])
    text = "".join(cdump.blocks(Btf.from_bytes(builder.build()), (), False))
    defined = [
        "struct node {\n\tint a;\n};",
        "struct node___2 {\n\tint b;\n\tint c;\n};",
        "typedef int word;",
        "typedef struct node word___2;",
        "enum colour {\n\tRED = 0,\n\tword___3 = 1,\n};",
        "enum light {\n\tRED___2 = 5,\n};",
        "struct user {\n\tstruct node___2 x;\n\tword___2 y;\n\tword z;\n};",
    ]
    places = [text.index(definition) for definition in defined]
    assert places == sorted(places)


def test_escapes_in_names(tmp_path: Path) -> None:
    builder = BtfBuilder()
    builder.add_raw(KINDS["struct"], b'q"\\\x01\xff', 0)
    path = tmp_path / "sample"
    path.write_bytes(builder.build())
    result = run("-j", "btf", "dump", "file", str(path))
    assert result.json["types"][0]["name"] == 'q"\\\x01\udcff'
    assert b'q"\\\x01\xff' in run("btf", "dump", "file", str(path)).out


def test_made_up_padding() -> None:
    builder = BtfBuilder()
    builder.add_struct("vast", 0x0FFFFFFF)
    btf = Btf.from_bytes(builder.build())
    with pytest.raises(FormatError):
        cdump.definition(btf, 1)


def test_definition() -> None:
    btf = Btf.from_bytes(samples.every_kind())
    text = cdump.definition(btf, btf.find("users") or 0)
    assert text.index("struct inner {") < text.index("struct users {")
    assert "preserve_access_index" not in text


@pytest.mark.skipif(not Path(VMLINUX).exists(), reason="the kernel shows no BTF")
def test_vmlinux_compiles(tmp_path: Path) -> None:
    clang = find_clang()
    if clang is None:
        pytest.skip("there is no clang")
    path = tmp_path / "vmlinux.c"
    path.write_bytes(run("btf", "dump", "file", VMLINUX, "format", "c").out)
    command = [clang, "-target", "bpf", "-g", "-w", "-c", str(path), "-o", "/dev/null"]
    assert subprocess.run(command, capture_output=True, check=False).stderr == b""
