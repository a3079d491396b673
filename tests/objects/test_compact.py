"""JSON text by template is what the JSON properties are as text, of every shape of a record."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pybpftool.objects.compact import TEXTS
from pybpftool.objects.link import Link
from pybpftool.objects.links import network, probes, tracing
from pybpftool.objects.map import Map
from pybpftool.objects.prog import Program
from pybpftool.output.jsontext import compact
from pybpftool.uapi.bpf import MAP_TYPES, PROG_TYPES

NAMES = ("", "x", 'a"b\\\n\x1b\x7f', "\udcff%d{}")
PINNED = (None, (), ("/sys/fs/bpf/x",), ("/a b", '/q"\udc80'))
PIDS = ((), [(1, "init")], [(7, 'a"b'), (8, "%s")])

PROGRAM: dict[str, Any] = {
    **dict.fromkeys(Program._fields, 0),
    "id": 5,
    "tag": "0123456789abcdef",
    "created_by_uid": 1000,
    "run_cnt": 3,
    "verified_insns": None,
    "ifname": None,
    "metadata": (),
}
PROGRAMS = {
    "type": (1, 0, len(PROG_TYPES) - 1, len(PROG_TYPES)),
    "name": NAMES,
    "ifindex": (0, 3),
    "gpl_compatible": (True, False),
    "orphaned": (False, True),
    "run_time_ns": (0, 77),
    "recursion_misses": (0, 2),
    "load_time": (10**9, 0),
    "loaded_at": (1_700_000_000, None, 0),
    "jited_prog_len": (64, 0),
    "xlated_prog_len": (16, 0),
    "memlock": (4096, None, 0),
    "map_ids": ((), (1,), (2, 3)),
    "btf_id": (0, 9),
    "pinned": PINNED,
    "pids": PIDS,
}
MAP: dict[str, Any] = {
    **dict.fromkeys(Map._fields, 0),
    "id": 6,
    "key_size": 4,
    "value_size": 8,
    "max_entries": 10,
    "ifname": None,
}
MAPS = {
    "type": (2, 0, len(MAP_TYPES) - 1, len(MAP_TYPES)),
    "name": NAMES,
    "map_flags": (0, 1 << 31),
    "ifindex": (0, 3),
    "memlock": (344, None, 0),
    "frozen": (False, True),
    "owner_prog_type": (None, "xdp", 99),
    "owner_jited": (None, True, False),
    "btf_id": (0, 9),
    "pinned": PINNED,
    "pids": PIDS,
}
TARGETS = (
    network.Cgroup(12, "cgroup_inet_egress"),
    network.Cgroup(0, 99),
    network.Netns(13, 99),
    network.Device("eth0", 2, None),
    network.Device(None, 0, "tcx_ingress"),
    network.Sockmap(4, "sk_skb_verdict"),
    network.Netfilter(2, 1, -5, 0),
    tracing.RawTracepoint('a"', 1),
    tracing.Tracing(None, "trace_fentry", 1, 2, None),
    tracing.TracingMulti("trace_fentry_multi", 1, 1, [(1, 2, 3, None, "")]),
    tracing.Iter("bpf_map", map_id=4),
    tracing.Iter("task", tid=4),
    tracing.StructOps(8),
    probes.KprobeMulti(1, 0, None, [(1, 2, "f", "")]),
    probes.UprobeMulti("/bin/x", 1, 0, -1, [(1, 2, 3, None)]),
    probes.Kprobe(True, "f", 1, 2, 3, 4),
    probes.Uprobe(False, "/bin/x", 1, None, None, None),
    probes.Tracepoint("x", 5),
    probes.PerfEvent("software", "cpu-clock", 0),
)


def shapes(base: dict[str, Any], values: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every two fields with every two of their values, the other fields with their first."""
    usual = {**base, **{field: several[0] for field, several in values.items()}}
    return [
        {**usual, one: first, other: second}
        for one, other in itertools.combinations(values, 2)
        for first, second in itertools.product(values[one], values[other])
    ]


@pytest.mark.parametrize(
    ("kind", "record", "base", "values"),
    [("prog", Program, PROGRAM, PROGRAMS), ("map", Map, MAP, MAPS)],
)
def test_every_two_values(kind: str, record: Any, base: Any, values: Any) -> None:
    found = [record(**fields) for fields in shapes(base, values)]
    assert [TEXTS[kind](one) for one in found] == [compact(one.json()) for one in found]


@pytest.mark.parametrize("target", [None, *TARGETS])
def test_links(target: Any) -> None:
    usual = "cgroup" if isinstance(target, (network.Cgroup, type(None))) else "tracing"
    kinds: tuple[str | int, ...] = (usual, "perf_event", 99)
    for kind, name, pinned, pids in itertools.product(kinds, (None, 'p"'), PINNED, PIDS):
        link = Link(3, kind, 7, name, target, pinned, pids)
        assert TEXTS["link"](link) == compact(link.json())


def test_holders_of_one_object_are_not_shown_for_the_next() -> None:
    first = Map(**{**MAP, "pids": [(1, "a")], "pinned": None})
    second = first._replace(pids=[(2, "b")])
    found = [TEXTS["map"](one) for one in (first, second, first)]
    assert found == [compact(one.json()) for one in (first, second, first)]
