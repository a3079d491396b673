"""What is wrong with a machine's BPF objects: findings, each with what to do about it."""

from __future__ import annotations

from pybpftool.errors import BpfError, CutMap
from pybpftool.inspect.enumeration import disagreements, is_gone
from pybpftool.inspect.guesses import beyond
from pybpftool.inspect.tail_calls import empty_slots
from pybpftool.inspect.unknown import Hidden
from pybpftool.inspect.why import SYSCALL, Why, untold
from pybpftool.inspect.wording import shell_quoted
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owners import Graph

_NEAR_FULL = 90  # percent
# Maps whose elements somebody adds and nobody throws out.
_FILLING = ("hash", "percpu_hash", "hash_of_maps", "lpm_trie")
_STATS = "/proc/sys/kernel/bpf_stats_enabled"
STATS_INODE = "bpf-stats"  # bpf_enable_runtime_stats() in kernel/bpf/syscall.c, v5.8

CHECKS = {
    "unheld": "programs, maps and links that nothing holds which can be seen",
    "unattached": "programs that are pinned and act nowhere, links that are detached",
    "unused": "pinned maps that no program and no process uses",
    "twice": "the same program several times at one place",
    "full": "maps that are full, or nearly",
    "tail-call": "slots of program arrays that are empty and jumped to",
    "stats": "statistics that are left on",
    "hidden": "objects on which the ways to list them do not agree",
}
"""The checks, in the order in which they are made."""


class Finding(Record):
    """One thing that is wrong: ``what`` is it, ``advice`` what to do, ``command`` shows more."""

    check: str
    kind: str
    id: int
    label: str
    what: str
    advice: str
    command: str = ""

    def json(self) -> dict[str, Any]:
        """The JSON properties."""
        json: dict[str, Any] = {"check": self.check}
        if self.kind:
            json["kind"] = self.kind
            json["id"] = self.id
        for name in ("label", "what", "advice", "command"):
            if getattr(self, name):
                json[name] = getattr(self, name)
        return json


class Doctor:
    """Examines one graph."""

    __slots__ = ("_checks", "_graph", "_missing", "_why")

    def __init__(self, graph: Graph, checks: Iterable[str] = tuple(CHECKS)) -> None:
        self._graph = graph
        self._checks = frozenset(checks)
        self._why = Why(graph)
        self._missing = graph.missing.copy()

    @property
    def unseen(self) -> list[str]:
        """A sentence for each thing that could not be told."""
        return self._missing.sentences()

    @property
    def remarks(self) -> list[str]:
        """A sentence for each thing that nobody could tell on this machine."""
        return self._missing.remarks

    def findings(self) -> list[Finding]:
        """All findings, by the order of :data:`CHECKS`."""
        found: list[Finding] = []
        parts: tuple[Callable[[], Iterator[Finding]], ...] = (
            self._held_by_nothing,
            self._without_effect,
            self._unused,
            self._twice,
            self._full,
            self._tail_calls,
            self._stats,
            self._hidden,
        )
        for check, part in zip(CHECKS, parts):
            if check not in self._checks:
                continue
            try:
                found += part()
            except BpfError as error:
                self._missing.add(error)
        return found

    @property
    def _limit(self) -> str:
        return " that can be seen" if self._graph.hides_holders else ""

    def _finding(self, check: str, item: Item, what: str, advice: str) -> Finding:
        command = f"pybpftool why {item.kind} id {item.id}"
        return Finding(check, item.kind, item.id, self._why.branch((item.kind, item.id)).text,
                       what, advice, command)  # fmt: skip

    def _pins(self, item: Item) -> list[str]:
        edges = self._graph.up.get((item.kind, item.id), ())
        return sorted(str(edge.holder[1]) for edge in edges if edge.holder[0] == "pin")

    # --- what hangs where ---

    def _held_by_nothing(self) -> Iterator[Finding]:
        if self._graph.hides_holders:
            return  # what processes hold is most of what there is, and has been missed
        for kind in ("prog", "map", "link"):
            for item in self._graph.items(kind).values():
                if self._graph.up.get((kind, item.id)) or (kind == "prog" and untold(item.type)):
                    continue
                if is_gone(self._graph.inventory.kernel, kind, item.id):
                    continue  # before we looked who holds it
                yield self._finding(
                    "unheld", item, "loaded, and nothing holds it that can be seen",
                    "look for its pin in mount namespaces that no process is in, in bpf file"
                    " systems that only a descriptor keeps, and for processes"
                    f" that /proc does not show; it may be held by {beyond(item.type)}",
                )  # fmt: skip

    def _without_effect(self) -> Iterator[Finding]:
        for item in self._graph.items("prog").values():
            key = ("prog", item.id)
            pins = self._pins(item)
            holders = {edge.holder[0] for edge in self._graph.up.get(key, ())}
            if untold(item.type) or item.type == SYSCALL:
                continue  # it may be attached where the kernel does not tell, or run from its pin
            if pins and "pid" not in holders and not self._why.acts(key):
                yield self._finding(
                    "unattached", item, f"pinned at {pins[0]}, and acts nowhere{self._limit}",
                    f"attach it, or remove the pin: rm {shell_quoted(pins[0])}",
                )  # fmt: skip
        for item in self._graph.items("link").values():
            rows = self._graph.attachments.by_link.get(item.id, ())
            if any(row.is_detached for row in rows):
                pins = self._pins(item)
                yield self._finding(
                    "unattached", item, "what it was attached to is gone",
                    f"remove the pin: rm {shell_quoted(pins[0])}" if pins
                    else "have its holder close it, or attach again",
                )  # fmt: skip

    def _unused(self) -> Iterator[Finding]:
        for item in self._graph.items("map").values():
            holders = {edge.holder[0] for edge in self._graph.up.get(("map", item.id), ())}
            if holders == {"pin"}:
                pins = self._pins(item)
                users = f"no program and no process{self._limit}"
                yield self._finding(
                    "unused", item, f"pinned at {pins[0]}; {users} uses it",
                    f"remove the pin if nobody comes back for it: rm {shell_quoted(pins[0])}",
                )  # fmt: skip

    def _twice(self) -> Iterator[Finding]:
        graph = self._graph
        places: dict[tuple[object, ...], list[int]] = {}
        for row in graph.attachments.rows:
            item = graph.items("prog").get(row.prog_id)
            if item is None or row.is_detached or row.hook in ("iter", "struct_ops"):
                continue
            if row.target == "?":  # which function it is, the kernel's types would tell
                continue
            symbol = row.detail if row.key == "prog" else row.symbol  # the function of a program
            where = (row.hook, row.key, row.target, symbol, row.targets, row.netns)
            code = (item.type, item.name, item.record.tag)
            places.setdefault((*where, *code), []).append(row.prog_id)
        for key, ids in places.items():
            different = sorted(set(ids))
            if len(different) > 1:
                item = graph.items("prog")[different[0]]
                place = " ".join([str(word) for word in key[:3] if word])
                yield self._finding(
                    "twice", item,
                    f"{len(different)} programs of this name and code at {place}:"
                    f" {', '.join(map(str, different))}",
                    "find which of them an earlier run has left, and detach these",
                )  # fmt: skip

    # --- maps ---

    def _full(self) -> Iterator[Finding]:
        kernel = self._graph.inventory.kernel
        for item in self._graph.items("map").values():
            if item.type not in _FILLING or not item.record.max_entries:
                continue
            count = item.get("elements")
            if not isinstance(count, int):
                if is_gone(kernel, "map", item.id):
                    continue
                cut = count.error if isinstance(count, Hidden) else None
                told = f"how full map {item.id} is: {count}"
                self._missing.add(cut if isinstance(cut, CutMap) else told)
                continue
            most = item.record.max_entries
            if count * 100 >= most * _NEAR_FULL:
                state = "full" if count >= most else f"{count * 100 // most} % full"
                yield self._finding(
                    "full", item, f"{state}: {count} of {most} elements",
                    "make it larger (max_entries), delete what is old, or take a type that does"
                    " (lru_hash)",
                )  # fmt: skip

    def _tail_calls(self) -> Iterator[Finding]:
        graph = self._graph
        for map_id, prog_id, slot in empty_slots(graph, self._missing.add):
            item, prog = graph.items("map")[map_id], graph.items("prog")[prog_id]
            name = f"prog {prog_id} {prog.name}".rstrip()
            what = f"slot {slot} is" if slot is not None else "all slots are"
            yield self._finding(
                "tail-call", item, f"{what} empty, and {name} jumps there: its tail call fails",
                "load the missing program; the kernel empties an array when its last descriptor"
                " and pin are gone, so keep one of them",
            )  # fmt: skip

    # --- the kernel ---

    def _stats(self) -> Iterator[Finding]:
        kernel = self._graph.inventory.kernel
        if kernel.file(_STATS).strip() not in (b"0", b""):
            yield Finding(
                "stats", "", 0, "kernel.bpf_stats_enabled",
                "is on: the kernel takes the time of every run of every program",
                "sysctl -w kernel.bpf_stats_enabled=0",
            )  # fmt: skip
        try:
            holding = kernel.holding(STATS_INODE)
        except BpfError:
            if kernel.is_live:
                raise
            return  # a recording that is older than the question
        for pid, comm in holding:
            yield Finding(
                "stats", "pid", pid, f"process {pid} ({comm})",
                "keeps run-time statistics on (a descriptor of BPF_ENABLE_STATS): the kernel"
                " takes the time of every run of every program",
                "nothing, if somebody reads them; else end it, or have it close the descriptor",
            )  # fmt: skip

    def _hidden(self) -> Iterator[Finding]:
        for kind, id, label, what in disagreements(self._graph, self._missing.add):
            yield Finding(
                "hidden", kind, id, label, what,
                "something may hide objects from listings: compare with a kernel that is trusted",
                f"pybpftool why {kind} id {id}" if kind and id else "",
            )  # fmt: skip
