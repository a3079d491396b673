"""Plain tables, through tabulate."""

from __future__ import annotations

from pybpftool.adapters import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def _tabulate() -> Any:
    try:
        import tabulate
    except ImportError as error:
        raise missing("printing tables", "tabulate", error) from None
    return tabulate


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below their headers, columns aligned, without a final newline."""
    text: str = _tabulate().tabulate(rows, headers=headers, tablefmt="simple")
    return text


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """As :func:`table`; ``right`` tells of each column whether it is aligned to the right.

    Cells are texts, in which nothing is taken for a number; colours of terminals take no room.
    """
    module = _tabulate()
    align = ["right" if each else "left" for each in right]
    kept = module.MIN_PADDING
    module.MIN_PADDING = 0  # a column is as wide as its widest cell
    try:
        text: str = module.tabulate(
            rows,
            headers=headers,
            tablefmt="simple",
            disable_numparse=True,
            # Without rows tabulate knows of no column that it could align.
            **({"colalign": align} if rows else {}),
        )
    finally:
        module.MIN_PADDING = kept
    return text
