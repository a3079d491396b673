"""Reasons are told once, and the maps that a snapshot cut in one sentence."""

from __future__ import annotations

import struct
from pathlib import Path

from pybpftool.errors import BpfError, CutMap
from pybpftool.inspect.unseen import Unseen, cut_sentence
from tests.support.cli import run
from tests.support.fakekernel import FakeKernel


def test_reasons_come_once_and_in_order() -> None:
    unseen = Unseen(["first"])
    other = unseen.copy()
    for reason in ("second", BpfError("first"), CutMap(7, 0), BpfError("third"), CutMap(7, 0)):
        unseen.add(reason)
    sentence = "the snapshot keeps no elements of map 7"
    assert unseen.sentences() == ["first", "second", "third", sentence]
    assert other.sentences() == ["first"]


def test_cut_maps() -> None:
    assert cut_sentence({}) == ""
    assert cut_sentence({4: 9}) == "the snapshot keeps only the first 9 elements of map 4"
    assert cut_sentence({4: 9, 2: 0, 3: 0, 5: 1}) == (
        "the snapshot keeps no elements of 2 maps (2, 3)"
        " and only a part of the elements of 2 maps (4, 5)"
    )


def test_maps_whose_elements_are_missing_are_told_in_one_line(tmp_path: Path) -> None:
    kernel = FakeKernel()
    for id in range(1, 13):
        kernel.map(id, type=13, key_size=4, value_size=4, max_entries=4)
        kernel.elems[id] = {bytes(4): bytes(4)}
    for id in (21, 22):
        kernel.map(id, type=1, key_size=4, value_size=4, max_entries=4)
        kernel.elems[id] = {struct.pack("=I", n): bytes(4) for n in range(4)}
    kernel.prog(1)
    path = str(tmp_path / "s.zip")
    assert run("snapshot", "save", path, "elements", "none", kernel=kernel).status == 0
    none = "the snapshot keeps no elements of 12 maps (1, 2, 3, 4, 5, 6, 7, 8 and 4 more)"
    for words, sentence in (
        ("owners", none),
        ("doctor full", none.replace("12", "14").replace("4 more", "6 more")),
    ):
        told = [line for line in run("--snapshot", path, *words.split()).errors.splitlines()
                if "elements" in line]  # fmt: skip
        assert told == [f"Not seen: {sentence}"], words
    other = str(tmp_path / "part.zip")
    assert run("snapshot", "save", other, "elements", "8", kernel=kernel).status == 0
    partly = run("--snapshot", other, "doctor", "full").errors
    assert "only a part of the elements of 2 maps (21, 22)\n" in partly
    compared = run("diff", path, other, "--elements", "--only", "map").errors.splitlines()
    assert [line for line in compared if "elements" in line] == [
        "Not compared: map hash_of_maps and 13 other objects: elements:"
        " a snapshot keeps only a part of them, or none"
    ]


def test_what_nobody_can_see_goes_along_apart() -> None:
    found = Unseen()
    found.remarks.append("pid 1")
    assert (found.sentences(), found.copy().remarks) == ([], ["pid 1"])
