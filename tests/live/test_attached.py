"""link, perf, cgroup and net against the running kernel: what changes it, what races with it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from errno import EACCES
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import KernelError, VanishedError
from pybpftool.kernel import cgroups, perf
from pybpftool.kernel import net as kernel_net
from pybpftool.kernel.live import LiveKernel
from pybpftool.objects.cgroup import SHOWN_TYPES
from tests.support import load
from tests.support.attachments import Scene, add_cgroups, add_device, add_links, add_perf
from tests.support.cli import Result, run
from tests.support.descriptors import descriptors
from tests.support.netdevs import add_net

RELEASE = tuple(int(part) for part in os.uname().release.split(".")[:2])
needs_6_6 = pytest.mark.skipif(
    RELEASE < (6, 6), reason="tcx, netfilter and multi-uprobe links came with Linux 6.6"
)

pytestmark = pytest.mark.live


@pytest.fixture
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        yield Scene(stack)


def rows(*words: str) -> Any:
    result = run("-j", *words)
    assert result.status == 0, result.text
    return result.json


def refused(*words: str) -> Result:
    result = run(*words)
    assert result.status != 0
    assert result.errors.count("\n") == 1 and result.errors.startswith("Error: ")
    return result


@needs_6_6
def test_every_link_is_listed(scene: Scene) -> None:
    add_links(scene)
    assert len(scene.ids) > 20
    listed = {row["id"]: row for row in rows("link", "show")}
    assert set(scene.ids.values()) <= set(listed)
    # Linux 6.12 does not tell this cookie yet.
    told = 0x1122334455667788 if RELEASE >= (6, 18) else 0
    assert listed[scene.ids["raw_tp_cookie"]]["cookie"] in (told, 0x1122334455667788)
    assert listed[scene.ids["iter_map_elem"]]["target_name"] == "bpf_map_elem"
    for id in scene.ids.values():
        result = run("link", "show", "id", str(id))
        assert result.status == 0 and result.text.startswith(f"{id}: ")
        me = {"pid": os.getpid(), "comm": Path("/proc/self/comm").read_text().strip()}
        assert me in listed[id]["pids"]


def test_holders_of_many_links(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied descriptors tell the same ids as their texts in /proc."""
    from pybpftool.kernel import holders as kernel_holders
    from pybpftool.kernel import links as kernel_links
    from tests.support.corpus import many_links

    made = {load.object_id(fd, "link") for fd in many_links(scene.stack, 70)}
    me = os.getpid()

    def mine() -> set[int]:
        held = LiveKernel().holders("link")
        return {id for id, who in held.items() if me in [pid for pid, _ in who]}

    before = set(descriptors())
    fast = mine()
    assert made <= fast
    monkeypatch.setattr(kernel_holders, "_MANY", 1 << 30)
    assert mine() == fast
    assert set(descriptors()) == before
    assert kernel_links.held_infos(1 << 22, [0]) is None  # no such process
    assert kernel_links.held_infos(me, [1 << 20]) is None  # no such descriptor


def test_links_known_from_their_holders(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing opens again what it looked at for the holders only where it has to."""
    from pybpftool.kernel import holders as kernel_holders
    from tests.support.corpus import many_links

    monkeypatch.setattr(LiveKernel, "uses_iterators", False)
    plain = run("link", "show")
    monkeypatch.setattr(kernel_holders, "_MANY", 1)
    assert run("link", "show").out == plain.out
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as brief:
        many_links(stack, 1)
        id = load.object_id(many_links(brief, 1)[0], "link")
        kernel = LiveKernel()
        kernel.uses_iterators = False
        listing = kernel.listing("link")
        brief.close()
        (link,) = [obj for obj in listing.objects() if obj.id == id]
        with pytest.raises(VanishedError):
            kernel.link_details(link)
    assert id not in [obj.id for obj in kernel.objects("link")]


def test_links_that_vanish_during_a_listing(scene: Scene) -> None:
    program = scene.prog("raw_tracepoint", name="raw_tp")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            with load.raw_tracepoint_open(program, "sys_enter"):
                pass

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            assert run("link", "show").status == 0
            assert run("perf", "show").status == 0
    finally:
        stop.set()
        thread.join()


def test_link_pin_and_detach(scene: Scene) -> None:
    program = scene.prog("cgroup_skb", 1, attach="cgroup_inet_egress")
    path = scene.stack.enter_context(load.temp_cgroup())
    fd = os.open(path, os.O_RDONLY)
    scene.stack.callback(os.close, fd)
    link = scene.stack.enter_context(load.link_create(program, fd, "cgroup_inet_egress"))
    id = str(load.object_id(link, "link"))
    place = scene.stack.enter_context(load.temp_bpffs())
    assert run("link", "pin", "id", id, place + "/l").status == 0
    assert rows("link", "show", "pinned", place + "/l")["id"] == int(id)
    assert place + "/l" in run("-f", "link", "show", "id", id).text
    refused("link", "pin", "id", id, place + "/l")
    refused("link", "show", "pinned", "/etc/passwd")
    assert run("-j", "link", "detach", "pinned", place + "/l").out == b"null\n"
    assert rows("link", "show", "id", id)["cgroup_id"] == 0
    raw = scene.stack.enter_context(
        load.raw_tracepoint_open(scene.prog("raw_tracepoint", name="r"), "sys_enter")
    )
    assert (
        "cannot detach" in refused("link", "detach", "id", str(load.object_id(raw, "link"))).errors
    )


def test_perf_events_of_this_process(scene: Scene) -> None:
    add_perf(scene)
    mine = [row for row in rows("perf") if row["pid"] == os.getpid()]
    kinds = {row["fd_type"] for row in mine}
    assert "raw_tracepoint" in kinds
    assert kinds >= {"uprobe", "uretprobe"} or "uprobe" in scene.refused
    text = run("perf", "show").text
    for row in mine:
        assert f"pid {row['pid']}  fd {row['fd']}: prog_id {row['prog_id']}  " in text


def test_numbers_with_gaps(scene: Scene) -> None:
    """A descriptor far above the others is found, however descriptors are looked for."""
    add_perf(scene)
    link = scene.stack.enter_context(
        load.raw_tracepoint_open(scene.prog("raw_tracepoint", name="r"), "sys_exit")
    )
    high = os.dup2(link.fd, 900)
    try:
        with pytest.MonkeyPatch.context() as patch:
            first = perf.task_fds()
            patch.setattr(perf, "errno_field", lambda: None)
            second = perf.task_fds()
    finally:
        os.close(high)
    own = [row for row in first if row[0] == os.getpid()]
    assert 900 in [row[1] for row in own]
    assert own == [row for row in second if row[0] == os.getpid()]


THREAD = """
import ctypes, os, sys, threading
from tests.support import asm, load
def own_files():
    ctypes.CDLL(None).unshare(0x400)  # CLONE_FILES
    program = load.prog_load("raw_tracepoint", asm.ret(0), name="in_thread")
    link = load.raw_tracepoint_open(program, "sys_exit")
    print(threading.get_native_id(), link.fd, flush=True)
    done.wait()
done = threading.Event()
thread = threading.Thread(target=own_files)
thread.start()
sys.stdin.read()
done.set()
"""


@needs_6_6
def test_resolve_a_uprobe(scene: Scene, tmp_path: Path) -> None:
    """A probe of an ELF file that nobody runs: function, USDT probe and program by name."""
    from tests.support.attachments import set_bpf, uprobe_event
    from tests.support.elfbuild import ElfBuilder

    elf = ElfBuilder()
    elf.symbol("handler", 0x400010, 0x20)
    elf.probe("app", "begin", 0x400014)
    file = tmp_path / "program"
    file.write_bytes(elf.build())
    try:
        event = scene.stack.enter_context(uprobe_event(str(file), 0x114))
        other = scene.stack.enter_context(uprobe_event(str(file), 0x114))
    except OSError as error:
        pytest.skip(f"no uprobes here: {error}")
    program = scene.prog("kprobe", name="watcher")
    set_bpf(event, program)
    link = scene.stack.enter_context(load.link_create(program, other, "perf_event", 0, bytes(8)))
    id = str(load.object_id(link, "link"))
    expected = {"symbol": "handler", "symbol_offset": 4, "usdt": ["app:begin"]}
    for row in (
        rows("--resolve", "link", "show", "id", id),
        next(r for r in rows("--resolve", "perf") if r.get("filename") == str(file)),
    ):
        assert row.items() >= expected.items() and row["prog_name"] == "watcher"
    text = run("--resolve", "link", "show", "id", id).text
    assert "(watcher)" in text and "symbol handler+0x4  usdt app:begin" in text
    assert "symbol handler+0x4  usdt app:begin\n" in run("--resolve", "perf").text
    assert "symbol" not in rows("link", "show", "id", id)


def test_threads_with_descriptors_of_their_own() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", THREAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdin is not None
    try:
        tid, fd = map(int, child.stdout.readline().split())
        assert tid != child.pid
        assert (tid, fd) in [(row["pid"], row["fd"]) for row in rows("perf")]
    finally:
        child.stdin.close()
        child.wait()


INNER = """
import json, os, sys
from pybpftool.kernel import perf
from tests.support import asm, load
program = load.prog_load("raw_tracepoint", asm.ret(0), name="inner")
link = load.raw_tracepoint_open(program, "sys_exit")
try:
    print(json.dumps([os.getpid(), link.fd, [row[:2] for row in perf.task_fds()]]))
except Exception as error:
    print(json.dumps(str(error)))
"""


def test_pid_namespace_without_its_own_proc() -> None:
    """/proc of an outer pid namespace: pids are translated, others' processes left out."""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", INNER],
        capture_output=True,
        text=True,
        check=True,
    )
    pid, fd, found = json.loads(done.stdout)
    assert found == [[pid, fd]] and pid < 10


def test_no_permission() -> None:
    from tests.support.corpus import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, without_capabilities

    with without_capabilities(CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON):
        for words in (["perf"], ["link"], ["link", "show", "id", "1"]):
            assert "CAP_SYS_ADMIN" in refused(*words).errors


@needs_6_6
def test_cgroups(scene: Scene) -> None:
    root = add_cgroups(scene)
    found = {row["cgroup"]: row["programs"] for row in rows("cgroup", "tree", root)}
    assert set(found) >= {root, root + "/a", root + "/a/b", root + "/a/b/c", root + "/e"}
    assert root + "/d/empty" not in found
    flags = [row["attach_flags"] for row in found[root]]
    assert flags == ["multi", "multi"]
    assert {row["attach_flags"] for row in found[root + "/a/b"]} == {"", "multi"}
    inherited = rows("cgroup", "show", root + "/a/b/c", "effective")
    assert [row["attach_type"] for row in inherited].count("cgroup_inet_egress") == 3
    text = run("cgroup", "tree", root).text
    assert f"\n{root}/a/b/c\n    " in text
    # Everything is in the hierarchy that is found by itself, too.
    everything = {row["cgroup"] for row in rows("cgroup", "tree")}
    assert set(found) <= everything


def test_cgroup_attach_and_detach(scene: Scene) -> None:
    path = scene.stack.enter_context(load.temp_cgroup())
    program = scene.prog("cgroup_skb", 1, attach="cgroup_inet_egress", name="attached")
    id = str(load.object_id(program))
    assert run("cgroup", "attach", path, "egress", "id", id, "multi").status == 0
    assert [row["attach_flags"] for row in rows("cgroup", "show", path)] == ["multi"]
    assert "attached" in run("cgroup", "show", path).text
    refused("cgroup", "attach", path, "egress", "id", id, "multi")
    refused("cgroup", "attach", path, "egress", "id", id, "nonsense")
    refused("cgroup", "attach", path, "nonsense", "id", id)
    refused("cgroup", "attach", "/nonexistent", "egress", "id", id)
    refused("cgroup", "attach", "/tmp", "egress", "id", id)
    assert run("-j", "cgroup", "detach", path, "cgroup_inet_egress", "id", id).out == b"null\n"
    assert rows("cgroup", "show", path) == []
    refused("cgroup", "detach", path, "egress", "id", id)
    assert run("cgroup", "attach", path, "egress", "id", id, "over").status == 0
    assert rows("cgroup", "show", path)[0]["attach_flags"] == "override"
    assert run("cgroup", "detach", path, "egress", "id", id).status == 0


def test_not_a_cgroup(tmp_path: Path) -> None:
    for words in (["show", str(tmp_path)], ["tree", str(tmp_path)]):
        assert "cgroup2" in refused("cgroup", *words).errors
    file = tmp_path / "file"
    file.write_text("")
    assert rows("cgroup", "tree", str(file)) == []


def test_a_cgroup_that_cannot_be_queried_does_not_end_the_tree(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = add_cgroups(scene)
    query = cgroups._Query.programs

    def programs(self: Any, fd: int, path: str) -> list[tuple[int, int, int]]:
        if path.endswith("/a"):
            raise KernelError.of(f"cannot query '{path}'", EACCES)
        if path.endswith("/e"):
            raise KernelError.of(f"cannot query '{path}'", 2)  # it vanished
        return query(self, fd, path)

    monkeypatch.setattr(cgroups._Query, "programs", programs)
    result = run("cgroup", "tree", root)
    assert result.status != 0 and "/a'" in result.errors and "/e'" not in result.errors
    assert f"\n{root}/a/b\n" in result.text and f"\n{root}/a\n" not in result.text


def test_unknown_attach_types_are_left_out(scene: Scene) -> None:
    root = add_cgroups(scene)
    plain = LiveKernel().cgroup_programs(root, SHOWN_TYPES, 0)
    assert LiveKernel().cgroup_programs(root, (*SHOWN_TYPES, 9999), 0) == plain != []


@needs_6_6
def test_networks(scene: Scene) -> None:
    add_net(scene)
    (row,) = rows("net")
    assert {r["mode"] for r in row["xdp"]} == {"generic", "driver"}
    kinds = [r["kind"] for r in row["tc"]]
    expected = {"tcx/ingress", "tcx/egress", "clsact/ingress", "ingress"}
    # Debian's kernels have classful qdiscs in modules that a virtual machine need not have.
    qdiscs = subprocess.run(["tc", "qdisc"], capture_output=True, text=True, check=True).stdout
    if " htb " in qdiscs:
        expected.add("htb")
    assert expected <= set(kinds)
    assert row["flow_dissector"] and len(row["netfilter"]) >= 4
    only = rows("net", "show", "dev", "pybt0")[0]
    assert {r["devname"] for r in only["xdp"] + only["tc"]} == {"pybt0"}
    # The same seen from elsewhere, by process and by path.
    pid = str(threading.get_native_id())
    listed = rows("net", "show", "netns", f"/proc/{pid}/task/{pid}/ns/net")
    assert listed == [row]
    own, *_ = rows("net", "show", "all")
    assert own["netns"]["own"] and own["tc"] == row["tc"]


@needs_6_6
def test_another_namespace() -> None:
    """A namespace that only a thread is in, from outside; then all of them."""
    ready, done = threading.Event(), threading.Event()
    tids: list[int] = []

    def inside() -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(load.temp_netns())
            scene = Scene(stack)
            add_net(scene)
            tids.append(threading.get_native_id())
            ready.set()
            done.wait()

    thread = threading.Thread(target=inside)
    thread.start()
    try:
        assert ready.wait(60)
        before = os.stat("/proc/thread-self/ns/net").st_ino
        (row,) = rows("net", "show", "netns", str(tids[0]))
        assert {r["devname"] for r in row["xdp"]} == {"lo", "pybt0", "pybt1"}
        assert any(r["kind"] == "tcx/ingress" for r in row["tc"])
        (one,) = rows("net", "show", "dev", "pybt1", "netns", str(tids[0]))
        assert {r["devname"] for r in one["xdp"]} == {"pybt1"}
        everything = rows("net", "show", "all")
        assert [r for r in everything if r.get("xdp") == row["xdp"]]
        assert os.stat("/proc/thread-self/ns/net").st_ino == before
        refused("net", "show", "netns", "no such")
        refused("net", "show", "netns", "/etc/passwd")
    finally:
        done.set()
        thread.join()


@needs_6_6
def test_net_attach_and_detach(scene: Scene) -> None:
    add_device(scene, "pybt0", "type", "veth", "peer", "name", "pybt1")
    xdp = str(load.object_id(scene.prog("xdp", 2, attach="xdp", name="first")))
    other = str(load.object_id(scene.prog("xdp", 1, attach="xdp", name="second")))
    for kind, mode in (("xdpgeneric", "generic"), ("xdpdrv", "driver"), ("xdp", "driver")):
        assert run("net", "attach", kind, "id", xdp, "dev", "pybt0").status == 0
        assert rows("net")[0]["xdp"][0]["mode"] == mode
        refused("net", "attach", kind, "id", other, "dev", "pybt0")
        assert run("net", "attach", kind, "id", other, "dev", "pybt0", "overwrite").status == 0
        # Upstream looks at no word behind these.
        for more in (["more"], ["prepend"]):
            words = ["net", "attach", kind, "id", other, "dev", "pybt0", "overwrite", *more]
            assert run(*words).status == 0
        assert rows("net")[0]["xdp"][0]["id"] == int(other)
        assert run("-j", "net", "detach", kind, "dev", "pybt0").out == b"null\n"
        assert rows("net")[0]["xdp"] == []
    refused("net", "attach", "xdpoffload", "id", xdp, "dev", "pybt0")
    first, second = (
        str(load.object_id(scene.prog("sched_cls", attach="tcx_ingress", name=name)))
        for name in ("one", "two")
    )
    assert run("net", "attach", "tcx_ingress", "id", first, "dev", "pybt0").status == 0
    assert run("net", "attach", "tcx_i", "id", second, "dev", "pybt0", "prepend").status == 0
    assert [row["name"] for row in rows("net")[0]["tc"]] == ["two", "one"]
    refused("net", "attach", "tcx_ingress", "id", first, "dev", "pybt0", "overwrite")
    refused("net", "attach", "xdp", "id", xdp, "dev", "pybt0", "prepend")
    refused("net", "attach", "tcx_ingress", "id", first, "dev", "pybt0", "nonsense")
    assert run("net", "detach", "tcx_ingress", "dev", "pybt0").status == 0
    assert len(rows("net")[0]["tc"]) == 1
    refused("net", "detach", "tcx_egress", "dev", "pybt0")
    refused("net", "detach", "xdp", "dev", "nonexistent")


def test_devices_that_vanish_during_a_listing(scene: Scene) -> None:
    stop = threading.Event()
    netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    scene.stack.callback(os.close, netns)

    def churn() -> None:
        ctypes.CDLL(None).setns(netns, 0x40000000)
        while not stop.is_set():
            load.ip("link", "add", "pybtx", "type", "veth", "peer", "name", "pybty")
            load.ip("link", "del", "pybtx")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(15):
            result = run("net", "show")
            assert result.status == 0, result.errors
    finally:
        stop.set()
        thread.join()


def test_namespaces_and_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel_net, "NAMED_NAMESPACES", str(tmp_path))
    (tmp_path / "ours").symlink_to("/proc/self/ns/net")
    (tmp_path / "no_namespace").write_text("")
    (tmp_path / "broken").symlink_to("/nonexistent")
    own, *others = kernel_net.network_namespaces()
    assert own[0] == "" and own[2] == "ours"
    assert own[1] == os.stat("/proc/self/ns/net").st_ino
    assert own[1] not in [row[1] for row in others]
    assert kernel_net.namespace_path("ours") == str(tmp_path / "ours")
    assert kernel_net.namespace_path(str(os.getpid())) == f"/proc/{os.getpid()}/ns/net"
    assert kernel_net.device_index("lo", "") == socket.if_nametoindex("lo")
    for word in ("", "..", "nothing", "999999999"):
        with pytest.raises(Exception, match="namespace"):
            kernel_net.namespace_path(word)
