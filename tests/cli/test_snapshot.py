"""``snapshot save`` and ``show``, ``--snapshot``: a recording answers as the kernel did."""

from __future__ import annotations

import errno
import struct
import zipfile
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described, add_prog

pytestmark = pytest.mark.usefixtures("utc")

COMMANDS = [
    "prog show",
    "-f prog show",
    "prog show id 1",
    "prog show name first",
    "prog show tag 0001020304050607",
    "-f prog show pinned /pin/first",
    "prog show id 99",
    "prog show pinned /pin/none",
    "prog show name nobody",
    "prog dump xlated id 1",
    "prog dump xlated id 1 opcodes linum",
    "prog dump xlated id 2",
    "prog dump xlated id 3",
    "prog dump xlated tag 0001020304050607",
]


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    add_described(kernel, 1)
    add_prog(kernel, 2, bytes.fromhex("85000000000100009500000000000000"), load_time=5, ifindex=4)
    kernel.prog(3, orphaned=True, memlock=None)
    kernel.prog(4, name=b"a_name_of_fifte", btf_id=9, nr_func_info=1, maps=(7,))
    kernel.map(7, type=2, key_size=4, value_size=4, max_entries=1, name=b".rodata", btf_id=9,
               btf_value_type_id=1)  # fmt: skip
    kernel.arrays[4]["func_info"] = struct.pack("=II", 0, 999)
    kernel.names[4] = "eth0"
    kernel.pins["prog"] = {1: ["/pin/first", "/pin/umlaut_\u00e4", "/pin/\udcff"]}
    kernel.held["prog"] = {1: [(5, "holder\udcff")], 2: [(5, "holder"), (6, "")]}
    kernel.files["/proc/kallsyms"] = b"ffffffff81000000 T __bpf_call_base\n"
    kernel.files["/proc/sys/kernel/kptr_restrict"] = KernelError.of("refused", errno.EACCES)
    return kernel


@pytest.fixture
def saved(kernel: FakeKernel, tmp_path: Path) -> str:
    path = str(tmp_path / "saved.zip")
    result = run("snapshot", "save", path, kernel=kernel)
    assert (result.status, result.out, result.err) == (0, b"", b"")
    assert kernel.opened == 0
    return path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", [[], ["-j"], ["-p"]])
def test_a_recording_answers_as_the_kernel_did(
    kernel: FakeKernel, saved: str, command: str, form: list[str]
) -> None:
    live = run(*form, *command.split(), kernel=kernel)
    replayed = run("--snapshot", saved, *form, *command.split())
    assert (replayed.status, bool(replayed.err)) == (live.status, bool(live.err))
    if live.status == 0:
        assert replayed.out == live.out
        assert live.out
    else:
        assert b"error" in replayed.out + replayed.err.lower()


def test_a_snapshot_may_be_recorded_from_a_snapshot(saved: str, tmp_path: Path) -> None:
    again = str(tmp_path / "again.zip")
    assert run("--snapshot", saved, "snapshot", "save", again).status == 0
    for command in COMMANDS:
        first = run("--snapshot", saved, *command.split())
        assert run("--snapshot", again, *command.split()) == first


def test_in_json_saving_says_null(kernel: FakeKernel, tmp_path: Path) -> None:
    result = run("-j", "snapshot", "save", str(tmp_path / "s.zip"), kernel=kernel)
    assert (result.status, result.out) == (0, b"null\n")


def test_show(saved: str) -> None:
    result = run("snapshot", "show", saved)
    assert result.status == 0
    lines = result.text.splitlines()
    assert lines[0] == "Linux 0.0-fake x86_64"
    assert lines[1].startswith("recorded 20")
    rows = {name.strip(): count for name, _, count in (line.rpartition(" ") for line in lines)}
    assert (rows["programs"], rows["maps"], rows["pins"], rows["processes"]) == ("4", "1", "3", "2")
    assert "refused: file: refused: Permission denied (and" not in result.text
    assert "refused: file: refused: Permission denied" in lines
    answer = run("-j", "snapshot", "show", saved).json
    assert "host" not in answer
    assert (answer["release"], answer["machine"]) == ("0.0-fake", "x86_64")
    assert answer["objects"] == {"prog": 4, "map": 1, "link": 0, "btf": 0}
    assert answer["counts"]["elements"] == answer["counts"]["iterators"] == 0
    assert isinstance(answer["recorded_at"], int)
    assert {"question": "file", "errno": errno.EACCES, "count": 1,
            "error": "refused: Permission denied"} in answer["refused"]  # fmt: skip
    assert run("-p", "snapshot", "show", saved).json == answer


def test_show_without_elements(kernel: FakeKernel, tmp_path: Path) -> None:
    path = str(tmp_path / "none.zip")
    assert run("snapshot", "save", path, "elements", "none", kernel=kernel).err == b""
    assert "the snapshot keeps no elements of maps\n" in run("snapshot", "show", path).text
    assert "elements" not in run("-j", "snapshot", "show", path).json["counts"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "'show PATH' or 'save PATH'"),
        ("save", "the path of the snapshot"),
        ("show", "the path of the snapshot"),
        ("show a b", "unexpected argument 'b'"),
        ("save a b", "expected 'elements'"),
        ("save a elements", "'none', 'all' or how many bytes"),
        ("save a elements many", "cannot read 'many' as a size"),
        ("save a elements 1.5", "cannot read '1.5' as a size"),
        ("save a elements K", "cannot read 'K' as a size"),
        ("save a elements all b", "unexpected argument 'b'"),
        ("nonsense", "unknown command 'nonsense' for 'snapshot'"),
        ("show /nonexistent", "/nonexistent"),
        ("show /", "the folder '/' is not a snapshot: it has no manifest.json"),
        ("show /proc/self/fd", "the folder '/proc/self/fd' is not a snapshot"),
        ("save /proc", "the folder is not empty"),
        ("save /proc/x/", "No such file or directory"),
        ("save /nonexistent/s/", "No such file or directory"),
        ("show /dev/null", "not a snapshot"),
        ("save /nonexistent/s.zip", "No such file or directory"),
    ],
)
def test_wrong_words(kernel: FakeKernel, words: str, part: str) -> None:
    assert_one_sentence(run("snapshot", *words.split(), kernel=kernel), part)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_answers_as_a_file(
    kernel: FakeKernel, saved: str, tmp_path: Path, is_there: bool
) -> None:
    folder = tmp_path / "folder"
    if is_there:
        folder.mkdir()
    path = str(folder) if is_there else f"{folder}/"
    assert run("snapshot", "save", path, kernel=kernel).err == b""
    assert {"manifest.json", "answers.json"} <= {each.name for each in folder.iterdir()}
    for each in folder.rglob("*"):
        assert each.stat().st_mode & 0o77 == 0
    for words in (*(command.split() for command in COMMANDS), ("owners",), ("doctor",)):
        assert run("--snapshot", str(folder), *words) == run("--snapshot", saved, *words)
    assert run("snapshot", "show", path).out == run("snapshot", "show", saved).out
    assert run("diff", saved, str(folder)) == run("diff", saved, saved)
    assert run("diff", str(folder), saved) == run("diff", saved, saved)
    assert run("feature", "diff", str(folder), saved) == run("feature", "diff", saved, saved)
    again = str(tmp_path / "again.zip")
    assert run("--snapshot", str(folder), "snapshot", "save", again).status == 0
    assert Path(again).read_bytes() == Path(saved).read_bytes()
    # It is never written into a second time.
    assert_one_sentence(run("snapshot", "save", path, kernel=kernel), "the folder is not empty")
    (folder / "manifest.json").unlink()
    assert_one_sentence(run("--snapshot", path, "prog"), f"the folder '{path}' is not a snapshot")


def test_an_unpacked_file_is_a_snapshot(saved: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        archive.extractall(tmp_path / "x")
    for words in ("prog show", "map dump id 7", "prog dump xlated id 1"):
        assert run("--snapshot", str(tmp_path / "x"), *words.split()) == run(
            "--snapshot", saved, *words.split()
        )


def test_a_folder_in_a_place_where_none_can_be(kernel: FakeKernel, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("snapshot", "save", f"{tmp_path}/file/", kernel=kernel)
    assert_one_sentence(result, "cannot write the folder", "Not a directory")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_the_kernel_refuses_is_recorded_as_refused(kernel: FakeKernel, saved: str) -> None:
    kernel.arrays[1]["xlated"] = None
    live = run("prog", "dump", "xlated", "id", "1", kernel=kernel)
    assert_one_sentence(live, "kptr_restrict (unreadable)")


def test_a_kernel_that_refuses_everything(tmp_path: Path) -> None:
    class Refusing(FakeKernel):
        def objects(self, kind: str) -> object:  # type: ignore[override]
            raise KernelError("cannot list programs: this needs X", errno.EPERM)

    result = run("snapshot", "save", str(tmp_path / "s.zip"), kernel=Refusing())
    assert_one_sentence(result, "this needs X")
    assert list(tmp_path.iterdir()) == []
