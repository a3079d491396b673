"""What programs cost between two samples."""

from __future__ import annotations

import struct
import time

import pytest

from pybpftool.inspect import top
from pybpftool.inspect.top import History, Sampler, by_owner, rates
from pybpftool.uapi.bpf import BPF_PROG_INFO
from tests.support.hosts import Host, host

AT = {name: offset for name, offset, _ in BPF_PROG_INFO}


def ran(kernel: Host, id: int, time_ns: int, count: int) -> None:
    info = bytearray(kernel.all["prog"][id].info)
    struct.pack_into("<Q", info, AT["run_time_ns"], time_ns)
    struct.pack_into("<Q", info, AT["run_cnt"], count)
    kernel.all["prog"][id].info = bytes(info)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_rates_are_of_what_was_added(clock: list[float]) -> None:
    kernel = host()
    ran(kernel, 2, 5000, 10)
    sampler = Sampler(kernel)
    first = {row["id"]: row for row in sampler.sample()}
    assert (first[2]["calls"], first[2]["run_cnt"], first[2]["cpu_percent"]) == (0, 10, 0.0)
    clock[0] += 2
    ran(kernel, 2, 5000 + 20_000_000, 10 + 4000)
    rows = {row["id"]: row for row in sampler.sample()}
    assert rows[2] == {
        "id": 2, "type": "sched_cls", "name": "counter", "calls": 4000, "time_ns": 20_000_000,
        "calls_per_second": 2000.0, "ns_per_call": 5000.0, "cpu_percent": 1.0, "run_cnt": 4010,
        "run_time_ns": 20_005_000, "owner": "unit:agent.service",
    }  # fmt: skip
    assert rows[3]["calls"] == 0


def test_programs_come_and_go(clock: list[float]) -> None:
    kernel = host()
    sampler = Sampler(kernel, with_owners=False)
    gone = kernel.all["prog"].pop(2)
    assert [row["id"] for row in sampler.sample()] == [1, 3]
    clock[0] += 1
    kernel.all["prog"][2] = gone
    ran(kernel, 2, 1000, 5)
    # What it did before it was seen first is nobody's guess.
    rows = {row["id"]: row for row in sampler.sample()}
    assert rows[2]["calls"] == 0
    assert "owner" not in rows[2]
    # Counters of another program under the same id never give negative numbers.
    ran(kernel, 2, 10, 1)
    clock[0] += 1
    assert {row["id"]: row["calls"] for row in sampler.sample()}[2] == 0


def test_owners() -> None:
    rows = [
        {"owner": "a", "calls": 2, "time_ns": 10, "run_cnt": 1, "run_time_ns": 1,
         **rates(2, 10, 1.0)},
        {"owner": "b", "calls": 0, "time_ns": 0, "run_cnt": 1, "run_time_ns": 1,
         **rates(0, 0, 1.0)},
        {"owner": "a", "calls": 3, "time_ns": 40, "run_cnt": 1, "run_time_ns": 1,
         **rates(3, 40, 1.0)},
    ]  # fmt: skip
    totals = {row["owner"]: row for row in by_owner(rows)}
    assert (totals["a"]["programs"], totals["a"]["calls"], totals["a"]["ns_per_call"]) == (2, 5, 10)
    assert totals["a"]["calls_per_second"] == 5.0
    assert totals["b"]["ns_per_call"] == 0.0


def test_sparklines() -> None:
    history = History()
    for share in (0.0, 1.0, 2.0, 4.0):
        history.add([{"id": 1, "cpu_percent": share}, {"id": 2, "cpu_percent": 0.0}], "id")
    assert history.line(1) == "▁▃▅█"
    assert history.line(2) == "" == history.line(9)
    for _ in range(20):
        history.add([{"id": 1, "cpu_percent": 1.0}], "id")
    assert history.line(1) == "█" * top.KEPT


def test_who_is_gone_leaves_no_sparkline() -> None:
    history = History()
    for id in range(1000):
        history.add([{"id": id, "cpu_percent": 1.0}], "id")
    assert history.line(999) and history.line(999 - top.KEPT + 1)
    assert len(history._kept) == len(history._seen) == top.KEPT
