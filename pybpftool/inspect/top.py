"""What programs cost: their calls and times between two looks at them."""

from __future__ import annotations

import time

from pybpftool.errors import BpfError
from pybpftool.kernel.interface import PROG_INFO
from pybpftool.uapi.bpf import PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pybpftool.kernel.interface import BpfObject, Kernel

    Row = dict[str, Any]

_FIELDS = ("type", "id", "run_time_ns", "run_cnt")
_BARS = "▁▂▃▄▅▆▇█"
KEPT = 12  # shares of the processor that a sparkline shows
_OWNERS_LAST = 10.0  # seconds for which owners are believed when new programs come


_IDLE = {"calls_per_second": 0.0, "ns_per_call": 0.0, "cpu_percent": 0.0}


class Sampler:
    """Looks at the programs of one kernel again and again.

    ``with_owners``: find out whose programs they are, which takes longer than all else and
    is done again only when programs have come, at most every ten seconds.
    """

    def __init__(self, kernel: Kernel, with_owners: bool = True) -> None:
        self._kernel = kernel
        self._fields = PROG_INFO.only(_FIELDS, kernel.byteorder)
        self._with_owners = with_owners
        self._names: dict[int, tuple[str, str]] = {}
        self._owners: dict[int, str] = {}
        self._owners_at = float("-inf")
        self._before: dict[int, tuple[int, int]] = {}
        self._at = 0.0

    def sample(self) -> list[Row]:
        """A row for each program, of what it did since the sample before.

        Those of a program that was not there before are 0, as all are the first time.
        ``calls`` and ``time_ns`` are what was added, ``calls_per_second``, ``ns_per_call`` and
        ``cpu_percent`` (of one processor) what follows; ``run_cnt`` and ``run_time_ns`` are
        the kernel's own counters. Raises KernelError.
        """
        now = time.monotonic()
        passed = now - self._at if self._before else 0.0
        unpack, size = self._fields.unpack_from, self._fields.size
        before, names = self._before, self._names
        after: dict[int, tuple[int, int]] = {}
        rows: list[Row] = []
        for obj in self._kernel.objects("prog"):
            info = obj.info
            if len(info) < size:
                info = info.ljust(size, b"\0")
            number, id, run_time, run_cnt = unpack(info)
            after[id] = run_time, run_cnt
            known = names.get(id)
            if known is None:
                known = names[id] = self._describe(obj, number)
            old = before.get(id)
            calls = spent = 0
            if old is not None and passed and run_cnt > old[1]:
                calls, spent = run_cnt - old[1], run_time - old[0]
            rows.append(
                {
                    "id": id,
                    "type": known[0],
                    "name": known[1],
                    "calls": calls,
                    "time_ns": spent,
                    **(rates(calls, spent, passed) if calls else _IDLE),
                    "run_cnt": run_cnt,
                    "run_time_ns": run_time,
                }
            )
        for id in names.keys() - after.keys():
            del names[id]
        self._before, self._at = after, now
        if self._with_owners:
            self._add_owners(rows, now)
        return rows

    def _describe(self, obj: BpfObject, number: int) -> tuple[str, str]:
        from pybpftool.objects.prog import ProgramReader

        kind = PROG_TYPES[number] if number < len(PROG_TYPES) else f"type {number}"
        return kind, ProgramReader(self._kernel).name_of(obj)

    def _add_owners(self, rows: Sequence[Row], now: float) -> None:
        owners = self._owners
        if any(row["id"] not in owners for row in rows) and now - self._owners_at > _OWNERS_LAST:
            self._owners_at = now
            owners = self._owners = _owners_of(self._kernel)
        for row in rows:
            row["owner"] = owners.get(row["id"], "")


def _owners_of(kernel: Kernel) -> dict[int, str]:
    """Whose the programs are, by id; empty where that cannot be told."""
    from pybpftool.inspect.inventory import Inventory

    inventory = Inventory(kernel)
    found = {}
    try:
        items = inventory.items("prog")
    except BpfError:
        return {}
    for id, item in items.items():
        try:
            found[id] = ", ".join(inventory.owner(item))
        except BpfError:
            found[id] = ""
    return found


def rates(calls: int, spent: int, passed: float) -> Row:
    """What calls and nanoseconds are by the second, by the call and of a processor."""
    return {
        "calls_per_second": round(calls / passed, 1) if passed else 0.0,
        "ns_per_call": round(spent / calls, 1) if calls else 0.0,
        "cpu_percent": round(spent / passed / 1e7, 3) if passed else 0.0,
    }


def by_owner(rows: Iterable[Row]) -> list[Row]:
    """The rows of programs added up by their owners."""
    found: dict[str, Row] = {}
    for row in rows:
        owner = row.get("owner", "")
        total = found.get(owner)
        if total is None:
            total = found[owner] = {"owner": owner, "programs": 0, **dict.fromkeys(_ADDED, 0)}
        total["programs"] += 1
        for name in _ADDED:
            total[name] += row[name]
    for total in found.values():
        total["calls_per_second"] = round(total["calls_per_second"], 1)
        total["cpu_percent"] = round(total["cpu_percent"], 3)
        calls = total["calls"]
        total["ns_per_call"] = round(total["time_ns"] / calls, 1) if calls else 0.0
    return list(found.values())


_ADDED = ("calls", "time_ns", "calls_per_second", "cpu_percent", "run_cnt", "run_time_ns")


class History:
    """The last shares of the processor of each program or owner."""

    def __init__(self) -> None:
        self._kept: dict[Any, list[float]] = {}
        self._seen: dict[Any, int] = {}
        self._count = 0

    def add(self, rows: Iterable[Row], key: str) -> None:
        """Enter a sample; rows that were always idle take no room."""
        kept = self._kept
        for row in rows:
            share = row["cpu_percent"]
            name = row[key]
            line = kept.get(name)
            if line is None:
                if not share:
                    continue
                line = kept[name] = [0.0] * min(self._count, KEPT)
            line.append(share)
            del line[:-KEPT]
            self._seen[name] = self._count
        for name in [name for name, at in self._seen.items() if at <= self._count - KEPT]:
            del self._seen[name], kept[name]  # it is gone, or shown no more
        self._count += 1

    def line(self, name: Any) -> str:
        """A sparkline, as high as the largest of its shares; empty for who was idle."""
        shares = self._kept.get(name)
        if not shares or not (highest := max(shares)):
            return ""
        steps = len(_BARS) - 1
        return "".join([_BARS[round(share / highest * steps)] for share in shares])
