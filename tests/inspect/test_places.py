"""Where programs are attached, of every kind of link and hook that a recorded kernel has."""

from __future__ import annotations

from errno import EPERM

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.places import KEYS, Place, Places
from pybpftool.kernel.snapshot import SnapshotKernel
from tests.support.golden import FIXTURES
from tests.support.hosts import add_tcx, host


@pytest.fixture(scope="module")
def recorded() -> Places:
    path = FIXTURES / "link" / "debian-6.12" / "snapshot.zip"
    return Inventory(SnapshotKernel.load(str(path))).places


def texts(places: Places) -> set[str]:
    return {place.full_text() for found in places.by_prog.values() for place in found}


@pytest.mark.parametrize(
    "text",
    [
        "xdp dev pybt_dev generic",
        "clsact/egress dev pybt0 position 2",
        "tcx/ingress dev pybt0 position 2",
        "netkit/peer dev pybtnk position 2",
        "flow_dissector",
        "raw_tracepoint tracepoint sched_switch",
        "iter target task_file",
        "sk_lookup",
        "netfilter/ip6/output prio 10",
        "tracepoint tracepoint sched_process_exit",
        "kprobe function vfs_fsync_range+0x4",
        "kretprobe function vfs_fsync_range",
        "kprobe.multi function vfs_rmdir",
        "perf_event target software:context-switches cookie 3",
    ],
)
def test_each_kind_of_hook(recorded: Places, text: str) -> None:
    assert text in texts(recorded)


def test_files_have_offsets(recorded: Places) -> None:
    for hook in ("uprobe", "uretprobe", "uprobe.multi", "uretprobe.multi"):
        assert any(text.startswith(f"{hook} file /tmp/pybt-up-") for text in texts(recorded))
    assert any(text.endswith("/target+0x23d0 cookie 7") for text in texts(recorded))


def test_positions_count_from_one_in_each_hook(recorded: Places) -> None:
    at: dict[str, list[int]] = {}
    for places in recorded.by_prog.values():
        for place in places:
            assert place.key in ("", *KEYS)
            if place.hook.startswith(("tcx/", "netkit/")) and place.position is not None:
                at.setdefault(place.text(), []).append(place.position)
    assert at and all(sorted(set(found)) == found or found for found in at.values())
    assert {tuple(sorted(found)) for found in at.values()} == {(1,), (1, 2)}


def test_a_link_and_its_hook_are_one_place(recorded: Places) -> None:
    """A tcx link is seen twice, by netlink with its position and by itself."""
    place = recorded.of_link(39)
    assert place is not None
    assert (place.hook, place.target, place.position) == ("tcx/ingress", "pybt_dev", 1)
    assert [other.link_id for other in recorded.by_prog[place.prog_id]] == [39]
    dissector = recorded.of_link(45)
    assert dissector is not None and dissector.hook == "flow_dissector"
    assert len(recorded.by_prog[dissector.prog_id]) == 1


def test_what_cannot_be_asked_is_kept(recorded: Places) -> None:
    """A program may be attached where nobody could look."""
    assert [str(error) for error in recorded.refused] == ["the snapshot keeps no map objects"]
    kernel = host()
    kernel.tasks = KernelError("the kernel refuses", EPERM)
    assert [str(error) for error in Inventory(kernel).places.refused] == ["the kernel refuses"]


def test_as_json() -> None:
    kernel = host()
    add_tcx(kernel, 21, 3, "br\x1b0", 3)
    places = Inventory(kernel).places
    (place,) = places.by_prog[3]
    assert place.json() == {"hook": "tcx/ingress", "dev": "br\x1b0", "link_id": 21}
    full = Place(1, "cgroup_device", "cgroup", "/a", 2, "blue", 5, "multi")
    assert full.json() == {
        "hook": "cgroup_device",
        "cgroup": "/a",
        "netns": "blue",
        "position": 2,
        "link_id": 5,
        "detail": "multi",
    }
    assert full.text() == "cgroup_device cgroup /a netns blue"
    assert full.full_text() == "cgroup_device cgroup /a netns blue position 2 multi"
