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


def ordered(edges: Iterable[Edge], of_holder: bool = True) -> list[Edge]:
    """Edges in the order of a tree: pins, processes, links, places, maps, programs, BTF."""
    ranks = ("pin", "pid", "link", "kernel", "netns", "dev", "cgroup", "map", "prog", "btf")

    def rank(edge: Edge) -> tuple[int, int, str, str]:
        kind, id = edge.holder if of_holder else edge.held
        return ranks.index(kind), id if isinstance(id, int) else 0, str(id), edge.how

    return sorted(edges, key=rank)
