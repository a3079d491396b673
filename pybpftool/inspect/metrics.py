"""Figures of one kernel for Prometheus, in its text format 0.0.4.

Labels are bounded: names, types and owners, never ids. What has the same three is added up,
and beyond :data:`MOST_GROUPS` different ones of a kind the rest is one group, ``other``. So many
counters are kept, too, however many owners come and go.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.wording import shown
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.items import Item
    from pybpftool.kernel.interface import Kernel

    Labels = tuple[tuple[str, str], ...]

MOST_GROUPS = 1000
_PREFIX = "pybpftool_"


class Metric(Record):
    """One metric: what it is, and its samples by their labels."""

    name: str
    type: str
    help: str
    samples: dict[Labels, float]

    def text(self) -> str:
        """Its lines."""
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.type}"]
        for labels, value in self.samples.items():
            inner = ",".join([f'{name}="{_quoted(word)}"' for name, word in labels])
            shown = f"{{{inner}}}" if inner else ""
            lines.append(f"{self.name}{shown} {_number(value)}")
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, Any]:
        """The metric as JSON."""
        samples = [{"labels": dict(key), "value": value} for key, value in self.samples.items()]
        return {"name": self.name, "type": self.type, "help": self.help, "samples": samples}


def _quoted(word: str) -> str:
    """A label's value: hostile characters as \\xNN, then what the format asks to be escaped."""
    return shown(word).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def render(metrics: Sequence[Metric]) -> str:
    """The text of a file or an answer."""
    return "".join([metric.text() for metric in metrics])


class Collector:
    """Collects the metrics of one kernel, as often as somebody asks.

    With ``with_stats`` the calls and times of programs are among them. Those are counters that
    only grow: what programs counted that are gone meanwhile is kept, until there are more than
    :data:`MOST_GROUPS`. Then groups without programs go, first those that were seen last the
    longest time ago; one that comes back begins at 0, which Prometheus takes for a restart.
    """

    def __init__(self, kernel: Kernel, with_stats: bool = False) -> None:
        self._kernel = kernel
        self._with_stats = with_stats
        self._last: dict[int, tuple[int, int, int]] = {}
        self._totals: dict[Labels, list[float]] = {}
        self.refused: list[BpfError] = []
        """What could not be looked at the last time."""

    def collect(self) -> list[Metric]:
        """All metrics as they are now. Raises BpfError where nothing may be listed at all."""
        from pybpftool.inspect.inventory import Inventory

        inventory = Inventory(self._kernel)
        self.refused = []
        metrics: list[Metric] = []
        for ask in (self._programs, self._maps, self._links, self._btf):
            try:
                metrics += ask(inventory)
            except BpfError as error:
                self.refused.append(error)
        if not metrics:
            raise self.refused[0]
        hidden: dict[Labels, float] = {(): len(self.refused)}
        metrics.append(
            Metric(
                _PREFIX + "hidden_kinds", "gauge",
                "Kinds of objects that could not be listed.", hidden,
            )
        )  # fmt: skip
        return metrics

    def _programs(self, inventory: Inventory) -> Iterator[Metric]:
        items = list(inventory.items("prog").values())
        labels = _labels(inventory, items)
        yield _summed(
            "programs", "Loaded programs.", labels, items, lambda item: 1
        )  # fmt: skip
        for name, help, field in (
            ("program_memlock_bytes", "Memory charged for programs.", "memlock"),
            ("program_xlated_bytes", "Instructions of programs.", "xlated_prog_len"),
            ("program_jited_bytes", "Machine code of programs.", "jited_prog_len"),
            ("program_verified_instructions", "Instructions the verifier walked.",
             "verified_insns"),
        ):  # fmt: skip
            yield _summed(name, help, labels, items, _field(field))
        if self._with_stats:
            yield from self._statistics(labels, items)

    def _statistics(self, labels: list[Labels], items: Sequence[Item]) -> Iterator[Metric]:
        last = self._last
        now: dict[int, tuple[int, int, int]] = {}
        for group, item in zip(labels, items):
            prog = item.record
            found = prog.run_cnt, prog.run_time_ns, prog.recursion_misses
            now[item.id] = found
            before = last.get(item.id, (0, 0, 0))
            totals = self._totals.setdefault(group, [0, 0, 0])
            for at, (new, old) in enumerate(zip(found, before)):
                totals[at] += max(new - old, 0)
        self._last = now
        self._forget(dict.fromkeys(labels))
        for at, (name, help) in enumerate(
            (
                ("program_runs_total", "Calls of programs while statistics were on."),
                ("program_run_seconds_total", "Time in programs while statistics were on."),
                ("program_recursion_misses_total", "Calls left out because of recursion."),
            )
        ):
            factor = 1e-9 if at == 1 else 1
            samples = {group: total[at] * factor for group, total in self._totals.items()}
            yield Metric(_PREFIX + name, "counter", help, samples)

    def _forget(self, groups: Iterable[Labels]) -> None:
        """Leave out the oldest of the groups that have no programs now, where they are too many."""
        totals = self._totals
        for group in groups:
            totals[group] = totals.pop(group)  # those that were seen now are the last
        named = [group for group in totals if group != _REST]
        for group in named[: max(len(named) - MOST_GROUPS, 0)]:
            del totals[group]

    def _maps(self, inventory: Inventory) -> Iterator[Metric]:
        items = list(inventory.items("map").values())
        labels = _labels(inventory, items)
        yield _summed("maps", "Maps.", labels, items, lambda item: 1)
        yield _summed(
            "map_memlock_bytes", "Memory charged for maps.", labels, items, _field("memlock")
        )
        yield _summed(
            "map_max_entries", "Elements that maps can have.", labels, items, _field("max_entries")
        )

    def _links(self, inventory: Inventory) -> Iterator[Metric]:
        items = list(inventory.items("link").values())
        labels: list[Labels] = []
        for item in items:
            name = inventory.prog(item.record.prog_id) if item.record.prog_id else ""
            labels.append(_group(name, item.type, _owner(inventory, item)))
        yield _summed("links", "Links, by the names of their programs.", _bounded(labels), items,
                      lambda item: 1)  # fmt: skip

    def _btf(self, inventory: Inventory) -> Iterator[Metric]:
        count = size = 0
        order: Any = "little" if self._kernel.byteorder == "<" else "big"
        for obj in self._kernel.objects("btf"):
            count += 1
            size += int.from_bytes(obj.info[8:12], order)  # btf_size
        yield Metric(_PREFIX + "btf_objects", "gauge", "BTF objects.", {(): count})
        yield Metric(_PREFIX + "btf_bytes", "gauge", "Size of all BTF objects.", {(): size})


def _field(name: str) -> Callable[[Item], float]:
    return lambda item: getattr(item.record, name) or 0


def _group(name: str, type: str, owner: str) -> Labels:
    return ("name", name), ("type", type), ("owner", owner)


_REST = _group("other", "other", "other")


def _owner(inventory: Inventory, item: Item) -> str:
    try:
        return ",".join(inventory.owner(item))
    except BpfError:
        return ""


def _labels(inventory: Inventory, items: Sequence[Item]) -> list[Labels]:
    return _bounded(
        [_group(item.name, item.type, _owner(inventory, item)) for item in items]
    )  # fmt: skip


def _bounded(labels: list[Labels]) -> list[Labels]:
    """The labels, those beyond the most that are allowed as one group."""
    known: set[Labels] = set()
    found = []
    for group in labels:
        if group not in known and len(known) >= MOST_GROUPS:
            group = _REST
        else:
            known.add(group)
        found.append(group)
    return found


def _summed(
    name: str,
    help: str,
    labels: Sequence[Labels],
    items: Sequence[Item],
    value: Callable[[Item], float],
) -> Metric:
    samples: dict[Labels, float] = {}
    for group, item in zip(labels, items):
        samples[group] = samples.get(group, 0) + value(item)
    return Metric(_PREFIX + name, "gauge", help, samples)
