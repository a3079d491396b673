"""The graph as SVG, which is readable as it is and searched by the page's script."""

from __future__ import annotations

from pybpftool.output.htmltext import html_text
from pybpftool.page.layout import NAMES, OWNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.page.layout import Layout, Node

_WIDTHS = (250, 190, 170, 220)
_GAP = 90
_ROW, _BOX, _TOP = 24, 18, 34
_LETTERS = 7  # pixels a letter, rather too many


def svg(layout: Layout) -> str:
    """The drawing."""
    starts = [sum(_WIDTHS[:at]) + _GAP * at for at in range(len(_WIDTHS))]
    rows = max((len(column) for column in layout.columns), default=0)
    height = _TOP + rows * _ROW + 6
    width = starts[-1] + _WIDTHS[-1]
    numbers: dict[str, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for at, column in enumerate(layout.columns):
        for row, node in enumerate(column):
            numbers[node.name] = len(numbers)
            # Short columns are spread over the height, so that lines stay short.
            step = _ROW if len(column) * 2 > rows else max(_ROW, rows * _ROW // (len(column) + 1))
            places[node.name] = at, _TOP + row * step
    parts = [
        f'<svg id="graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img" aria-label="hooks, programs, maps, owners">'
    ]
    for at, name in enumerate(NAMES):
        parts.append(f'<text class="head" x="{starts[at]}" y="16">{name}</text>')
    for line in layout.lines:
        kind = f' class="{line.kind}"' if line.kind else ""
        ends = f'data-a="{numbers[line.start]}" data-b="{numbers[line.end]}"'
        path = _path(starts, places[line.start], places[line.end])
        parts.append(f'<path{kind} {ends} d="{path}"/>')
    for at, column in enumerate(layout.columns):
        for node in column:
            parts.append(_box(node, numbers[node.name], starts[at], places[node.name][1]))
    parts.append("</svg>")
    return "\n".join(parts)


def _path(starts: list[int], start: tuple[int, int], end: tuple[int, int]) -> str:
    """A line from one box to another; each is (column, y)."""
    (column, y), (other, below) = start, end
    y, below = y + _BOX // 2, below + _BOX // 2
    if column < other:
        x, to = starts[column] + _WIDTHS[column], starts[other]
        bend = (to - x) // 2
        return f"M{x} {y}C{x + bend} {y} {to - bend} {below} {to} {below}"
    # Back to a program, or to a map in the same column.
    x, to = starts[column], starts[other] + (_WIDTHS[other] if column != other else 0)
    turn = x - _GAP // 2
    return f"M{x} {y}C{turn} {y} {turn} {below} {to} {below}"


def _box(node: Node, number: int, x: int, y: int) -> str:
    width = _WIDTHS[node.column]
    room = (width - 10) // _LETTERS
    text = node.text if len(node.text) <= room else node.text[: room - 1] + "…"
    box = (
        f'<g class="node c{node.column}" data-n="{number}" data-t="{html_text(node.title)}">'
        f"<title>{html_text(node.title)}</title>"
        f'<rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="4"/>'
        f'<text x="{x + 6}" y="{y + 13}">{html_text(text)}</text></g>'
    )
    if node.column in (0, OWNER):
        return box
    return f'<a href="#{node.name}">{box}</a>'
