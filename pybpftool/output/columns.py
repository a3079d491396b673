"""Values as a person reads them in a table: sizes, ages, durations; cells that fit a terminal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NARROWEST = 8  # what a cell is never cut below
_GAP = 2
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"

_AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_DURATIONS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))


def size(count: int) -> str:
    """Bytes: ``296B``, ``4.0K``, ``1.5M``; K is 1024."""
    if -1024 < count < 1024:
        return f"{count}B"
    value = float(count)
    for unit in "KMGTP":
        value /= 1024
        if -1024 < value < 1024 or unit == "P":
            break
    return f"{value:.1f}{unit}" if -10 < value < 10 else f"{value:.0f}{unit}"


def age(seconds: float) -> str:
    """How long ago: the two largest units, ``3d4h``, ``12m5s``, ``0s``."""
    rest = int(max(seconds, 0))
    parts: list[str] = []
    for unit, letter in _AGES:
        count, rest = divmod(rest, unit)
        if count or parts:
            parts.append(f"{count}{letter}")
            if len(parts) == 2:
                break
    return "".join([part for part in parts if part[0] != "0"]) or "0s"


def duration(ns: float) -> str:
    """Nanoseconds with three digits that count: ``420ns``, ``1.25ms``, ``3.1s``."""
    for unit, letter in _DURATIONS:
        if ns >= unit:
            value = ns / unit
            return f"{value:.3g}{letter}" if value < 1000 else f"{value:.0f}{letter}"
    return "0"


def cut(text: str, width: int) -> str:
    """The text, or its beginning with ``…`` where it is longer than ``width``."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def fitted(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows whose columns, two blanks apart, are no wider together than ``width``.

    The widest columns are cut first, none below eight characters: a table of many columns
    may be wider than the terminal all the same.
    """
    widths = [
        max([len(header), *[len(row[at]) for row in rows]]) for at, header in enumerate(headers)
    ]
    room = width - _GAP * (len(headers) - 1)
    while sum(widths) > room:
        widest = max(widths)
        if widest <= _NARROWEST:
            break
        following = max([w for w in widths if w < widest], default=0)
        same = widths.count(widest)
        less = min(widest - max(following, _NARROWEST), -(-(sum(widths) - room) // same))
        widths = [w - less if w == widest else w for w in widths]
    return (
        [cut(header, w) for header, w in zip(headers, widths)],
        [[cut(cell, w) for cell, w in zip(row, widths)] for row in rows],
    )


def bold(text: str) -> str:
    """Text that a terminal shows bold."""
    return f"{_BOLD}{text}{_PLAIN}"


def dim(text: str) -> str:
    """Text that a terminal shows dim."""
    return f"{_DIM}{text}{_PLAIN}"
