"""Figures for Prometheus."""

from __future__ import annotations

import re
import struct

import pytest

from pybpftool.errors import BpfError, KernelError
from pybpftool.inspect import metrics
from pybpftool.inspect.metrics import Collector, Metric, render
from pybpftool.uapi.bpf import BPF_PROG_INFO
from tests.support.hosts import Host, host

AT = {name: offset for name, offset, _ in BPF_PROG_INFO}
SAMPLE = re.compile(
    r'[a-z_]+(\{([a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? -?[0-9.e+-]+\Z'
)  # fmt: skip


def found(kernel: Host, with_stats: bool = False) -> dict[str, Metric]:
    return {metric.name: metric for metric in Collector(kernel, with_stats).collect()}


def group(name: str, type: str, owner: str) -> tuple[tuple[str, str], ...]:
    return ("name", name), ("type", type), ("owner", owner)


def counted(kernel: Host, id: int, run_cnt: int, run_time_ns: int) -> None:
    info = bytearray(kernel.all["prog"][id].info)
    struct.pack_into("<Q", info, AT["run_cnt"], run_cnt)
    struct.pack_into("<Q", info, AT["run_time_ns"], run_time_ns)
    kernel.all["prog"][id].info = bytes(info)


def test_figures() -> None:
    all = found(host())
    programs = all["pybpftool_programs"].samples
    assert programs[group("counter", "sched_cls", "unit:agent.service")] == 1
    assert sum(programs.values()) == 3
    assert (
        all["pybpftool_program_verified_instructions"].samples[
            group("counter", "sched_cls", "unit:agent.service")
        ]
        == 40
    )
    maps = all["pybpftool_map_memlock_bytes"].samples
    assert maps[group("flows", "hash", "unit:agent.service")] == 4096
    assert sum(all["pybpftool_links"].samples.values()) == 1
    assert all["pybpftool_hidden_kinds"].samples == {(): 0}
    # Statistics only on request.
    assert not any("runs" in name or "seconds" in name for name in all)


def test_equal_ones_are_added_up() -> None:
    kernel = host()
    for id in (8, 9):
        kernel.map(id, type=1, key_size=4, value_size=8, max_entries=16, name=b"flows")
        kernel.fdinfos["map", id] = b"memlock:\t100\n"
    maps = found(kernel)["pybpftool_map_memlock_bytes"].samples
    assert maps[group("flows", "hash", "")] == 200


def test_text() -> None:
    text = render(Collector(host(), True).collect())
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.match(line), line
    assert text.count("# TYPE pybpftool_programs gauge\n") == 1
    assert "id=" not in text
    assert text.endswith("\n")


def test_labels_are_hostile() -> None:
    labels = group('a"b\\c\nd\x1b\udcff\u202e', "hash", "")
    line = Metric("m", "gauge", "h", {labels: 1}).text().splitlines()[2]
    assert line == r'm{name="a\"b\\c\\x0ad\\x1b\\xff\\u202e",type="hash",owner=""} 1'
    assert SAMPLE.match(line)


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_GROUPS", 3)
    kernel = host()
    for id in range(100, 120):
        kernel.map(id, type=1, key_size=4, value_size=8, max_entries=1, name=b"m%d" % id)
    samples = found(kernel)["pybpftool_maps"].samples
    assert len(samples) == 4
    assert samples[group("other", "other", "other")] == len(kernel.all["map"]) - 3


def test_counters_of_owners_that_come_and_go_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_GROUPS", 3)
    kernel = host()
    kernel.held["prog"] = {}
    collector = Collector(kernel, True)
    seen: dict[tuple[tuple[str, str], ...], float] = {}
    for round in range(20):
        kernel.held["prog"][2] = [(1000 + round, f"job{round}")]
        counted(kernel, 2, 10 * (round + 1), 0)
        metric = {one.name: one for one in collector.collect()}["pybpftool_program_runs_total"]
        samples = metric.samples
        assert len(samples) <= 3 + 1
        assert samples[group("counter", "sched_cls", f"comm:job{round}")] == 10
        assert all(samples[key] >= seen[key] for key in samples.keys() & seen.keys())
        seen = samples
    # Those with programs stay, and of those without the one that was seen last.
    assert [dict(key)["name"] for key in samples] == ["first", "counter", "twin"]


def test_what_does_not_fit_counts_as_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_GROUPS", 1)
    kernel = host()
    counted(kernel, 3, 7, 0)
    collector = Collector(kernel, True)
    for runs in (7, 9, 12):
        counted(kernel, 3, runs, 0)
        metric = {one.name: one for one in collector.collect()}["pybpftool_program_runs_total"]
        assert len(metric.samples) == 2
        assert metric.samples[group("other", "other", "other")] == runs


def test_counters_only_grow() -> None:
    kernel = host()
    counted(kernel, 2, 10, 2_000_000_000)
    collector = Collector(kernel, True)
    key = group("counter", "sched_cls", "unit:agent.service")

    def runs() -> tuple[float, float]:
        all = {metric.name: metric for metric in collector.collect()}
        return (all["pybpftool_program_runs_total"].samples[key],
                all["pybpftool_program_run_seconds_total"].samples[key])  # fmt: skip

    assert runs() == (10, 2.0)
    counted(kernel, 2, 15, 3_000_000_000)
    assert runs() == (15, 3.0)
    gone = kernel.all["prog"].pop(2)
    assert runs() == (15, 3.0)
    kernel.all["prog"][2] = gone
    counted(kernel, 2, 4, 1_000_000_000)
    assert runs() == (19, 4.0)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host()
    real = kernel.objects

    def some(kind: str) -> object:
        if kind == "btf":
            raise KernelError("no BTF for you", 1)
        return real(kind)

    monkeypatch.setattr(kernel, "objects", some)
    collector = Collector(kernel)
    all = {metric.name: metric for metric in collector.collect()}
    assert all["pybpftool_hidden_kinds"].samples == {(): 1}
    assert "pybpftool_btf_objects" not in all
    assert [str(error) for error in collector.refused] == ["no BTF for you"]

    def none(kind: str) -> object:
        raise KernelError(f"no {kind} for you", 1)

    monkeypatch.setattr(kernel, "objects", none)
    with pytest.raises(BpfError, match="no prog for you"):
        Collector(kernel).collect()
