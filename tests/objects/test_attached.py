"""Records of perf events, cgroups and networks: their views ask nothing, tables are complete."""

from __future__ import annotations

from pybpftool.objects import cgroup, net, perf
from pybpftool.uapi.bpf import ATTACH_TYPES, TASK_FD_TYPES
from tests.support.fakeattached import AttachedKernel


def test_every_kind_of_task_descriptor_has_a_view() -> None:
    kernel = AttachedKernel()
    kernel.tasks = [(1, n, 5, n, b"name", 4, 9) for n in range(len(TASK_FD_TYPES) + 1)]
    *known, unknown = perf.collect(kernel)
    assert [event.fd_type for event in known] == list(TASK_FD_TYPES)
    assert all(f"  {event.fd_type}  " in event.text() for event in known)
    assert unknown.fd_type == len(TASK_FD_TYPES) and "fd_type" not in unknown.json()


def test_names_of_perf_events_are_read_with_them() -> None:
    kernel = AttachedKernel()
    kernel.prog(5, type=2, name=b"watch\0")
    kernel.tasks = [(1, 3, 5, TASK_FD_TYPES.index("uprobe"), b"/bin/x", 16, 0)]
    kernel.places["/bin/x", 16] = {"symbol": "main", "symbol_offset": 0}
    (event,) = perf.collect(kernel, resolve=True)
    kernel.places.clear()
    kernel.all["prog"].clear()
    assert event.text().endswith(
        "prog_id 5 (watch)  uprobe  filename /bin/x  offset 16  symbol main\n"
    )
    assert event.json()["symbol"] == "main" and event.json()["prog_name"] == "watch"


def test_flags_of_cgroup_programs() -> None:
    kernel = AttachedKernel()
    kernel.prog(5, type=8, name=b"p\0")
    number = ATTACH_TYPES.index("cgroup_device")
    kernel.cgroups["/cg/a"] = [(number, 5, 2)]
    (plain,) = cgroup.programs_of(kernel, "/cg/a")
    (effective,) = cgroup.programs_of(kernel, "/cg/a", is_effective=True)
    assert plain.attach_flags == 2 and plain.json()["attach_flags"] == "multi"
    assert effective.attach_flags is None and "attach_flags" not in effective.json()
    assert plain.attach_type == effective.attach_type == "cgroup_device"


def test_a_hierarchy_that_is_not_mounted_has_no_cgroups() -> None:
    kernel = AttachedKernel()
    kernel.root = None
    assert list(cgroup.collect(kernel)) == []


def test_a_network_prints_itself() -> None:
    device = net.XdpDevice("eth0", 2, [("driver", net.Prog(5, "guard"))], False)
    network = net.Network(["eth0"], [device], [], net.Prog(6))
    assert network.text() == ("xdp:\neth0(2) driver id 5 (guard)\n\ntc:\n\nflow_dissector:\nid 6\n")
    assert network.json() == {
        "xdp": [{"devname": "eth0", "ifindex": 2, "mode": "driver", "id": 5, "prog_name": "guard"}],
        "tc": [],
        "flow_dissector": [{"id": 6}],
    }
