"""Tables."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.adapters import tabulate
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


_CELLS = st.text("abc 01-é", max_size=6) | st.sampled_from(
    ["\x1b[2m-\x1b[0m", "\x1b[1;31mword\x1b[0m", "a much longer cell"]
)


@given(st.data(), st.integers(1, 4))
def test_rows_are_put_where_tabulate_puts_them(data: st.DataObject, width: int) -> None:
    row = st.lists(_CELLS, min_size=width, max_size=width)
    rows = data.draw(st.lists(row, min_size=2, max_size=8))
    right = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    headers = [f"h{number}" for number in range(width)]
    assert aligned(headers, rows, right) == tabulate._aligned(headers, rows, right)


_HEADERS = st.text("abc 01-é", max_size=8).map("h{}".format) | st.sampled_from(
    ["\x1b[1mid\x1b[0m", "owner"]
)


@given(st.data(), st.integers(1, 4))
def test_a_large_table_begins_as_tabulate_begins_it(data: st.DataObject, width: int) -> None:
    row = st.lists(_CELLS, min_size=width, max_size=width)
    rows = data.draw(st.lists(row, min_size=2, max_size=4)) * 2
    right = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    headers = data.draw(st.lists(_HEADERS, min_size=width, max_size=width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabulate, "_MANY", 2)
        assert aligned(headers, rows, right) == tabulate._aligned(headers, rows, right)


def test_a_large_table_does_not_wait_for_tabulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tabulate", None)
    lines = aligned(("id", "name"), [(str(n), "x") for n in range(5000)], (True, False)).split("\n")
    assert lines[:3] == ["  id  name", "----  ----", "   0  x"] and lines[-1] == "4999  x"
