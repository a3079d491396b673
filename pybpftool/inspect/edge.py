"""What holds what: the edges of the graph of one kernel's objects."""

from __future__ import annotations

from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Union

    Key = tuple[str, Union[int, str]]


class Edge(Record):
    """``holder`` keeps ``held`` alive; ``how`` says by what, empty where the kinds say it."""

    holder: Key
    held: Key
    how: str = ""


SLOT, ELEMENT = "slot ", "key "
"""How an edge begins that says in which slot, or by which key, a map holds something."""


def slot_of(how: str) -> int:
    """The number of the slot of which an edge says that it holds something; -1 for other edges."""
    number = how[len(SLOT) :] if how.startswith(SLOT) else ""
    return int(number) if number.isdecimal() else -1


def ordered(edges: Iterable[Edge], of_holder: bool = True) -> list[Edge]:
    """Edges in the order of a tree: pins, processes, links, places, maps, programs, BTF."""
    ranks = ("pin", "pid", "link", "kernel", "netns", "dev", "cgroup", "map", "prog", "btf")

    def rank(edge: Edge) -> tuple[int, int, str, int, str]:
        kind, id = edge.holder if of_holder else edge.held
        number = id if isinstance(id, int) else 0
        return ranks.index(kind), number, str(id), slot_of(edge.how), edge.how

    return sorted(edges, key=rank)
