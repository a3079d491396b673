"""How much belongs to whom: programs, maps, links, memory and run time by owner.

Each object counts once: one that several own stands in a row of theirs together.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.items import KINDS
from pybpftool.inspect.owners import directory
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owners import Graph

NOBODY = "nobody that can be seen"
_PLACES = ("pin:", "dev:", "cgroup:", "netns:", "kernel:")


class Share(Record):
    """What one owner has, or several together. Memory is in bytes as fdinfo tells it.

    ``pids`` are the processes that the owners were found by.
    """

    owner: tuple[str, ...]
    progs: int
    maps: int
    links: int
    bytes_progs: int
    bytes_maps: int
    run_time_ns: int
    run_cnt: int
    pids: tuple[int, ...]
    pods: tuple[str, ...]

    @property
    def bytes_memlock(self) -> int:
        """The memory of programs and maps."""
        return self.bytes_progs + self.bytes_maps

    def json(self) -> dict[str, Any]:
        """The JSON properties."""
        json = self._asdict()
        json["owner"] = list(self.owner)
        json["bytes_memlock"] = self.bytes_memlock
        json["pids"] = list(self.pids)
        del json["pods"]
        if self.pods:
            json["pods"] = list(self.pods)
        return json


def owner_of(graph: Graph, item: Item) -> tuple[str, ...]:
    """Whose an object is: of the processes that hold it or what belongs to it.

    Where there are none, the directories of its pins, or the places that keep it.
    """
    key = item.kind, item.id
    known = graph.owned.get(key)
    if known is None:
        known = graph.owned[key] = _owner_of(graph, item)
    return known


def _owner_of(graph: Graph, item: Item) -> tuple[str, ...]:
    try:
        found = graph.inventory.owner(item)
    except BpfError:
        found = ()
    words = {directory(w) if w.startswith("pin:") else w for w in found}
    words = words or set(graph.owners((item.kind, item.id)))
    processes = {word for word in words if not word.startswith(_PLACES)}
    return tuple(sorted(processes or words))


def shares(graph: Graph) -> list[Share]:
    """The shares of all owners, those with the most memory first."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for kind in KINDS:
        for item in graph.items(kind).values():
            count = found.setdefault(owner_of(graph, item), dict.fromkeys(_COUNTS, 0))
            count[kind + "s"] += 1
            memory = getattr(item.record, "memlock", None)
            if kind != "link" and memory:
                count[f"bytes_{kind}s"] += memory
            if kind == "prog":
                count["run_time_ns"] += item.record.run_time_ns
                count["run_cnt"] += item.record.run_cnt
    pids: dict[str, list[int]] = {}
    pods: dict[str, set[str]] = {}
    for pid, process in sorted(graph.processes.items()):
        pids.setdefault(process.owner, []).append(pid)
        if process.pod:
            pods.setdefault(process.owner, set()).add(process.pod)
    rows = [
        Share(
            owner or (NOBODY,),
            **count,
            pids=tuple(sorted(pid for each in owner for pid in pids.get(each, ()))),
            pods=tuple(sorted(pod for each in owner for pod in pods.get(each, ()))),
        )
        for owner, count in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.bytes_memlock, row.owner))


_COUNTS = (*("progs", "maps", "links", "bytes_progs", "bytes_maps", "run_time_ns", "run_cnt"),)
