"""The control flow of a function as SVG: its basic blocks below one another, jumps beside them.

Blocks stand in the order of the code, so that going on to the next one is the line straight
down. Jumps run at the right, those back at the left; all jumps to one block share a
line, and lines side by side take lanes of their own, the short ones near the blocks. So a
drawing costs what its blocks and jumps cost.
"""

from __future__ import annotations

from pybpftool.cfg.graph import EXIT, FIRST_BLOCK
from pybpftool.output.htmltext import html_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.cfg.graph import Function

MOST_BLOCKS = 150
"""Blocks of a function that are drawn."""
_MOST_LANES = 20  # beside one another; further lines share the outermost one
_ROW, _BOX, _TOP = 25, 18, 4
_WIDTH, _LETTERS = 380, 52
_LANE, _ARROW = 7, 14
# Of the edges that leave or meet a box: above and below its middle.
_OUT, _IN = 4, -4
_STRAIGHT = ("next", "false")
_CLASSES = {"true": "t", "indirect": "i"}


def flow_svg(
    function: Function, texts: Sequence[str], anchor: Callable[[int], str] | None = None
) -> str:
    """The drawing, empty for a function of one block.

    :param texts: the text of each instruction of the program, by slot.
    :param anchor: the name of the place on the page where a slot's code stands, empty for none.
    """
    count = len(function.heads)
    if count < 2:
        return ""
    drawn = min(count, MOST_BLOCKS)
    rows = drawn + (count > drawn)
    straight, jumps = _edges(function, drawn)
    lanes = {side: _lanes(jumps[side]) for side in jumps}
    left = _ARROW + _LANE * (1 + max(lanes[-1].values(), default=-1))
    width = left + _WIDTH + _ARROW + _LANE * (1 + max(lanes[1].values(), default=-1))
    height = _TOP + rows * _ROW
    parts = [
        f'<svg class="flow" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="control flow of {count} blocks">'
    ]
    if straight:
        x = left + 20
        steps = [f"M{x} {_TOP + at * _ROW + _BOX}v{_ROW - _BOX}" for at in straight]
        parts.append(f'<path d="{"".join(steps)}"/>')
    for side, edge in ((-1, left), (1, left + _WIDTH)):
        for (target, kind), sources in sorted(jumps[side].items()):
            lane = lanes[side][target]
            path = _path(sources, target, edge, edge + side * (_ARROW + lane * _LANE), side)
            name = f' class="{kind}"' if kind else ""
            parts.append(f'<path{name} d="{path}"/>')
    reached = function.reached()
    ends = {source for source, target, _ in function.arcs if target == EXIT}
    for at in range(drawn):
        number = at + FIRST_BLOCK
        kind = "b" + (" x" if number in ends else "") + ("" if reached[number] else " u")
        parts.append(_box(function, number, texts, kind, left, _TOP + at * _ROW, anchor))
    if rows > drawn:
        y = _TOP + drawn * _ROW + 13
        more = f"{count - drawn} blocks more, from instruction {function.heads[drawn]} on"
        parts.append(f'<text x="{left + 6}" y="{y}">{more}</text>')
    parts.append("</svg>")
    return "\n".join(parts)


def _edges(
    function: Function, drawn: int
) -> tuple[list[int], dict[int, dict[tuple[int, str], list[int]]]]:
    """The rows that lead to the next one, and of each side (target row, class) -> source rows.

    What leads to a block that is not drawn leads to the row below all others.
    """
    straight: list[int] = []
    jumps: dict[int, dict[tuple[int, str], list[int]]] = {-1: {}, 1: {}}
    for source, target, kind in function.arcs:
        if source < FIRST_BLOCK or target == EXIT:
            continue
        at, to = source - FIRST_BLOCK, min(target - FIRST_BLOCK, drawn)
        if at >= drawn:
            continue
        if kind in _STRAIGHT and to == at + 1:
            straight.append(at)
            continue
        side = 1 if to > at else -1
        # A compiler may have turned a loop: what leads back in the code stands out, in any case.
        name = _CLASSES.get(kind, "") if side > 0 else "l"
        jumps[side].setdefault((to, name), []).append(at)
    return straight, jumps


def _lanes(jumps: dict[tuple[int, str], list[int]]) -> dict[int, int]:
    """Target row -> the lane of the line that leads there, 0 next to the blocks."""
    # In halves of rows: a line comes in at the upper half of a box and leaves at the lower one.
    spans: dict[int, tuple[int, int]] = {}
    for (target, _), sources in jumps.items():
        first, last = spans.get(target, (2 * target, 2 * target))
        spans[target] = min(first, 2 * min(sources) + 1), max(last, 2 * max(sources) + 1)
    taken: list[list[tuple[int, int]]] = []
    found = {}
    for target in sorted(spans, key=lambda row: (spans[row][1] - spans[row][0], row)):
        first, last = spans[target]
        free = (
            lane
            for lane, others in enumerate(taken)
            if all(end < first or start > last for start, end in others)
        )
        lane = next(free, min(len(taken), _MOST_LANES - 1))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((first, last))
        found[target] = lane
    return found


def _path(sources: list[int], target: int, edge: int, lane: int, side: int) -> str:
    """Lines from boxes to a lane, along it, and with a head to the box of the target."""
    leaving = [_TOP + at * _ROW + _BOX // 2 + _OUT for at in sources]
    end = _TOP + target * _ROW + _BOX // 2 + _IN
    ways = [f"M{edge} {y}H{lane}" for y in leaving]
    first, last = min(end, *leaving), max(end, *leaving)
    ways.append(
        f"M{lane} {first}V{last}M{lane} {end}H{edge}m{4 * side} -3l{-4 * side} 3l{4 * side} 3"
    )
    return "".join(ways)


def _box(
    function: Function,
    number: int,
    texts: Sequence[str],
    kind: str,
    x: int,
    y: int,
    anchor: Callable[[int], str] | None,
) -> str:
    begin, end = function.bounds(number)
    text = _label(texts, begin, end)
    room = text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
    title = f"<title>{html_text(text)}</title>" if room != text else ""
    box = (
        f'<g class="{kind}">{title}<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_BOX}" rx="3"/>'
        f'<text x="{x + 6}" y="{y + 13}">{html_text(room)}</text></g>'
    )
    name = anchor(begin) if anchor is not None else ""
    return f'<a href="#{name}">{box}</a>' if name else box


def _label(texts: Sequence[str], begin: int, end: int) -> str:
    """``12-18 call map_lookup_elem; if r0 == 0x0``: where it is, whom it calls, how it ends."""
    words = []
    last = ""
    for slot in range(begin, end):
        text = texts[slot].partition(") ")[2] or texts[slot]
        last = text or last
        if text.startswith("call "):
            name, _, rest = text[len("call ") :].partition("#")
            words.append(f"call {rest if name.startswith('pc') and rest else name}")
    if last.startswith(("if ", "may_goto", "exit", "gotox")):
        words.append(last.partition(" goto ")[0])
    place = str(begin) if end == begin + 1 else f"{begin}-{end - 1}"
    return f"{place} {'; '.join(words)}".rstrip()
