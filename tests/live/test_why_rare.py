"""``why`` and ``doctor`` in situations where what holds a program is hard to see."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from pybpftool.inspect.owners import processes_hidden
from pybpftool.kernel.live import LiveKernel
from tests.support import asm, attachments, load, netdevs
from tests.support.children import child, told_child
from tests.support.cli import run
from tests.support.mapped import MAPPED

pytestmark = pytest.mark.live

NETNS = """
import ctypes, socket, subprocess
from tests.support import netdevs
before = os.open("/proc/self/ns/net", os.O_RDONLY)
stack.enter_context(load.temp_netns())
load.ip("link", "add", "pybt_kept", "type", "veth", "peer", "name", "pybt_peer")
index = socket.if_nametoindex("pybt_kept")
xdp = stack.enter_context(load.prog_load("xdp", asm.ret(2), attach="xdp", name="pybt_kept"))
netdevs.set_xdp(index, xdp, 2)
"""
LEAVE = """
ctypes.CDLL(None).setns(before, 0)
print(load.object_id(xdp), flush=True)
xdp.close()
"""


def why(*words: object) -> Any:
    result = run("-j", "why", *map(str, words))
    assert result.status == 0, result
    return result.json


def findings(id: int, kind: str = "prog") -> list[dict[str, Any]]:
    result = run("-j", "doctor", "unheld", "unattached")
    return [
        row for row in result.json["findings"] if (row.get("kind"), row.get("id")) == (kind, id)
    ]


def the_finding(id: int) -> dict[str, Any]:
    hidden = processes_hidden(LiveKernel())
    if hidden:
        pytest.skip(hidden)  # nothing is called unheld then
    (found,) = findings(id)
    return found


def test_a_network_namespace_of_a_descriptor() -> None:
    keep = 'kept = os.open("/proc/thread-self/ns/net", os.O_RDONLY)\n'
    with told_child(NETNS + keep + LEAVE) as (pid, words):
        (act,) = why("prog", "id", words[0])["acts_at"]
        assert (act["hook"], act["dev"]) == ("xdp", "pybt_kept")
        assert act["netns"].startswith("kept by ") and str(pid) in act["netns"]
        assert findings(int(words[0])) == []
        rows = run("-j", "attachments").json
        assert [row["dev"] for row in rows if row.get("prog_id") == int(words[0])] == ["pybt_kept"]
        number = next(
            number
            for number in os.listdir(f"/proc/{pid}/fd")
            if os.readlink(f"/proc/{pid}/fd/{number}") not in
            ("", os.readlink("/proc/thread-self/ns/net"))
            and os.readlink(f"/proc/{pid}/fd/{number}").startswith("net:")
        )  # fmt: skip
        there = why("dev", "pybt_kept", "netns", f"/proc/{pid}/fd/{number}")
        assert [row["prog"]["id"] for row in there["programs"]] == [int(words[0])]


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_network_namespace_of_a_mount(is_elsewhere: bool) -> None:
    with tempfile.NamedTemporaryFile() as file:
        code = NETNS + ("load.own_mounts()\n" if is_elsewhere else "") + f"""
command = ["mount", "--bind", f"/proc/{{os.getpid()}}/ns/net", {file.name!r}]
subprocess.run(command, check=True)
stack.callback(subprocess.run, ["umount", {file.name!r}])
""" + LEAVE  # fmt: skip
        try:
            with told_child(code) as (_, words):
                (act,) = why("prog", "id", words[0])["acts_at"]
                assert (act["hook"], act["dev"], act["netns"]) == ("xdp", "pybt_kept", file.name)
                assert findings(int(words[0])) == []
        finally:
            if not is_elsewhere:
                subprocess.run(["umount", file.name], check=False, capture_output=True)


def test_socket_look_ups_of_a_namespace_that_a_descriptor_keeps() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        prog = stack.enter_context(load.prog_load("sk_lookup", asm.ret(1), attach="sk_lookup"))
        with open("/proc/thread-self/ns/net") as netns:
            stack.enter_context(load.link_create(prog, netns.fileno(), "sk_lookup"))
        id = load.object_id(prog)
        (act,) = why("prog", "id", id)["acts_at"]
        assert "netns" not in act
        with load.temp_netns():  # from another one
            (act,) = why("prog", "id", id)["acts_at"]
            assert act["netns"].startswith("kept by ") and str(os.getpid()) in act["netns"]


def test_a_device_of_a_namespace_that_nothing_leads_to_is_none_of_ours() -> None:
    if not netdevs.takes_tcx():
        pytest.skip("this kernel has no tcx")
    # A socket keeps the namespace, in which the device has the number of one of ours.
    code = (
        NETNS
        + """
kept = socket.socket()
tc = stack.enter_context(load.prog_load("sched_cls", asm.ret(0), attach="tcx_ingress", name="far"))
stack.enter_context(load.link_create(tc, index, "tcx_ingress", 0, bytes(16)))
inside = os.readlink("/proc/thread-self/ns/net")
print(load.object_id(tc), end=" ")
"""
        + LEAVE
        + """
for number in os.listdir("/proc/self/fd"):
    if os.path.islink(f"/proc/self/fd/{number}"):
        if os.readlink(f"/proc/self/fd/{number}") == inside:
            os.close(int(number))
"""
    )
    with told_child(code) as (_, words):
        tree = why("prog", "id", words[0])
        (act,) = tree["acts_at"]
        assert (act["hook"], act["dev"], act["netns"]) == ("tcx/ingress", "?", "?")
        (link,) = [each for each in tree["held_by"] if each["kind"] == "link"]
        assert link["held_by"][0]["kind"] == "pid"
        found = the_finding(int(words[1]))  # nothing is seen of this one
        assert "network namespace" in found["advice"]


def test_an_open_iterator_keeps_its_program() -> None:
    code = """
from tests.support import attachments
scene = attachments.Scene(stack)
attachments._iterators(scene)
made = list(scene.links.values())
assert made, scene.refused
import struct
id = struct.unpack_from("=3I", load.info(made[0]))[2]
opened = stack.enter_context(load.iter_create(made[0]))
print(id, flush=True)
for fd in (*made, *scene._progs.values()):
    fd.close()
"""
    with told_child(code) as (pid, words):
        tree = why("prog", "id", words[0])
        assert [(each["kind"], each["pid"]) for each in tree["held_by"]] == [("pid", pid)]
        assert "iterator" in tree["held_by"][0]["how"]
        assert findings(int(words[0])) == []


def test_an_open_iterator_keeps_the_map_that_it_walks_over() -> None:
    code = """
import ctypes, struct
from tests.support import attachments
scene = attachments.Scene(stack)
map = load.map_create("hash", 4, 8, 4, name="pybt_walked")
prog = scene.bound_prog("tracing", "trace_iter", 12, "bpf_iter_bpf_map_elem")
info = attachments.memory(struct.pack("=I", map.fd))
link = load.link_create(prog, 0, "trace_iter", 0, struct.pack("=QI", ctypes.addressof(info), 4))
opened = stack.enter_context(load.iter_create(link))
print(load.object_id(map, "map"), flush=True)
link.close()
map.close()
"""
    with told_child(code) as (pid, words):
        (holder,) = why("map", "id", words[0])["held_by"]
        assert holder["pid"] == pid and "iterator" in holder["how"]
        assert findings(int(words[0]), "map") == []


def test_memory_keeps_a_map() -> None:
    with told_child(MAPPED) as (pid, words):
        for id in words:
            (holder,) = why("map", "id", id)["held_by"]
            assert holder["pid"] == pid and "in its memory" in holder["how"]
            assert findings(int(id), "map") == []
        assert {str(each["id"]) for each in why("pid", pid)["holds"]} == set(words)


def test_a_socket_keeps_an_interface_that_is_no_longer_registered() -> None:
    with contextlib.ExitStack() as stack, socket.socket() as user:
        scene = attachments.Scene(stack)
        scene.link("ops", lambda: attachments.struct_ops(scene))
        if "ops" in scene.refused:
            pytest.skip(scene.refused["ops"])
        map_id = struct.unpack_from("=I", load.info(scene.links["ops"]), 16)[0]
        line = run("why", "link", "id", str(scene.ids["ops"])).text.splitlines()[0]
        assert line.endswith(" and 2 more")  # it acts at three functions
        user.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"pybt_cc")
        stack.close()
        tree = why("map", "id", map_id)
        assert (tree["held_by"], tree["acts_at"]) == ([], [])
        assert "congestion control" in tree["may_be_held_by"]
        assert "congestion control" in tree["may_act_at"]
        progs = [obj["id"] for obj in run("-j", "prog", "show").json if obj["type"] == "struct_ops"]
        trees = [why("prog", "id", id) for id in progs]
        inside = [tree for tree in trees if map_id in [each.get("id") for each in tree["held_by"]]]
        assert len(inside) == 3
        assert all("congestion control" in tree["may_act_at"] for tree in inside)
        (found,) = findings(map_id, "map")
        assert "congestion control" in found["advice"]
    assert load.left("map", [map_id]) == set()


def test_a_cgroup_that_was_removed() -> None:
    with load.temp_cgroup() as top:
        path = top + "/gone"
        os.mkdir(path)
        with load.prog_load("cgroup_skb", asm.ret(1), attach="cgroup_inet_egress") as prog:
            id = load.object_id(prog)
            fd = os.open(path, os.O_RDONLY)
            load.prog_attach(fd, prog, "cgroup_inet_egress", 2)
            os.close(fd)
        code = f"""
import socket
open({path!r} + "/cgroup.procs", "w").write("0")
kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
open({top!r} + "/cgroup.procs", "w").write("0")
os.rmdir({path!r})
"""
        with child(code):
            time.sleep(0.5)
            if id not in load.all_ids("prog"):
                pytest.skip("this kernel takes programs off with the cgroup")
            tree = why("prog", "id", id)
            assert tree["held_by"] == []
            assert "a cgroup that was removed" in tree["may_be_held_by"]
            found = the_finding(id)
            assert (found["check"], "a cgroup that was removed" in found["advice"]) == (
                "unheld", True
            )  # fmt: skip


def test_a_descriptor_on_its_way() -> None:
    ends = socket.socketpair()
    try:
        with load.prog_load("xdp", asm.ret(2), name="pybt_flies") as prog:
            id = load.object_id(prog)
            rights = array.array("i", [prog.fd])
            ends[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert "UNIX socket" in run("why", "prog", "id", str(id)).text
        found = the_finding(id)
        assert "UNIX socket" in found["advice"]
    finally:
        for end in ends:
            end.close()


def test_a_slot_of_an_array_that_another_mount_namespace_pins() -> None:
    code = """
import struct
load.own_mounts()
place = stack.enter_context(load.mounted_bpffs())
jumps = stack.enter_context(load.map_create("prog_array", 4, 4, 4, name="pybt_far"))
prog = stack.enter_context(load.prog_load("xdp", asm.ret(2), name="pybt_slot"))
load.map_update(jumps, struct.pack("=I", 1), struct.pack("=I", prog.fd))
load.obj_pin(jumps, place + "/jumps")
print(place, load.object_id(prog), flush=True)
prog.close()
jumps.close()
"""
    with told_child(code) as (pid, words):
        (map,) = why("prog", "id", words[1])["held_by"]
        assert (map["name"], map["how"]) == ("pybt_far", "slot 1")
        (pin,) = map["held_by"]
        assert pin["path"] == f"/proc/{pid}/root{words[0]}/jumps"
        assert findings(int(words[1])) == []


def test_a_process_of_another_pid_namespace(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.support import asm, load\n"
        "prog = load.prog_load('xdp', asm.ret(2), name='pybt_inner')\n"
        "print(load.object_id(prog), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdin is not None and it.stdout is not None
        id = it.stdout.readline().strip()
        if not id:
            pytest.skip("no pid namespace can be made here")
        holders = why("prog", "id", id)["held_by"]
        assert [each["kind"] for each in holders] == ["pid"]
        assert Path(f"/proc/{holders[0]['pid']}/status").read_text().count("NSpid:")
        assert findings(int(id)) == []
        it.stdin.close()


def test_a_map_of_an_interface_tells_where_its_programs_act() -> None:
    with contextlib.ExitStack() as stack:
        scene = attachments.Scene(stack)
        scene.link("ops", lambda: attachments.struct_ops(scene))
        if "ops" in scene.refused:
            pytest.skip(scene.refused["ops"])
        map_id = struct.unpack_from("=I", load.info(scene.links["ops"]), 16)[0]
        acts = why("map", "id", map_id)["acts_at"]
        assert "tcp_congestion_ops.ssthresh" in [act.get("function") for act in acts]
        assert {act["link_id"] for act in acts} == {scene.ids["ops"]}
