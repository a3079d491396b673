"""Records of perf events, cgroups and networks: their views ask nothing, tables are complete."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        ([5, 6, 7, 8], [5, 6, 7]),
        ([4, 6, 5, 7, 5], [6, 5, 7]),  # two programs above it, one of them a program of its own
        ([9, 5, 4], [5, 6, 7]),  # something changed meanwhile
        (None, [5, 6, 7]),
    ],
)
def test_programs_of_a_cgroup_as_they_run(running: list[int] | None, expected: list[int]) -> None:
    kernel = AttachedKernel()
    for id in (5, 6, 7):
        kernel.prog(id, type=8, name=b"p\0")
    egress, device = map(ATTACH_TYPES.index, ("cgroup_inet_egress", "cgroup_device"))
    kernel.trees["/cg"] = [("/cg/a", 1, [(egress, 5, 2), (egress, 6, 66), (egress, 7, 2)], ""),
                           ("/cg/b", 1, [(egress, 7, 2), (device, 6, 2)], "")]  # fmt: skip
    if running is not None:
        # A recording may make up types.
        made_up = [(number, 5, 0) for number in (999, -3)]
        rows = [(device, 9, 0), *((egress, id, 0) for id in running)]
        kernel.cgroups["/cg/a"] = made_up + rows
    found = {each.path: cgroup.in_order(kernel, each) for each in cgroup.collect(kernel)}
    assert [prog.id for prog in found["/cg/a"]] == expected
    flags = {prog.id: prog.attach_flags for prog in found["/cg/a"]}
    assert flags == {5: 2, 6: 66, 7: 2}
    assert [prog.id for prog in found["/cg/b"]] == [7, 6]


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
