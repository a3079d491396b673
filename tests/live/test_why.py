"""``why`` names every path, as a walk by brute force does, in situations that people meet."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import asm, attachments, load, netdevs
from tests.support.brute_owners import Edge, Node, all_edges, closure
from tests.support.children import child, told_child
from tests.support.cli import run

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
CONTAINER = "0123456789ab" + "c" * 52
POD = "1234abcd-0000-1111-2222-333344445555"


def node(branch: dict[str, Any]) -> Node:
    which = next(branch[word] for word in ("id", "pid", "path", "name") if word in branch)
    return branch["kind"], which


def edges_in(tree: dict[str, Any]) -> set[Edge]:
    """(holder, held) of a tree; nodes marked `again` stand elsewhere in full."""
    found: set[Edge] = set()
    waiting = [tree]
    while waiting:
        held = waiting.pop()
        for holder in held.get("held_by", ()):
            found.add((node(holder), node(held)))
            waiting.append(holder)
    return found


def why(*words: object) -> Any:
    result = run("-j", "why", *map(str, words))
    assert result.status == 0, result
    text = run("why", *map(str, words))
    assert (text.status, text.err) == (0, b""), text
    return result.json


def every_path(kind: str, id: int, *places: Edge) -> dict[str, Any]:
    """The answer of ``why``, whose edges are those of the walk and of `places`."""
    for _ in range(5):  # others list objects meanwhile, and hold each for a moment
        tree: dict[str, Any] = why(kind, "id", id)
        expected = closure(all_edges() | set(places), (kind, id))
        if edges_in(tree) == expected:
            break
    assert edges_in(tree) == expected
    assert tree["unseen"] == []
    return tree


def leaves(tree: dict[str, Any], name: str = "held_by") -> list[dict[str, Any]]:
    """All branches below."""
    found = []
    waiting = list(tree.get(name, ()))
    while waiting:
        branch = waiting.pop()
        found.append(branch)
        waiting += branch.get(name, ())
    return found


PASS = asm.ret(0)


def tail_call(map: load.AnyFd) -> bytes:
    """``bpf_tail_call(ctx, map, 0)``"""
    return asm.assemble([asm.ld_map_fd(asm.R2, load.int_fd(map)), asm.mov64(asm.R3, 0),
                         asm.call(12), asm.mov64(asm.R0, 0), asm.exit_()])  # fmt: skip


def uses(map: load.AnyFd) -> bytes:
    return asm.assemble([asm.ld_map_fd(asm.R1, load.int_fd(map)), asm.mov64(asm.R0, 0),
                         asm.exit_()])  # fmt: skip


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def test_a_container_of_a_pod() -> None:
    with load.temp_cgroup() as top:
        path = f"{top}/kubepods.slice/kubepods-burstable.slice"
        path += f"/kubepods-burstable-pod{POD.replace('-', '_')}.slice"
        path += f"/cri-containerd-{CONTAINER}.scope"
        os.makedirs(path)
        code = f"""
open({path!r} + "/cgroup.procs", "w").write("0")
prog = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0), name="pybt_pod"))
stack.enter_context(load.raw_tracepoint_open(prog, "sys_enter"))
"""
        with child(code) as pid:
            (id,) = [p for k, p in _objects_of(pid) if k == "prog"]
            tree = every_path("prog", int(id))
            (holder,) = [each for each in tree["held_by"] if each.get("pid") == pid]
            assert holder["owner"] == "container:0123456789ab"
            assert holder["pod"] == POD
            assert holder["cgroup"].endswith(f"/cri-containerd-{CONTAINER}.scope")
            assert tree["acts_at"][0]["tracepoint"] == "sys_enter"
            cgroup = why("cgroup", path)
            assert [each["pid"] for each in cgroup["processes"]] == [pid]
            assert why("pid", pid)["holds"][0]["kind"] == "link"
        # The hierarchy may hold it for a moment longer.
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _objects_of(pid: int) -> list[Node]:
    return [held for holder, held in all_edges() if holder == ("pid", pid)]


def test_a_service_whose_descriptor_alone_holds_it() -> None:
    with load.temp_cgroup() as top:
        path = top + "/system.slice/pybt-agent.service"
        os.makedirs(path)
        code = f"""
open({path!r} + "/cgroup.procs", "w").write("0")
stack.enter_context(load.map_create("array", 4, 8, 1, name="pybt_srv"))
"""
        with child(code) as pid:
            ((_, id),) = _objects_of(pid)
            tree = every_path("map", int(id))
            assert tree["held_by"][0]["owner"] == "unit:pybt-agent.service"
            (held,) = why("pid", pid)["holds"]
            assert held["only_here"] is True


def test_a_pin_that_nobody_remembers() -> None:
    with load.temp_bpffs() as folder:
        with load.map_create("hash", 4, 8, 4, name="pybt_orphan") as map:
            load.obj_pin(map, folder + "/orphan")
            id = load.object_id(map, "map")
        tree = every_path("map", id)
        assert [node(each) for each in tree["held_by"]] == [("pin", folder + "/orphan")]
        assert tree["acts_at"] == []
        pin = why("pin", folder + "/orphan")
        assert [(each["id"], each["only_here"]) for each in pin["holds"]] == [(id, True)]
        text = run("why", "map", folder + "/orphan").text
        assert "acts nowhere" in text and f"pin {folder}/orphan" in text


def test_a_chain_of_tail_calls() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(load.temp_bpffs())
        keep = stack.enter_context
        second = keep(load.map_create("prog_array", 4, 4, 2, name="pybt_second"))
        first = keep(load.map_create("prog_array", 4, 4, 2, name="pybt_first"))
        load.obj_pin(first, folder + "/first")
        load.obj_pin(second, folder + "/second")
        last = keep(load.prog_load("xdp", PASS, name="pybt_last"))
        middle = keep(load.prog_load("xdp", tail_call(second), name="pybt_middle"))
        entry = keep(load.prog_load("xdp", tail_call(first), name="pybt_entry"))
        load.map_update(second, number(0), number(last.fd))
        load.map_update(second, number(1), number(middle.fd))  # one that calls itself
        load.map_update(first, number(0), number(middle.fd))
        keep(load.temp_netns())
        load.ip("link", "set", "lo", "up")
        link = keep(load.link_create(entry, 1, "xdp", 2))
        load.obj_pin(link, folder + "/link")
        id = load.object_id(last)
        for fd in (last, middle, entry, first, second, link):
            fd.close()
        tree = every_path("prog", id)
        assert {each["path"] for each in leaves(tree) if each["kind"] == "pin"} == {
            folder + "/first", folder + "/second", folder + "/link"
        }  # fmt: skip
        acts = leaves(tree, "acts_at")
        assert [each["dev"] for each in acts if "dev" in each] == ["lo"]
        assert {each.get("name") for each in acts} >= {"pybt_entry", "pybt_middle", "pybt_second"}
        assert tree["held_by"][0]["how"] == "slot 0"
        os.remove(folder + "/link")


def test_a_map_in_a_map() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(load.temp_bpffs())
        keep = stack.enter_context
        inner = keep(load.map_create("array", 4, 8, 1, name="pybt_inner"))
        outer = keep(load.map_create("array_of_maps", 4, 4, 4, name="pybt_outer", inner=inner))
        hashed = keep(load.map_create("hash_of_maps", 8, 4, 4, name="pybt_hashed", inner=inner))
        load.map_update(outer, number(2), number(inner.fd))
        load.map_update(hashed, bytes(range(8)), number(inner.fd))
        prog = keep(load.prog_load("socket_filter", uses(outer), name="pybt_user"))
        load.obj_pin(prog, folder + "/user")
        id, of_hash = load.object_id(inner, "map"), load.object_id(hashed, "map")
        inner.close()
        outer.close()
        tree = every_path("map", id, (("map", of_hash), ("map", id)))
        hows = {each["name"]: each["how"] for each in tree["held_by"]}
        assert hows == {"pybt_outer": "slot 2", "pybt_hashed": "key 00 01 02 03 04 05 06 07"}
        assert {each.get("path") for each in leaves(tree)} >= {folder + "/user"}


def test_a_link_pinned_in_a_second_file_system(tmp_path: Path) -> None:
    point = tmp_path / "bpf two"
    point.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(point)], check=True)
    try:
        with load.prog_load("raw_tracepoint", PASS, name="pybt_far") as prog:
            id = load.object_id(prog)
            with load.raw_tracepoint_open(prog, "sys_exit") as link:
                load.obj_pin(link, f"{point}/link")
                link_id = load.object_id(link, "link")
        tree = every_path("prog", id)
        (holder,) = tree["held_by"]
        assert (holder["kind"], holder["id"]) == ("link", link_id)
        assert [each["path"] for each in holder["held_by"]] == [f"{point}/link"]
        assert why("link", f"{point}/link")["id"] == link_id
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_another_network_namespace() -> None:
    code = """
stack.enter_context(load.temp_netns())
load.ip("link", "add", "pybt_far", "type", "veth", "peer", "name", "pybt_near")
stack.callback(load.ip, "link", "del", "pybt_far")
from tests.support import netdevs
import socket
index = socket.if_nametoindex("pybt_far")
xdp = load.prog_load("xdp", asm.ret(2), attach="xdp", name="there%d" % os.getpid())
netdevs.set_xdp(index, xdp, 2)
xdp.close()
"""
    has_tcx = netdevs.takes_tcx()
    if has_tcx:
        code += """
link = load.prog_load("sched_cls", asm.ret(0), attach="tcx_ingress", name="tcx%d" % os.getpid())
stack.enter_context(load.link_create(link, index, "tcx_ingress", 0, bytes(16)))
link.close()
"""
    with child(code) as pid:
        for name, hook in ((f"there{pid}", "xdp"), (f"tcx{pid}", "tcx/ingress"))[: 1 + has_tcx]:
            tree = why("prog", name)
            (act,) = tree["acts_at"]
            assert (act["hook"], act["dev"]) == (hook, "pybt_far")
            assert str(pid) in act["netns"]
        text = run("why", "prog", f"there{pid}").text
        assert "device pybt_far netns of " in text
        rows = why("dev", "pybt_far", "netns", pid)["programs"]
        assert [row["prog"]["name"] for row in rows] == [f"there{pid}", f"tcx{pid}"][: 1 + has_tcx]
        if has_tcx:
            assert rows[1]["held_by"][0]["held_by"][0]["pid"] == pid
        result = run("why", "dev", "pybt_far")
        assert result.status == 255 and "no network device" in result.errors


def test_cgroups_with_and_without_links() -> None:
    with contextlib.ExitStack() as stack:
        top = stack.enter_context(load.temp_cgroup())
        os.mkdir(top + "/inner")
        prog = stack.enter_context(
            load.prog_load("cgroup_skb", asm.ret(1), attach="cgroup_inet_egress", name="pybt_cg")
        )
        below = stack.enter_context(
            load.prog_load("cgroup_skb", asm.ret(1), attach="cgroup_inet_egress", name="pybt_in")
        )
        folders = [os.open(path, os.O_RDONLY) for path in (top, top + "/inner")]
        for fd in folders:
            stack.callback(os.close, fd)
        load.prog_attach(folders[0], prog, "cgroup_inet_egress", 2)
        stack.callback(load.prog_detach, folders[0], prog, "cgroup_inet_egress")
        link = stack.enter_context(load.link_create(below, folders[1], "cgroup_inet_egress"))
        name = "/" + os.path.basename(top)
        tree = every_path(
            "prog", load.object_id(prog), (("cgroup", name), ("prog", load.object_id(prog)))
        )
        assert tree["acts_at"] == [
            {"hook": "cgroup_inet_egress", "cgroup": name, "position": 1, "detail": "multi"}
        ]
        there = why("cgroup", top + "/inner")["programs"]
        assert [(row["prog"]["name"], row["cgroup"]) for row in there] == [
            ("pybt_in", name + "/inner"), ("pybt_cg", name)
        ]  # fmt: skip
        assert there[0]["link_id"] == load.object_id(link, "link")
        assert why("link", load.object_id(link, "link"))["acts_at"][0]["cgroup"] == name + "/inner"
        assert why("cgroup", name)["programs"][0]["prog"]["name"] == "pybt_cg"


def test_a_perf_event_without_a_link() -> None:
    with contextlib.ExitStack() as stack:
        prog = stack.enter_context(load.prog_load("tracepoint", PASS, name="pybt_tp"))
        try:
            event = stack.enter_context(attachments.tracepoint_event("sched/sched_process_exec"))
        except OSError as error:
            pytest.skip(f"no tracepoint: {error}")
        attachments.set_bpf(event, prog)
        id = load.object_id(prog)
        prog.close()
        tree = every_path("prog", id, (("pid", os.getpid()), ("prog", id)))
        assert f"descriptor {event.fd}" in tree["held_by"][0]["how"]
        assert tree["acts_at"][0]["tracepoint"] == "sched_process_exec"


def test_an_interface_of_the_kernel() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(load.temp_bpffs())
        scene = attachments.Scene(stack)
        scene.link("ops", lambda: attachments.struct_ops(scene))
        if "ops" in scene.refused:
            pytest.skip(scene.refused["ops"])
        link = scene.links["ops"]
        load.obj_pin(link, folder + "/cc")
        (map_id,) = [id for (kind, id) in (edge[1] for edge in all_edges() if edge[0] ==
                     ("link", scene.ids["ops"])) if kind == "map"]  # fmt: skip
        tree = every_path("map", int(map_id))
        assert tree["type"] == "struct_ops"
        found = why("prog", "name", "ops_ssthresh")  # others may have one as well
        progs = found if isinstance(found, list) else [found]
        prog = next(
            each
            for each in progs
            if any(act.get("link_id") == scene.ids["ops"] for act in each["acts_at"])
        )
        members = [each for each in prog["acts_at"] if each["hook"] == "struct_ops"]
        assert [each["function"] for each in members] == ["tcp_congestion_ops.ssthresh"]
        assert members[0]["link_id"] == scene.ids["ops"]
        assert ("map", map_id) in [node(each) for each in prog["held_by"]]


def test_a_program_in_a_map_of_devices() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        prog = stack.enter_context(
            load.prog_load("xdp", asm.ret(2), attach="xdp_devmap", name="pybt_dm")
        )
        map = stack.enter_context(load.map_create("devmap", 4, 8, 2, name="pybt_devs"))
        load.map_update(map, number(1), struct.pack("=II", 1, prog.fd))
        id = load.object_id(prog)
        prog.close()
        tree = every_path("prog", id)
        assert [(each["name"], each["how"]) for each in tree["held_by"]] == [
            ("pybt_devs", "slot 1")
        ]


def test_programs_in_their_order_at_a_device() -> None:
    if not netdevs.takes_tcx():
        pytest.skip("this kernel has no tcx")
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        load.ip("link", "add", "pybt0", "type", "veth", "peer", "name", "pybt1")
        index = socket.if_nametoindex("pybt0")
        keep = stack.enter_context
        for name in ("one", "two"):
            prog = keep(load.prog_load("sched_cls", PASS, attach="tcx_egress", name=name))
            keep(load.link_create(prog, index, "tcx_egress", 0, bytes(16)))
        xdp = keep(load.prog_load("xdp", asm.ret(2), attach="xdp", name="zero"))
        netdevs.set_xdp(index, xdp, 2)
        rows = why("dev", "pybt0")["programs"]
        assert [(row["hook"], row["prog"]["name"]) for row in rows] == [
            ("xdp", "zero"), ("tcx/egress", "one"), ("tcx/egress", "two")
        ]  # fmt: skip


def test_recorded_it_says_the_same(tmp_path: Path) -> None:
    with load.temp_bpffs() as folder, load.prog_load("raw_tracepoint", PASS, name="pybt_r") as prog:
        with load.raw_tracepoint_open(prog, "sys_enter") as link:
            load.obj_pin(link, folder + "/link")
        words = [["prog", "id", str(load.object_id(prog))], ["pid", str(os.getpid())],
                 ["pin", folder + "/link"], ["cgroup", "/"]]  # fmt: skip
        path = str(tmp_path / "saved.zip")
        assert run("snapshot", "save", path).status == 0
        for each in words:
            for options in ([], ["-j"]):
                live = run(*options, "why", *each)
                replayed = run("--snapshot", path, *options, "why", *each)
                assert (replayed.status, replayed.text) == (live.status, live.text)
                assert live.status == 0


ELSEWHERE = """
load.own_mounts()
place = stack.enter_context(load.mounted_bpffs())
os.mkdir(place + "/in side")
prog = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0), name="pybt_elsewhere"))
load.obj_pin(prog, place + "/in side/prog")
print(place, load.object_id(prog), flush=True)
prog.close()
"""


def test_a_pin_in_another_mount_namespace(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    with told_child(ELSEWHERE) as (pid, words):
        place, id = words[0], int(words[1])
        assert Path("/proc/self/mounts").read_text() == mounts
        path = f"/proc/{pid}/root{place}/in side/prog"
        tree = why("prog", "id", id)
        (pin,) = tree["held_by"]
        assert (pin["kind"], pin["path"]) == ("pin", path)
        assert pin["how"].startswith(f"in the mount namespace of process {pid} (")
        assert why("pin", path)["holds"][0]["only_here"] is True
        rows = run("-j", "doctor", "unheld", "unattached").json["findings"]
        assert [row["check"] for row in rows if row.get("id") == id] == ["unattached"]
        owners = [row["owner"] for row in run("-j", "owners").json]
        assert [f"pin:/proc/{pid}/root{place}/in side"] in owners
        snapshot = tmp_path / "host.zip"
        assert run("snapshot", "save", str(snapshot)).status == 0
    replayed = run("-j", "--snapshot", str(snapshot), "why", "prog", "id", str(id)).json
    assert replayed["held_by"] == tree["held_by"]


def test_mounts_that_namespaces_share_are_told_once() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(load.temp_bpffs())
        prog = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0)))
        load.obj_pin(prog, folder + "/prog")
        stack.enter_context(child("load.own_mounts()"))
        stack.enter_context(child("load.own_mounts()"))
        tree = why("prog", "id", load.object_id(prog))
        assert [each["path"] for each in tree["held_by"] if each["kind"] == "pin"] == [
            folder + "/prog"
        ]
