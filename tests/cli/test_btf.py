"""The commands of ``btf``: listing, sources of a dump, words that are wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.btf.load import VMLINUX
from pybpftool.errors import FormatError
from pybpftool.kernel.interface import BpfObject
from pybpftool.uapi import bpf as uapi
from tests.support import btfsamples as samples
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel, pack


class NamingKernel(FakeKernel):
    """A kernel whose BTF objects have the names in ``names``."""

    def btf_name(self, id: int) -> str:
        return self.names[id]


def kernel() -> FakeKernel:
    fake = NamingKernel()
    for btf_id, name in ((1, "vmlinux"), (7, ""), (9, "a_module")):
        blob = samples.every_kind()
        fields = {"id": btf_id, "btf_size": len(blob), "name_len": len(name)}
        fields["kernel_btf"] = int(bool(name))
        info = pack(uapi.BPF_BTF_INFO, uapi.BPF_BTF_INFO_SIZE, "<", **fields)
        fake.all["btf"][btf_id] = BpfObject("btf", btf_id, -1, info)
        fake.btfs[btf_id] = blob
        fake.names[btf_id] = name
    fake.prog(20, btf_id=7, name=b"worker")
    fake.prog(21, btf_id=7)
    fake.prog(22)
    fake.map(30, btf_id=7, btf_key_type_id=1, btf_value_type_id=2, name=b"table")
    fake.map(31, btf_id=7, btf_key_type_id=1, btf_value_type_id=2, name=b"twin")
    fake.map(32, btf_id=7, name=b"twin")
    fake.held["btf"] = {7: [(11, "holder"), (12, "other")]}
    return fake


SIZE = len(samples.every_kind())


def test_show() -> None:
    fake = kernel()
    expected = (
        f"1: name [vmlinux]  size {SIZE}B\n"
        f"7: name <anon>  size {SIZE}B  prog_ids 21,20  map_ids 32,31,30\n"
        "\tpids holder(11), other(12)\n"
        f"9: name [a_module]  size {SIZE}B\n"
    )
    assert run("btf", "show", kernel=fake).text == expected
    assert run("btf", kernel=fake).text == expected
    assert run("btf", "list", "id", "9", kernel=fake).text == expected.splitlines(True)[-1]
    assert fake.opened == 0


def test_show_json() -> None:
    shown = run("-j", "btf", "show", kernel=kernel()).json
    assert shown[0] == {
        "id": 1,
        "size": SIZE,
        "prog_ids": [],
        "map_ids": [],
        "kernel": True,
        "name": "vmlinux",
    }
    one = run("-j", "btf", "show", "id", "7", kernel=kernel()).json
    assert one == shown[1]
    assert list(one) == ["id", "size", "prog_ids", "map_ids", "pids", "kernel"]
    assert one["pids"][0] == {"pid": 11, "comm": "holder"}


def test_dump_sources() -> None:
    fake = kernel()
    whole = run("btf", "dump", "id", "7", kernel=fake).text
    assert whole == samples.answers()["every-little"]["raw"]
    assert run("btf", "dump", "prog", "id", "20", kernel=fake).text == whole
    assert run("btf", "dump", "prog", "name", "worker", kernel=fake).text == whole
    key, value = whole.splitlines(True)[:2]
    for words, expected in (
        (["id", "30"], key + value),
        (["id", "30", "kv"], key + value),
        (["name", "table", "key"], key),
        (["id", "30", "value"], value),
        (["id", "30", "all"], whole),
    ):
        assert run("btf", "dump", "map", *words, kernel=fake).text == expected
    assert run("btf", "dump", "id", "1", "root_id", "2", kernel=fake).text == value
    shown = run("-j", "btf", "dump", "id", "7", "root_id", "1", kernel=fake).json
    assert [kind["id"] for kind in shown["types"]] == [1]
    assert fake.opened == 0


@pytest.mark.parametrize(
    "words",
    [
        "dump",
        "dump id",
        "dump id x",
        "dump id 99",
        "dump nothing 1",
        "dump id 7 format",
        "dump id 7 format xml",
        "dump id 7 root_id",
        "dump id 7 root_id x",
        "dump id 7 root_id 999",
        "dump id 7 root_id 1 root_id 1",
        "dump id 7 " + " ".join(f"root_id {number}" for number in range(17)),
        "dump id 7 more",
        "dump map id 30 key root_id 1",
        "dump map name none",
        "dump map name twin",
        "dump map tag 1",
        "dump prog id 99",
        "dump prog tag 0001020304050607",
        "dump file",
        "dump file /nonexistent/file",
        "dump file /dev/null",
        "dump file /tmp",
        "show id",
        "show id x",
        "show id 99",
        "show id 7 more",
        "show name 7",
        "nothing",
    ],
)
def test_refusals(words: str) -> None:
    assert_one_sentence(run("btf", *words.split(), kernel=kernel()))
    result = run("-j", "btf", *words.split(), kernel=kernel())
    assert result.status == 255 and not result.err
    assert list(result.json) == ["error"]


def test_a_base_that_does_not_fit(tmp_path: Path) -> None:
    base = tmp_path / "base.btf"
    builder = BtfBuilder()
    for number in range(200):
        builder.add_int(f"int{number}", 4, 0)
    base.write_bytes(builder.build())
    for words in ("dump id 7", "dump prog id 20", "dump map id 30", "dump id 7 format c"):
        result = run("-B", str(base), "btf", *words.split(), kernel=kernel())
        assert_one_sentence(result, "does not fit its base")


def test_files_of_the_kernel_are_those_of_the_recorded_one() -> None:
    fake = kernel()
    fake.files[VMLINUX] = samples.every_kind()
    expected = run("btf", "dump", "id", "7", kernel=fake).text
    assert run("btf", "dump", "file", VMLINUX, kernel=fake).text == expected
    module = run("btf", "dump", "file", "/sys/kernel/btf/a_module", kernel=fake)
    assert module.status == 0
    result = run("btf", "dump", "file", "/sys/kernel/btf/no_module", kernel=fake)
    assert_one_sentence(result, "no_module")
    del fake.files[VMLINUX]
    assert_one_sentence(run("btf", "dump", "file", VMLINUX, kernel=fake))
    assert_one_sentence(run("-B", VMLINUX, "btf", "dump", "id", "7", kernel=fake))


def test_c_has_no_json() -> None:
    result = run("-j", "btf", "dump", "id", "7", "format", "c", kernel=kernel())
    assert result.status == 255 and "JSON" in result.json["error"]


def test_help() -> None:
    result = run("btf", "help")
    assert result.status == 0 and "root_id" in result.errors
    assert run("-j", "btf", "help").out == b"null\n"


@pytest.mark.skipif(not Path(VMLINUX).exists(), reason="the kernel shows no BTF")
def test_vmlinux(tmp_path: Path) -> None:
    whole = run("btf", "dump", "file", VMLINUX)
    assert whole.status == 0
    assert (
        run("-B", VMLINUX, "btf", "dump", "file", VMLINUX, "root_id", "1").text
        == (whole.text.splitlines(True)[0])
    )
    lines = [line for line in whole.text.splitlines() if line.startswith("[")]
    assert lines[-1].startswith(f"[{len(lines)}] ")
    with open(VMLINUX, "rb") as file:
        assert struct.unpack("<H", file.read(2))[0] == 0xEB9F
    other = tmp_path / "other.btf"
    other.write_bytes(samples.every_kind())
    merged = run("btf", "dump", "file", VMLINUX, "file", str(other), "root_id", "1")
    assert merged.status == 0 and "left out" in merged.errors


@pytest.mark.live
def test_show_of_this_kernel() -> None:
    shown = run("-j", "btf", "show").json
    assert any(entry.get("name") == "vmlinux" for entry in shown)


@pytest.mark.parametrize("option", ["-j", "-p"])
@pytest.mark.parametrize("whole", [0, 1])
def test_a_refusal_among_the_types(
    option: str, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What turns up while the types are written stands in the document, first or not."""
    from pybpftool.btf import rawdump

    def blocks(*_: object) -> Iterator[str]:
        if whole:
            yield '{"id":1}'
        raise FormatError("a name beyond its strings")

    monkeypatch.setattr(rawdump, "json_blocks", blocks)
    done = run(option, "btf", "dump", "id", "7", kernel=kernel())
    assert done.status == 255
    assert done.json["types"][whole:] == [{"error": "a name beyond its strings"}]


@pytest.mark.parametrize("option", ["-j", "-p"])
def test_no_types_at_all(option: str, tmp_path: Path) -> None:
    path = tmp_path / "empty.btf"
    path.write_bytes(BtfBuilder().build())
    done = run(option, "btf", "dump", "file", str(path))
    assert (done.status, done.json) == (0, {"types": []})
