"""Where programs are attached, of every kind of link and hook that a recorded kernel has."""

from __future__ import annotations

import struct
from errno import EPERM

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.all_places import Places
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.places import KEYS, Place
from pybpftool.kernel.snapshot import SnapshotKernel
from pybpftool.objects.prog import ProgramReader
from tests.support.cli import run
from tests.support.fakeattached import attribute, link_message, number, tc_message, text
from tests.support.fakeprogs import add_prog
from tests.support.golden import FIXTURES
from tests.support.hosts import Host, add_tcx, host


@pytest.fixture(scope="module")
def recorded() -> Places:
    path = FIXTURES / "link" / "debian-6.12" / "snapshot.zip"
    return Inventory(SnapshotKernel.load(str(path))).places


def texts(places: Places) -> set[str]:
    return {place.full_text() for found in places.by_prog.values() for place in found}


@pytest.mark.parametrize(
    "place",
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
def test_each_kind_of_hook(recorded: Places, place: str) -> None:
    assert place in texts(recorded)


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
    assert recorded.unseen == [
        "the snapshot has no answer to network_namespaces()",
        "the snapshot keeps no map objects",
    ]
    kernel = host()
    kernel.tasks = KernelError("the kernel refuses", EPERM)
    assert Inventory(kernel).places.unseen == ["the kernel refuses"]


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


def add_ingress(kernel: Host, prog: int, device: str = "v0", ifindex: int = 9) -> None:
    """A qdisc ``ingress`` with a filter: the kernel tells it at each hook that it is asked for."""
    kernel.message("", (18, 0, 0), link_message(ifindex, device))
    kernel.message("", (38, ifindex, 0), tc_message(36, ifindex, 0xFFFF0000, "ingress"))
    options = attribute(7, text("cls.o:[tc]")) + attribute(11, number(prog))
    for parent in (0xFFFF0000, 0xFFFFFFFF, 0xFFFFFFF3, 0xFFFFFFF2):
        kernel.message("", (46, ifindex, parent), tc_message(44, ifindex, 1, "bpf", options))


def test_the_echoes_of_a_qdisc_are_no_places() -> None:
    kernel = host()
    add_ingress(kernel, 3)
    places = Inventory(kernel).places
    assert [place.full_text() for place in places.by_prog[3]] == ["ingress dev v0 position 1"]


def test_programs_of_maps_have_places_with_a_link_or_without() -> None:
    kernel = host()
    add_prog(kernel, 40, b"", name=b"verdict", type=16)
    kernel.map(41, type=15, name=b"socks", key_size=4, value_size=4, max_entries=1)
    kernel.socket_map_programs = lambda map: [(7, 40)]  # type: ignore[method-assign]
    places = Inventory(kernel).places
    assert [place.full_text() for place in places.by_prog[40]] == ["sk_msg_verdict map socks"]


def test_namespaces_that_are_kept_have_places() -> None:
    """They have neither a task nor a name; what they are called says nothing of this boot."""
    kernel = host()
    kernel.namespaces = [("", 1, "", 1, "init"), ("/proc/77/ns/net", 2, "", 77, "nginx")]
    kernel.kept = [("/proc/88/fd/3", 3, "", 88, "agent"), ("/proc/99/fd/3", 4, "", 0, "")]
    for path, ifindex, prog in (
        ("/proc/77/ns/net", 2, 1),
        ("/proc/88/fd/3", 2, 3),
        ("/proc/99/fd/3", 3, 3),
    ):
        xdp = attribute(2, number(2, "B")) + attribute(4, number(prog))
        kernel.message(path, (18, 0, 0), link_message(ifindex, f"eth{ifindex}", xdp))
        kernel.dissectors[path] = 0
    kernel.dumps[""] = {(18, 0, 0): []}
    places = Inventory(kernel).places
    assert texts(places) >= {
        "xdp dev eth2 netns nginx generic",
        "xdp dev eth2 netns agent generic",
        "xdp dev eth3 netns ? generic",
    }
    assert places.unseen == []


def test_a_namespace_that_may_not_be_entered_leaves_open_what_is_attached() -> None:
    kernel = host()
    kernel.namespaces = [("", 1, "", 1, "init"), ("/run/netns/blue", 2, "blue", 0, "")]
    kernel.dissectors["/run/netns/blue"] = KernelError("cannot enter it", EPERM)
    assert Inventory(kernel).places.unseen == ["network namespace blue: cannot enter it"]


def test_only_what_loaded_programs_can_hang_at_is_asked() -> None:
    kernel = host()
    kernel.is_live = True
    kernel.link(30, 7, struct.pack("<II", 0, 0), prog=3)
    for kind in ("prog", "link"):
        kernel.all[kind] = {id: obj for id, obj in kernel.all[kind].items() if id == 3}
    kernel.dissectors[""] = 0
    asked = []
    for question in ("task_fds", "socket_map_programs", "cgroup_ids", "file_place"):
        setattr(kernel, question, lambda *_, question=question: asked.append(question))
    places = Inventory(kernel).places
    assert (places.unseen, asked) == ([], [])
    assert "objects map" not in kernel.asked


def test_places_of_links_read_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of programs the types are looked at, to know where it is worth asking."""
    kernel = host()
    kernel.is_live = True
    inventory = Inventory(kernel)
    monkeypatch.setattr(ProgramReader, "read", lambda *_: pytest.fail("a program is read"))
    place = inventory.places.of_link(20)
    assert place is not None and place.text() == "tcx/ingress dev eth0"
    assert inventory.prog_types() == {1: "socket_filter", 2: "sched_cls", 3: "xdp"}


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12"])
def test_programs_hang_where_attachments_says(name: str) -> None:
    path = FIXTURES / "link" / name / "snapshot.zip"
    inventory = Inventory(SnapshotKernel.load(str(path)))
    rows = run("-j", "--snapshot", str(path), "attachments").json
    assert {
        (prog_id, place.hook) for prog_id, found in inventory.places.by_prog.items()
        for place in found
    } == {
        (row["prog_id"], row["hook"]) for row in rows
        if "prog_id" in row and not row.get("detached")
    }  # fmt: skip
