"""Tables."""

from __future__ import annotations

import sys

import pytest

from pybpftool.adapters.tabulate import aligned, table
from pybpftool.errors import BpfError


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    text = table(("kind", "objects"), [("prog", 5), ("map", 12345)])
    assert text.splitlines() == [
        "kind      objects",
        "------  ---------",
        "prog            5",
        "map         12345",
    ]


def test_no_rows() -> None:
    assert table(("kind", "objects"), []).splitlines()[0].split() == ["kind", "objects"]


def test_texts_stay_texts_and_columns_are_no_wider_than_their_cells() -> None:
    text = aligned(("id", "name"), [("7", "0012"), ("10", "\x1b[2m-\x1b[0m")], (True, False))
    assert text.splitlines() == ["id  name", "--  ----", " 7  0012", "10  \x1b[2m-\x1b[0m"]
    assert aligned(("id", "name"), [], (True, False)).splitlines()[0] == "id  name"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tabulate", None)
    with pytest.raises(BpfError, match="not installed"):
        aligned(("id",), [], (True,))
