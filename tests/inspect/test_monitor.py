"""What is told of programs and links that come and go."""

from __future__ import annotations

import gc
import struct

import pytest

from pybpftool.btf.table import Btf
from pybpftool.errors import KernelError
from pybpftool.inspect.monitor import Links, Programs, Tasks
from pybpftool.kernel.bpf_events import ProgEvent
from pybpftool.kernel.interface import BpfObject
from pybpftool.uapi.bpf import BPF_PROG_INFO
from tests.support.fakeprogs import add_described
from tests.support.hosts import Host, host

AT = {name: offset for name, offset, _ in BPF_PROG_INFO}


def types() -> list[Btf]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Btf)]


@pytest.fixture
def kernel() -> Host:
    kernel = host()
    kernel.files["/proc/77/comm"] = b"agent\n"
    kernel.files["/proc/77/cgroup"] = b"0::/system.slice/agent.service\n"
    return kernel


def loaded(id: int, is_load: bool = True, pid: int = 77) -> ProgEvent:
    return ProgEvent(1_500_000_000, is_load, id, "0102", ("from_symbol", "sub"), pid, pid)


def test_programs(kernel: Host) -> None:
    programs = Programs(kernel, Tasks(kernel))
    assert programs.row(loaded(2)) == {
        "time": 1.5, "event": "load", "prog_id": 2, "type": "sched_cls", "name": "counter",
        "tag": "0102", "pid": 77, "comm": "agent", "owner": "unit:agent.service",
    }  # fmt: skip
    # It is gone already: what the kernel's symbols tell is left.
    row = programs.row(loaded(999, pid=0xFFFFFFFF))
    assert row == {"time": 1.5, "event": "load", "prog_id": 999, "name": "from_symbol",
                   "tag": "0102"}  # fmt: skip
    # One that was there before, and a process that has ended.
    row = programs.row(loaded(3, False, 78))
    assert (row["event"], row["name"], row["type"], row["pid"]) == ("unload", "twin", "xdp", 78)
    assert "comm" not in row and "owner" not in row


def test_types_of_programs_that_came_are_not_kept(kernel: Host) -> None:
    programs = Programs(kernel, Tasks(kernel))
    add_described(kernel, 50)
    info = bytearray(kernel.all["prog"][50].info)
    info[AT["name"] : AT["name"] + 16] = b"cut_off_name_15\0"
    before = len(types())
    for id in range(60, 90):
        struct.pack_into("<I", info, AT["btf_id"], id)
        kernel.all["prog"][id] = BpfObject("prog", id, -1, bytes(info))
        kernel.arrays[id], kernel.btfs[id] = kernel.arrays[50], kernel.btfs[9]
        assert programs.row(loaded(id))["name"] == "first"  # from its BTF
    assert len(types()) <= before


def test_names_of_tasks_outlive_them(kernel: Host) -> None:
    tasks = Tasks(kernel)
    tasks.named(500, "short")
    assert tasks.told(500) == {"pid": 500, "comm": "short", "owner": "comm:short"}
    tasks.named(500, "other")
    assert tasks.told(500)["comm"] == "other"
    assert tasks.told(0) == {}
    for pid in range(10_000):
        tasks.named(pid, "x")
        tasks.told(pid)
    assert len(tasks._comms) <= 4096 and len(tasks._known) <= 4096


def test_links(kernel: Host) -> None:
    link = kernel.all["link"].pop(20)
    links = Links(kernel, Tasks(kernel))
    assert links.look() == []
    kernel.all["link"][20] = link
    (row,) = links.look()
    assert (row["event"], row["link_id"], row["type"], row["prog_id"]) == ("attach", 20, "tcx", 2)
    assert row["name"] == "counter"
    assert "ifindex" in row["place"] and row["target"]["attach_type"] == "tcx_ingress"
    assert links.look() == []
    del kernel.all["link"][20]
    (row,) = links.look()
    assert (row["event"], row["link_id"], row["type"]) == ("detach", 20, "tcx")
    assert links.look() == []


def test_links_that_may_not_be_listed(kernel: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> None:
        raise KernelError("not permitted", 1)

    monkeypatch.setattr(kernel, "objects", refuse)
    links = Links(kernel, Tasks(kernel))
    assert str(links.refused) == "not permitted"
    assert links.look() == []
    assert Programs(kernel, Tasks(kernel)).row(loaded(2))["tag"] == "0102"
