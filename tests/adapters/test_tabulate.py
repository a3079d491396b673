"""Tables."""

from __future__ import annotations

from pybpftool.adapters.tabulate import table


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
