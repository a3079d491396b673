"""Sizes, ages, durations; tables that fit a width."""

from __future__ import annotations

import pytest

from pybpftool.output.columns import age, cut, duration, fitted, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (10240, "10K"), (1536 << 10, "1.5M"),
     (1 << 40, "1.0T"), (1 << 63, "8192P")],
)  # fmt: skip
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (725, "12m5s"), (86400 * 3 + 3600 * 4, "3d4h"),
     (86400 + 59, "1d"), (3600 * 23 + 1800, "23h30m")],
)  # fmt: skip
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0"), (420, "420ns"), (1250, "1.25us"), (1_250_000, "1.25ms"), (3_100_000_000, "3.1s"),
     (5_000_000_000_000, "5000s")],
)  # fmt: skip
def test_duration(ns: float, text: str) -> None:
    assert duration(ns) == text


def test_cut() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 4) == "abc…"
    assert cut("abc", 0) == "…"


def test_the_widest_columns_give_way() -> None:
    headers, rows = fitted(["id", "name", "owner"], [["1", "n" * 30, "o" * 50]], 52)
    assert headers == ["id", "name", "owner"]
    assert [len(cell) for cell in rows[0]] == [1, 23, 23]
    assert rows[0][1].endswith("n…")
    # None below eight characters: such a table is wider than the terminal.
    _, rows = fitted(["a", "b"], [["x" * 20, "y" * 5]], 5)
    assert [len(cell) for cell in rows[0]] == [8, 5]
    assert fitted(["a"], [["x"]], 80) == (["a"], [["x"]])
