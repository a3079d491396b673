"""Snapshots that are damaged, hostile or newer: one clear sentence, never more."""

from __future__ import annotations

import ast
import errno
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybpftool.errors import BpfError, FormatError, KernelError
from pybpftool.kernel import archive
from pybpftool.kernel.archive import FORMAT
from pybpftool.kernel.interface import QUESTIONS, Kernel
from pybpftool.kernel.recording import RecordingKernel
from pybpftool.kernel.snapshot import SnapshotKernel
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeattached import AttachedKernel
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described, add_prog


def make(**changes: Any) -> dict[str, Any]:
    """The parts of a small valid snapshot."""
    manifest = {
        "format": 1,
        "program": "pybpftool",
        "version": "0.1.0",
        "machine": "x86_64",
        "release": "6.0",
        "byteorder": "<",
        "recorded_at": 5,
    }
    kernel = FakeKernel()
    add_prog(kernel, 1, bytes.fromhex("b7000000070000009500000000000000"), name=b"one")
    info = {"hex": kernel.all["prog"][1].info.hex()}
    answers = {
        "holders(prog)": {"map": []},
        "boot_time_ns()": 5,
        "fdinfo(prog:1)": {"hex": b"memlock:\t5\n".hex()},
        "btf_name(3)": "",
        "file(/x)": {"blob": "aa"},
        "file(/y)": {"errno": 13, "message": "refused"},
    }
    return {
        "manifest": manifest,
        "content": {"objects": {"prog": [[1, info, False]]}, "answers": answers},
        "blobs": {"aa": b"content"},
    } | changes


def write(path: Path, parts: dict[str, Any]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, part in (("manifest.json", "manifest"), ("answers.json", "content")):
            if part in parts:
                value = parts[part]
                archive.writestr(member, value if isinstance(value, bytes) else json.dumps(value))
        for name, data in parts.get("blobs", {}).items():
            archive.writestr(f"blobs/{name}", data)
    return str(path)


def test_trees_of_cgroups_are_parts_of_the_whole(tmp_path: Path) -> None:
    rows: Any = [
        ["/cg", 0, [[0, 5, 0]], ""],
        ["/cg/a", 1, [[0, 6, 0]], ""],
        ["/cg/a/b", 2, [], "cannot list the cgroup '/cg/a/b': x"],
        ["/cg/ab", 1, [[0, 7, 0]], ""],
    ]
    paths = ["/cg", "/cg/a", "/cg/a/b", "/cg/ab", "/cg/none"]
    answers = {
        "cgroup_root()": "/cg",
        "cgroup_paths(/cg)": paths,
        "cgroup_tree(/cg,[0],0)": rows,
        "cgroup_tree(/cg/ab,[0],0)": [],  # as recordings had it
    }
    parts = make(content={"objects": {}, "answers": answers})
    kernel = SnapshotKernel.load(write(tmp_path / "s", parts))
    parted: Any = [("/cg/a", 0, [[0, 6, 0]], ""), ("/cg/a/b", 1, [], rows[2][3])]
    assert kernel.cgroup_tree("/cg", (0,), 0) == rows
    assert kernel.cgroup_tree("/cg/ab", (0,), 0) == kernel.cgroup_tree("/cg/none", (0,), 0) == []
    assert kernel.cgroup_tree("/cg/a", (0,), 0) == kernel.cgroup_tree("/cg//a/", (0,), 0) == parted
    for path, words in (("/cg/a/b", "cannot list"), ("/cg/zz", "knows no cgroup")):
        with pytest.raises(KernelError, match=words):
            kernel.cgroup_tree(path, (0,), 0)
    del answers["cgroup_paths(/cg)"]
    parts = make(content={"objects": {}, "answers": answers})
    kernel = SnapshotKernel.load(write(tmp_path / "old", parts))
    with pytest.raises(KernelError, match="knows no cgroup"):
        kernel.cgroup_tree("/cg/a", (0,), 0)


def fails(path: str, *parts: str) -> None:
    """Every way to use the snapshot gives one sentence, in text and as JSON."""
    for words in (["prog", "show"], ["prog", "dump", "xlated", "id", "1"]):
        assert_one_sentence(run("--snapshot", path, *words), *parts)
        result = run("-j", "--snapshot", path, *words)
        assert result.status == 255
        assert "error" in str(result.json)
    assert b"Traceback" not in run("snapshot", "show", path).err


class TestRecording:
    def test_every_question_is_recorded_and_replayed(self, tmp_path: Path) -> None:
        """Answers of the declared types, tuples as lists."""

        examples = {
            "str": "\udcfftext",
            "bytes": b"\xff" * 100,
            "int": 5,
            "bool": True,
            "Any": [1, None, True],
        }

        def declared(name: str) -> str:
            return str(getattr(Kernel, name).__annotations__["return"])

        def example(node: ast.expr) -> Any:
            if isinstance(node, ast.BinOp):
                return example(node.left)
            if isinstance(node, ast.Name):
                return examples[node.id]
            assert isinstance(node, ast.Subscript)
            inner = node.slice
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            made = [example(part) for part in parts]
            return {made[0]: made[1]} if ast.unparse(node.value) == "dict" else made

        kernel = FakeKernel()
        obj = kernel.prog(1)
        questions = [name for name in QUESTIONS if name != "prog_arrays"]
        answers = {name: example(ast.parse(declared(name), mode="eval").body) for name in questions}
        arguments: dict[str, Any] = dict.fromkeys(questions, (obj, 5, b"\1", "text"))
        for name, answer in answers.items():
            setattr(kernel, name, mock.Mock(return_value=answer))
        recording = RecordingKernel(kernel)
        for name, answer in answers.items():
            assert getattr(recording, name)(*arguments[name]) == answer
        path = str(tmp_path / "s.zip")
        Path(path).write_bytes(recording.archive())
        replayed = SnapshotKernel.load(path)
        for name, answer in answers.items():
            assert getattr(replayed, name)(*arguments[name]) == answer, name
            with pytest.raises(KernelError, match=r"no answer|knows no"):
                getattr(replayed, name)(obj, 6)

    def test_a_cgroup_by_another_form_of_its_path(self, tmp_path: Path) -> None:
        kernel = AttachedKernel()
        kernel.cgroups["/cg/a"] = [(5, 0, 0)]
        recording = RecordingKernel(kernel)
        recording.cgroup_programs("/cg/a", (1,), 0)
        path = str(tmp_path / "s.zip")
        Path(path).write_bytes(recording.archive())
        replayed = SnapshotKernel.load(path)
        for form in ("/cg/a", "/cg/a/", "//cg/./a"):
            assert [row[0] for row in replayed.cgroup_programs(form, (1,), 0)] == [5]
        with pytest.raises(KernelError, match="the snapshot knows no cgroup '/cg/b'"):
            replayed.cgroup_programs("/cg/b/", (1,), 0)

    def test_arrays_of_programs(self, tmp_path: Path) -> None:
        """Each is kept on its own, so that others may be asked for together."""
        kernel = FakeKernel()
        obj = kernel.prog(1)
        kernel.arrays[1] = {"xlated": b"x" * 100, "jited": None, "map_ids": b""}
        recording = RecordingKernel(kernel)
        recording.close(recording.open("prog", 1))
        recording.prog_arrays(obj, ("xlated", "jited"))
        recording.prog_arrays(obj, ("map_ids",))
        kernel.prog(2)
        kernel.arrays[2]["refused"] = b""
        with pytest.raises(KernelError):
            recording.prog_arrays(kernel.all["prog"][2], ("xlated",))
        path = str(tmp_path / "s.zip")
        Path(path).write_bytes(recording.archive())
        replayed = SnapshotKernel.load(path)
        expected = {"info": obj.info, "jited": None, "map_ids": b"", "xlated": b"x" * 100}
        assert replayed.prog_arrays(obj, ("jited", "map_ids", "xlated")) == expected
        with pytest.raises(KernelError, match="no answer"):
            replayed.prog_arrays(obj, ("func_info",))
        with pytest.raises(KernelError, match="Operation not permitted"):
            replayed.prog_arrays(kernel.all["prog"][2], ("xlated",))

    @pytest.mark.parametrize("answer", [None, 5, "text", {"map": []}])
    def test_arrays_that_are_none(self, tmp_path: Path, answer: Any) -> None:
        parts = make()
        parts["content"]["answers"]["prog_array(prog:1,info)"] = answer
        kernel = SnapshotKernel.load(write(tmp_path / "s.zip", parts))
        with pytest.raises(FormatError, match="damaged"):
            kernel.prog_arrays(kernel.open("prog", 1), ())

    @pytest.mark.parametrize(
        "answer",
        [
            *(None, 5, [], {}, {"empty": 5}, {"empty": "", "info": None}),
            *({"empty": "", "info": "text"}, {"empty": "", "info": {"errno": "x"}}),
        ],
    )
    def test_a_damaged_row_of_arrays(self, tmp_path: Path, answer: Any) -> None:
        parts = make()
        parts["content"]["answers"]["prog_arrays(prog:1)"] = answer
        kernel = SnapshotKernel.load(write(tmp_path / "s.zip", parts))
        with pytest.raises((FormatError, KernelError), match=r"damaged|no answer"):
            kernel.prog_arrays(kernel.open("prog", 1), ())

    def test_what_no_answer_names_any_more_is_left_out(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1)
        recording = RecordingKernel(kernel)
        for fill in (b"a", b"b"):
            kernel.all["prog"][1].info = fill * 600
            list(recording.objects("prog"))
        with zipfile.ZipFile(io.BytesIO(recording.archive())) as archive:
            kept = [archive.read(name) for name in archive.namelist() if "blobs/" in name]
        assert kept == [b"b" * 600]

    def test_questions_are_methods_of_the_interface(self) -> None:
        for name in QUESTIONS:
            assert callable(getattr(Kernel, name))
            with pytest.raises(NotImplementedError):
                count = getattr(Kernel, name).__code__.co_argcount - 1
                getattr(Kernel(), name)(*[None] * count)

    def test_refusals(self, tmp_path: Path) -> None:
        kernel = FakeKernel()
        recording = RecordingKernel(kernel)
        with pytest.raises(KernelError):
            recording.file("/none")
        with pytest.raises(KernelError):
            recording.btf_data(7)
        path = str(tmp_path / "s.zip")
        Path(path).write_bytes(recording.archive())
        replayed = SnapshotKernel.load(path)
        with pytest.raises(KernelError, match="cannot open /none") as refused:
            replayed.file("/none")
        assert refused.value.errno == errno.ENOENT

    def test_objects_opened_by_the_way_are_kept(self, tmp_path: Path) -> None:
        kernel = FakeKernel()
        kernel.prog(1)
        kernel.map(2)
        kernel.map(3)
        kernel.pins = {"map": {3: ["/pin"]}}
        recording = RecordingKernel(kernel)
        recording.close(recording.open("map", 2))
        recording.close(recording.open_pinned("/pin"))
        assert recording._answers == {}
        recording.pinned("map")
        assert next(iter(recording.objects("prog"))).id == 1
        assert kernel.opened == 0
        path = str(tmp_path / "s.zip")
        Path(path).write_bytes(recording.archive())
        replayed = SnapshotKernel.load(path)
        assert [obj.id for obj in replayed.objects("map")] == [2, 3]
        pinned = replayed.open_pinned("/pin")
        assert (pinned.kind, pinned.id, pinned.fd) == ("map", 3, -1)
        replayed.close(pinned)
        assert replayed.open("prog", 1).info == kernel.all["prog"][1].info
        calls: tuple[Callable[[], object], ...] = (
            lambda: replayed.open("prog", 9),
            lambda: replayed.open("link", 1),
            lambda: replayed.open_pinned("/none"),
        )
        for call in calls:
            with pytest.raises(KernelError) as refused:
                call()
            assert refused.value.errno == errno.ENOENT
        with pytest.raises(BpfError, match="keeps no link objects"):
            list(replayed.objects("link"))

    def test_equal_bytes_are_kept_once(self, tmp_path: Path) -> None:
        kernel = FakeKernel()
        kernel.files = {f"/{n}": b"same" * 1000 for n in range(20)}
        recording = RecordingKernel(kernel)
        for name in kernel.files:
            recording.file(name)
        (tmp_path / "s.zip").write_bytes(recording.archive())
        with zipfile.ZipFile(tmp_path / "s.zip") as archive:
            assert len(archive.namelist()) == 3


class TestDamaged:
    def test_the_valid_one_works(self, tmp_path: Path) -> None:
        path = write(tmp_path / "s.zip", make())
        assert run("--snapshot", path, "prog", "show").status == 0
        assert SnapshotKernel.load(path).file("/x") == b"content"

    def test_truncated_anywhere(self, tmp_path: Path) -> None:
        whole = Path(write(tmp_path / "s.zip", make())).read_bytes()
        cut = tmp_path / "cut.zip"
        for length in range(0, len(whole), 7):
            cut.write_bytes(whole[:length])
            with pytest.raises(BpfError):
                SnapshotKernel.load(str(cut))
        fails(str(cut))

    @settings(
        max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_any_byte_changed(self, tmp_path: Path, data: st.DataObject) -> None:
        whole = bytearray(Path(write(tmp_path / "s.zip", make())).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / "changed.zip"
        path.write_bytes(whole)
        for words in (["prog", "show"], ["prog", "dump", "xlated", "id", "1"]):
            result = run("--snapshot", str(path), *words)
            if result.status:
                assert_one_sentence(result)

    def test_nested_too_deeply(self, tmp_path: Path) -> None:
        deep = b"[" * 200_000 + b"]" * 200_000
        fails(write(tmp_path / "a.zip", make(content=deep)), "is damaged")
        fails(write(tmp_path / "b.zip", make(manifest=deep)), "is damaged")
        parts = make()
        text = json.dumps(parts["content"])
        inner = "[" * 900 + "]" * 900
        text = text.replace('"holders(prog)": {"map": []}', f'"holders(prog)": {inner}')
        result = run("--snapshot", write(tmp_path / "c.zip", make(content=text.encode())),
                     "prog", "show")  # fmt: skip
        assert_one_sentence(result)

    def test_numbers_of_fdinfo_that_are_none(self, tmp_path: Path) -> None:
        parts = make()
        for text in (b"memlock:\tmany\n", b"memlock:\t\n", b"memlock:\t-5", b"\xff"):
            parts["content"]["answers"]["fdinfo(prog:1)"] = {"hex": text.hex()}
            path = write(tmp_path / "s.zip", parts)
            assert b"memlock" not in run("--snapshot", path, "prog", "show").out

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            (b"", "not a snapshot"),
            (b"text\n" * 100, "not a snapshot"),
            (b"PK\x05\x06" + bytes(18), ""),
        ],
    )
    def test_something_else(self, tmp_path: Path, content: bytes, part: str) -> None:
        path = tmp_path / "s.zip"
        path.write_bytes(content)
        fails(str(path), part)

    def test_places(self, tmp_path: Path) -> None:
        fails(str(tmp_path), "it has no manifest.json")
        fails(str(tmp_path / "none"), "No such file")
        fails("a\0b", "cannot open the snapshot")
        fails("", "cannot open the snapshot")

    @pytest.mark.parametrize("missing", ["manifest", "content"])
    def test_missing_members(self, tmp_path: Path, missing: str) -> None:
        parts = make()
        del parts[missing]
        fails(write(tmp_path / "s.zip", parts), "it has no")

    @pytest.mark.parametrize(
        ("changes", "part"),
        [
            ({"format": FORMAT + 1}, "newer"),
            ({"format": 99999}, "newer"),
            ({"format": 0}, "names no format"),
            ({"format": "1"}, "names no format"),
            ({"format": None}, "names no format"),
            ({"program": "other"}, "not a snapshot of pybpftool"),
            ({"byteorder": "="}, "byteorder"),
            ({"byteorder": 5}, "byteorder"),
            ({"machine": None}, "machine"),
            ({"release": []}, "release"),
            ({"recorded_at": "now"}, "recorded_at"),
        ],
    )
    def test_manifests(self, tmp_path: Path, changes: dict[str, Any], part: str) -> None:
        parts = make()
        parts["manifest"] |= changes
        fails(write(tmp_path / "s.zip", parts), part)

    @pytest.mark.parametrize("manifest", [b"", b"[", b"null", b"[]", b"5", b"\xff\xfe", b'"x"'])
    def test_manifests_that_are_none(self, tmp_path: Path, manifest: bytes) -> None:
        fails(write(tmp_path / "s.zip", make(manifest=manifest)))

    @pytest.mark.parametrize(
        "content",
        [
            None, [], 5, "x", {}, {"objects": {}}, {"answers": {}},
            {"objects": [], "answers": {}}, {"objects": {}, "answers": []},
            {"objects": {"prog": 5}, "answers": {}},
            {"objects": {"prog": [5]}, "answers": {}},
            {"objects": {"prog": [[1, 2]]}, "answers": {}},
            {"objects": {"prog": [["1", {"hex": ""}, False]]}, "answers": {}},
            {"objects": {"prog": [[[1], {"hex": ""}, False]]}, "answers": {}},
            {"objects": {"prog": [[1.5, {"hex": ""}, False]]}, "answers": {}},
            {"objects": {"prog": None}, "answers": {}},
        ],
    )  # fmt: skip
    def test_contents(self, tmp_path: Path, content: Any) -> None:
        fails(write(tmp_path / "s.zip", make(content=content)))

    @pytest.mark.parametrize(
        "info",
        [None, 5, "text", [], {}, {"hex": "0"}, {"hex": "zz"}, {"hex": 5}, {"hex": None},
         {"blob": "none"}, {"blob": None}, {"blob": ["x"]}, {"map": 5}, {"map": [[1]]},
         {"map": [[[1], 2]]}, {"errno": 5}, True],
    )  # fmt: skip
    def test_infos(self, tmp_path: Path, info: Any) -> None:
        parts = make()
        parts["content"]["objects"]["prog"][0][1] = info
        fails(write(tmp_path / "s.zip", parts), "damaged")

    @pytest.mark.parametrize(
        "question", ["holders(prog)", "boot_time_ns()", "fdinfo(prog:1)", "pinned(prog)"]
    )
    @pytest.mark.parametrize(
        "answer",
        [None, 5, "text", [], {}, [1], [[1, 2]], True, 1.5, {"hex": "00"}, {"map": [[1, 2]]},
         {"map": [[1, [2]]]}, {"map": [[1, [[2, 3]]]]}, {"errno": "x"}, {"errno": 5},
         {"errno": 5, "message": ["m"]}, {"map": [["x", {"hex": "zz"}]]}, -1, 1 << 80],
    )  # fmt: skip
    def test_answers_of_a_wrong_type(self, tmp_path: Path, question: str, answer: Any) -> None:
        """Damage is one sentence; what happens to be of a fitting type may be shown."""
        parts = make()
        parts["content"]["answers"].setdefault("pinned(prog)", {"map": []})
        parts["content"]["objects"]["prog"][0][1] = {
            "hex": FakeKernel().prog(1, load_time=5).info.hex()
        }
        parts["content"]["answers"][question] = answer
        path = write(tmp_path / "s.zip", parts)
        for option in ([], ["-j"], ["-p"]):
            result = run("--snapshot", path, "-f", *option, "prog", "show")
            if result.status and not option:
                assert_one_sentence(result)
            if option:
                json.loads(result.out)
            assert b"Traceback" not in result.err


class TestHostile:
    @pytest.mark.parametrize(
        "name", ["../outside", "/etc/passwd", "../../etc/passwd", "aa/../../outside", "\0", "a\nb"]
    )
    def test_names_reach_nothing_outside(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "outside").write_text("secret")
        parts = make()
        parts["content"]["answers"]["file(/x)"] = {"blob": name}
        kernel = SnapshotKernel.load(write(tmp_path / "s.zip", parts))
        with pytest.raises(FormatError, match="is damaged"):
            kernel.file("/x")

    def test_members_are_never_unpacked(self, tmp_path: Path) -> None:
        path = tmp_path / "inner" / "s.zip"
        path.parent.mkdir()
        write(path, make())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("../escaped", "x")
            archive.writestr("/escaped", "x")
        run("--snapshot", str(path), "prog", "show")
        run("snapshot", "show", str(path))
        assert sorted(os.listdir(tmp_path)) == ["inner"]
        assert os.listdir(path.parent) == ["s.zip"]
        assert not os.path.exists("/escaped")

    def test_huge_claims(self, tmp_path: Path) -> None:
        whole = Path(write(tmp_path / "s.zip", make())).read_bytes()
        entry = whole.find(b"PK\x01\x02")
        claimed = bytearray(whole)
        struct.pack_into("<I", claimed, entry + 24, 0xFFFFFFF0)
        path = tmp_path / "claims.zip"
        path.write_bytes(claimed)
        fails(str(path), "is damaged", "claims")

    def test_a_bomb(self, tmp_path: Path) -> None:
        """What unfolds beyond the limit is refused before it is unfolded."""
        with mock.patch.object(archive, "_MAX_MEMBER", 1 << 16):
            path = write(tmp_path / "s.zip", make(content=b" " * (1 << 20)))
            fails(path, "answers.json claims")

    @pytest.mark.parametrize("bound", ["_MAX_JSON", "_MAX_VALUES"])
    def test_json_that_unfolds_without_end(self, tmp_path: Path, bound: str) -> None:
        content = b'{"objects": {"prog": [' + b"{}," * 4096 + b"{}]}}"
        with mock.patch.object(archive, bound, 4096):
            fails(write(tmp_path / "s.zip", make(content=content)), "answers.json has more than")

    def test_a_lone_surrogate(self, tmp_path: Path) -> None:
        parts = make()
        answers = parts["content"]["answers"]
        answers["btf_name(3)"] = "\udcff, \U0001f40d"  # bytes that are no text, and a pair
        assert run("snapshot", "show", write(tmp_path / "s.zip", parts)).status == 0
        answers["btf_name(3)"] = "\ud800"
        fails(write(tmp_path / "s.zip", parts), "answers.json has half of a character")
        parts = make(manifest={**make()["manifest"], "release": "6.0\udfff"})
        fails(write(tmp_path / "s.zip", parts), "manifest.json has half of a character")

    def test_claims_that_are_too_small(self, tmp_path: Path) -> None:
        whole = Path(write(tmp_path / "s.zip", make())).read_bytes()
        for claim in (0, 1, 10):
            changed = bytearray(whole)
            at = -1
            while (at := changed.find(b"PK\x01\x02", at + 1)) >= 0:
                struct.pack_into("<I", changed, at + 24, claim)
            path = tmp_path / "small.zip"
            path.write_bytes(changed)
            fails(str(path), "is damaged")

    def test_two_members_of_one_name(self, tmp_path: Path) -> None:
        path = tmp_path / "s.zip"
        write(path, make())
        with (
            zipfile.ZipFile(path, "a") as archive,
            pytest.warns(UserWarning, match="Duplicate"),
        ):
            archive.writestr("manifest.json", "{}")
        fails(str(path))

    def test_an_encrypted_member(self, tmp_path: Path) -> None:
        whole = bytearray(Path(write(tmp_path / "s.zip", make())).read_bytes())
        for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = -1
            while (at := whole.find(mark, at + 1)) >= 0:
                whole[at + offset] |= 1
        path = tmp_path / "encrypted.zip"
        path.write_bytes(whole)
        fails(str(path))

    def test_a_compression_that_does_not_exist(self, tmp_path: Path) -> None:
        whole = bytearray(Path(write(tmp_path / "s.zip", make())).read_bytes())
        for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            at = -1
            while (at := whole.find(mark, at + 1)) >= 0:
                struct.pack_into("<H", whole, at + offset, 77)
        path = tmp_path / "s77.zip"
        path.write_bytes(whole)
        fails(str(path))

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_compressions(self, tmp_path: Path, method: int) -> None:
        parts = make()
        path = tmp_path / "s.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("manifest.json", json.dumps(parts["manifest"]))
            archive.writestr("answers.json", json.dumps(parts["content"]))
        fails(str(path), "compressed in a way that no snapshot is")

    def test_a_snapshot_with_everything_described(self, tmp_path: Path) -> None:
        """Answers cut short: code, BTF and records of a program are damaged one by one."""
        kernel = FakeKernel()
        add_described(kernel, 1)
        path = str(tmp_path / "s.zip")
        assert run("snapshot", "save", path, kernel=kernel).status == 0
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("answers.json"))
            manifest = json.loads(archive.read("manifest.json"))
            blobs = {
                info.filename.removeprefix("blobs/"): archive.read(info)
                for info in archive.infolist()
                if info.filename.startswith("blobs/")
            }
        for name, data in blobs.items():
            for length in (0, 1, len(data) // 2, len(data) - 1):
                changed = {"manifest": manifest, "content": content,
                           "blobs": blobs | {name: data[:length]}}  # fmt: skip
                damaged = write(tmp_path / "damaged.zip", changed)
                for words in ("prog show", "prog dump xlated id 1 opcodes linum"):
                    result = run("--snapshot", damaged, *words.split())
                    if result.status:
                        assert_one_sentence(result)
