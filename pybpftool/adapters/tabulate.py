"""Plain tables, through tabulate."""

from __future__ import annotations

from pybpftool.adapters import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_MANY = 1000  # rows, from which on the time counts that loading tabulate takes: 60 ms


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
    if len(rows) < 2 or not all("".join(row).isascii() for row in rows):
        return _aligned(headers, rows, right)
    # Tabulate looks at each cell again and again. It draws the widest cell of each column,
    # and the others are put where that one stands.
    columns = [[cell.strip() for cell in column] for column in zip(*rows)]
    seen = [_seen(column) for column in columns]
    widest = [max(column, key=len) for column in seen]
    if len(rows) < _MANY or not "".join(headers).isascii():
        head, rule, *_ = _aligned(headers, [widest], right).split("\n")
    else:
        head, rule = _begun(headers, list(map(len, widest)), right)
    placed = []
    for column, plain, line, is_right in zip(columns, seen, rule.split(), right):
        width = len(line)
        if plain is column:
            placed.append([cell.rjust(width) if is_right else cell.ljust(width) for cell in column])
            continue
        blanks = [" " * (width - len(text)) for text in plain]
        pairs = zip(blanks, column) if is_right else zip(column, blanks)
        placed.append([left + after for left, after in pairs])
    return "\n".join([head, rule, *["  ".join(row).rstrip() for row in zip(*placed)]])


def _begun(headers: Sequence[str], widths: list[int], right: Sequence[bool]) -> tuple[str, str]:
    """The header and the rule above columns of these widths, as tabulate draws them."""
    head, rules = [], []
    for text, plain, width, is_right in zip(headers, _seen(list(headers)), widths, right):
        width = max(width, len(plain))
        blanks = " " * (width - len(plain))
        head.append(blanks + text if is_right else text + blanks)
        rules.append("-" * width)
    return "  ".join(head).rstrip(), "  ".join(rules)


def _seen(column: list[str]) -> list[str]:
    """Cells without what only colours them; the same list where no cell is coloured."""
    if "\x1b" not in "".join(column):
        return column
    import re

    colours = re.compile("\x1b\\[[0-9;]*m").sub
    return [colours("", cell) for cell in column]


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """As :func:`aligned`, all of it by tabulate."""
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
