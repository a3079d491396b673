"""Where the nodes of the page's graph stand: hooks, programs, maps and owners in four columns."""

from __future__ import annotations

from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owners import Graph

HOOK, PROG, MAP, OWNER = range(4)
NAMES = ("hooks", "programs", "maps", "owners")
_SWEEPS = 2
MOST_LINES = 12_000
"""Lines that a page draws: more are neither read by a person nor moved by a browser."""


class Node(Record):
    """A box: ``name`` is unique on the page, ``text`` what stands in it, ``title`` all of it."""

    name: str
    column: int
    text: str
    title: str


class Line(Record):
    """A line between two boxes, by their names; ``kind`` says how it is drawn."""

    start: str
    end: str
    kind: str = ""


class Layout:
    """Boxes in the order of their columns, and the lines between them.

    Of more than :data:`MOST_LINES` the first ones of each box are kept; ``left_out`` counts the
    others.
    """

    __slots__ = ("columns", "left_out", "lines")

    def __init__(self, nodes: Sequence[Node], lines: Sequence[Line]) -> None:
        self.lines = _fewer(list(dict.fromkeys(lines)))
        self.left_out = len(set(lines)) - len(self.lines)
        self.columns: list[list[Node]] = [[] for _ in NAMES]
        for node in nodes:
            self.columns[node.column].append(node)
        self._untangle()

    def _untangle(self) -> None:
        """Put boxes near the middle of those that they have lines to, column after column."""
        beside: dict[str, list[str]] = {}
        for line in self.lines:
            beside.setdefault(line.start, []).append(line.end)
            beside.setdefault(line.end, []).append(line.start)
        places: dict[str, float] = {}
        for column in self.columns:
            places.update({node.name: at / len(column) for at, node in enumerate(column)})
        for _ in range(_SWEEPS):
            for number in (PROG, MAP, OWNER, HOOK):
                nodes = self.columns[number]
                if number != PROG:  # programs stay by their owners
                    middles = {
                        node.name: _middle([places[name] for name in beside.get(node.name, ())])
                        for node in nodes
                    }
                    nodes.sort(key=lambda node: middles[node.name])  # noqa: B023
                places.update({node.name: at / len(nodes) for at, node in enumerate(nodes)})


def _fewer(lines: list[Line]) -> list[Line]:
    """Not more than :data:`MOST_LINES`: of every box the first ones, as many as there is room."""
    if len(lines) <= MOST_LINES:
        return lines
    counts: dict[str, int] = {}
    ranked = []
    for at, line in enumerate(lines):
        rank = counts[line.start] = counts.get(line.start, 0) + 1
        ranked.append((rank, at))
    ranked.sort()
    return [lines[at] for at in sorted([at for _, at in ranked[:MOST_LINES]])]


def _middle(places: list[float]) -> float:
    return sum(places) / len(places) if places else 1.0


def of_graph(graph: Graph) -> Layout:
    """The layout of a machine."""
    from pybpftool.inspect.ownership import NOBODY, owner_of

    nodes: dict[str, Node] = {}
    lines: list[Line] = []

    # Asked for once: what was refused may be told when it is asked for again.
    items = {kind: graph.items(kind) for kind in ("prog", "map")}
    progs, maps = items["prog"], items["map"]

    def owners(item: Item) -> tuple[str, ...]:
        return owner_of(graph, item) or (NOBODY,)

    def owned(name: str, names: tuple[str, ...]) -> None:
        for owner in names:
            key = f"owner-{owner}"
            nodes.setdefault(key, Node(key, OWNER, owner, owner))
            lines.append(Line(name, key, "owner"))

    owners_of_map = {id: frozenset(owners(item)) for id, item in maps.items()}
    order = sorted(progs.values(), key=lambda item: (owner_of(graph, item), item.id))
    for item in order:
        name = f"prog-{item.id}"
        nodes[name] = Node(name, PROG, item.name or item.type, f"{item.id} {item.type} {item.name}")
        used = [id for id in item.record.map_ids if id in maps]
        lines += [Line(name, f"map-{id}") for id in used]
        own = owners(item)
        theirs = [owners_of_map[id] for id in used]
        if not all(any(owner in each for each in theirs) for owner in own):
            owned(name, own)  # else the lines go on from its maps
    for id, item in maps.items():
        name = f"map-{id}"
        nodes[name] = Node(name, MAP, item.name or item.type, f"{id} {item.type} {item.name}")
        owned(name, owners(item))
        for edge in graph.down.get(("map", id), ()):
            kind, held = edge.held
            if held in items.get(kind, ()):
                lines.append(Line(name, f"{kind}-{held}", "slot"))
    for number, row in enumerate(graph.attachments.rows):
        if row.is_detached:
            continue
        place = row.place()
        key = f"hook-{row.hook} {place}" if place else f"hook-{row.hook} {number}"
        nodes.setdefault(key, Node(key, HOOK, f"{row.hook} {place}".strip(), row.text()))
        if row.prog_id in progs:
            lines.append(Line(key, f"prog-{row.prog_id}"))
    known = [line for line in lines if line.start in nodes and line.end in nodes]
    return Layout(list(nodes.values()), known)
