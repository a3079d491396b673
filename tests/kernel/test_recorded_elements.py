"""Elements of maps in a recording: kept up to a size, asked for as a kernel is asked."""

from __future__ import annotations

import errno
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import BpfError, FormatError, KernelError
from pybpftool.kernel.interface import BpfObject
from pybpftool.kernel.recording import RecordingKernel
from pybpftool.kernel.snapshot import SnapshotKernel
from tests.support.cli import run
from tests.support.fakekernel import FakeKernel

HASH, ARRAY, PROG_ARRAY, LPM_TRIE, QUEUE = 1, 2, 3, 11, 22


def key(number: int) -> bytes:
    return struct.pack("<I", number)


def recorded(
    kernel: FakeKernel, path: Path, element_bytes: int | None = None
) -> tuple[SnapshotKernel, BpfObject]:
    """The recording of a kernel and its map 1."""
    recording = RecordingKernel(kernel, element_bytes)
    for obj in recording.objects("map"):
        try:
            for _ in recording.elements(obj):
                pass
        except KernelError:
            pass
    (path / "s.zip").write_bytes(recording.archive())
    replayed = SnapshotKernel.load(str(path / "s.zip"))
    return replayed, replayed.open("map", 1)


def made(type: int, elements: dict[bytes, bytes], **fields: Any) -> FakeKernel:
    kernel = FakeKernel()
    key_size = len(next(iter(elements), b"four"))
    kernel.map(1, type=type, key_size=key_size, value_size=4, max_entries=5, **fields)
    kernel.elems[1] = elements
    return kernel


FIVE = {key(number): key(number * 7) for number in (9, 4, 1, 8, 2)}


def test_as_the_kernel_listed_them(tmp_path: Path) -> None:
    kernel = made(HASH, FIVE)
    replayed, map = recorded(kernel, tmp_path)
    batches = list(replayed.elements(map))
    assert [batch.count for batch in batches] == [2, 2, 1]
    assert b"".join(batch.keys for batch in batches) == b"".join(FIVE)
    found = [replayed.next_key(map, None)]
    while len(found) < 5:
        found.append(replayed.next_key(map, found[-1]))
    assert found == list(FIVE)
    for wanted, value in FIVE.items():
        assert replayed.lookup(map, wanted) == replayed.map_value(map, wanted) == value
    assert replayed.next_key(map, key(77)) == found[0]
    for ask, at in ((replayed.next_key, found[-1]), (replayed.lookup, key(77))):
        with pytest.raises(KernelError) as refused:
            ask(map, at)
        assert refused.value.errno == errno.ENOENT


@pytest.mark.parametrize(("room", "kept"), [(40, 5), (39, 4), (24, 3), (8, 1), (7, 0), (0, 0)])
def test_cut_at_a_size(tmp_path: Path, room: int, kept: int) -> None:
    replayed, map = recorded(made(HASH, FIVE), tmp_path, room)
    assert replayed.cut_maps() == ({} if kept == 5 else {1: kept})
    found = b""
    try:
        for batch in replayed.elements(map):
            found += batch.keys
    except KernelError as error:
        assert kept < 5
        part = f"only the first {kept}" if kept else "no"
        assert str(error) == f"the snapshot keeps {part} elements of map 1"
        # What is not kept may have been there.
        with pytest.raises(KernelError, match="the snapshot keeps"):
            replayed.lookup(map, key(2))
    else:
        assert kept == 5
    assert found == b"".join(list(FIVE)[:kept])


def test_the_commands_say_what_is_cut(tmp_path: Path) -> None:
    path = str(tmp_path / "s.zip")
    kernel = made(HASH, FIVE)
    result = run("snapshot", "save", path, "elements", "24", kernel=kernel)
    sentence = b"he snapshot keeps only the first 3 elements of map 1\n"
    assert (result.status, result.out, result.err) == (0, b"", b"T" + sentence)
    assert b"\nt" + sentence in run("snapshot", "show", path).out
    assert run("-j", "snapshot", "show", path).json["cut_maps"] == [{"id": 1, "elements": 3}]
    for words in ((), ("elements", "all"), ("elements", "1K"), ("elements", "40")):
        result = run("snapshot", "save", path, *words, kernel=kernel)
        assert (result.status, result.err) == (0, b"")
        assert "cut_maps" not in run("-j", "snapshot", "show", path).json
    assert run("snapshot", "save", path, "elements", "none", kernel=kernel).status == 0
    replayed = SnapshotKernel.load(path)
    with pytest.raises(KernelError, match="the snapshot keeps no elements of map 1"):
        list(replayed.elements(replayed.open("map", 1)))


def test_who_stops_asking_has_a_part(tmp_path: Path) -> None:
    recording = RecordingKernel(made(HASH, FIVE))
    (map,) = recording.objects("map")
    next(iter(recording.elements(map)))
    (tmp_path / "s.zip").write_bytes(recording.archive())
    assert SnapshotKernel.load(str(tmp_path / "s.zip")).cut_maps() == {1: 2}


def test_indexes_are_all_there(tmp_path: Path) -> None:
    """An array of programs lists its empty slots as keys, too."""
    replayed, map = recorded(made(PROG_ARRAY, {key(3): key(17)}), tmp_path)
    following = [replayed.next_key(map, at) for at in (None, key(0), key(3), key(5), key(1 << 31))]
    assert following == [key(0), key(1), key(4), key(0), key(0)]
    for ask, at in ((replayed.next_key, key(4)), (replayed.lookup, key(0))):
        with pytest.raises(KernelError) as refused:
            ask(map, at)
        assert refused.value.errno == errno.ENOENT


def test_the_longest_prefix(tmp_path: Path) -> None:
    def prefix(length: int, *address: int) -> bytes:
        return key(length) + bytes(address)

    elements = {
        prefix(8, 10, 0, 0, 0): key(1),
        prefix(16, 10, 1, 99, 99): key(2),
        prefix(0, 0, 0, 0, 0): key(3),
    }
    replayed, map = recorded(made(LPM_TRIE, elements), tmp_path)
    for address, length, found in (
        ((10, 1, 2, 3), 32, 2),
        ((10, 2, 2, 3), 32, 1),
        ((10, 1, 0, 0), 12, 1),
        ((11, 0, 0, 0), 32, 3),
    ):
        assert replayed.lookup(map, prefix(length, *address)) == key(found)
    assert replayed.next_key(map, prefix(16, 10, 1, 0, 0)) == prefix(0, 0, 0, 0, 0)
    assert replayed.next_key(map, prefix(17, 10, 1, 0, 0)) == prefix(8, 10, 0, 0, 0)
    with pytest.raises(KernelError, match="No such file"):
        replayed.lookup(map, prefix(33, 10, 1, 2, 3))


def test_keys_of_another_size(tmp_path: Path) -> None:
    for type in (HASH, ARRAY, LPM_TRIE):
        replayed, map = recorded(made(type, {}), tmp_path)
        for ask in (replayed.lookup, replayed.next_key):
            with pytest.raises(BpfError, match="a key of map 1 has 4 bytes, not 3"):
                ask(map, b"abc")


def test_what_a_queue_gives_next(tmp_path: Path) -> None:
    kernel = FakeKernel()
    kernel.map(1, type=QUEUE, key_size=0, value_size=4, max_entries=5)
    kernel.next[1] = b"next"
    path = str(tmp_path / "s.zip")
    assert run("snapshot", "save", path, kernel=kernel).status == 0
    replayed = SnapshotKernel.load(path)
    assert replayed.lookup(replayed.open("map", 1), None) == b"next"


@pytest.mark.parametrize(
    "answer",
    [
        None, 5, [], {}, {"batches": []}, {"batches": 5, "end": None}, {"batches": [], "end": 5},
        {"batches": [], "end": {}}, {"batches": [], "end": {"errno": "x"}},
        {"batches": [5], "end": None}, {"batches": [[1, 2, 3]], "end": None},
        {"batches": [[{"hex": "00"}, {"hex": "00"}, 1, 0]], "end": None},
        {"batches": [[{"hex": "00000000"}, {"hex": "00"}, 1 << 60, 0]], "end": None},
        {"batches": [[{"hex": "00000000"}, {"hex": "00"}, 1, None]], "end": None},
        {"batches": [[{"hex": "0000000000000000"}, {"hex": "000000"}, 2, 0]], "end": None},
    ],
)  # fmt: skip
def test_damaged(tmp_path: Path, answer: Any) -> None:
    replayed, _ = recorded(made(HASH, FIVE), tmp_path)
    with (
        zipfile.ZipFile(tmp_path / "s.zip") as whole,
        zipfile.ZipFile(tmp_path / "damaged.zip", "w") as damaged,
    ):
        content = json.loads(whole.read("answers.json"))
        content["answers"]["elements(map:1)"] = answer
        for name in whole.namelist():
            if name != "answers.json":
                damaged.writestr(name, whole.read(name))
        damaged.writestr("answers.json", json.dumps(content))
    replayed = SnapshotKernel.load(str(tmp_path / "damaged.zip"))
    map = replayed.open("map", 1)
    for ask in (
        lambda: list(replayed.elements(map)),
        lambda: replayed.lookup(map, key(1)),
        lambda: replayed.next_key(map, None),
    ):
        with pytest.raises((FormatError, KernelError), match=r"damaged|keeps no elements"):
            ask()
