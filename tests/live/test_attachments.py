"""``attachments`` on a machine with a bit of everything: the union of the listings, once each."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from pybpftool.inspect.places import KEYS
from pybpftool.kernel.kept_namespaces import kept_network_namespaces
from tests.support import asm, attachments, load, netdevs
from tests.support.attachments_union import compare
from tests.support.cli import run

pytestmark = pytest.mark.live

UPSTREAM = shutil.which("bpftool-up")


@pytest.fixture(scope="module")
def scene() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        made = attachments.Scene(stack)
        attachments.add_links(made)
        attachments.add_perf(made)
        attachments.add_cgroups(made)
        netdevs.add_net(made)
        yield


def ours(*words: str) -> Any:
    return json.loads(run("-j", *words).out)


def upstream(*words: str) -> Any:
    command = [str(UPSTREAM), "-j", *words]
    if words[2:3] == ("netns",):
        command = ["nsenter", f"--net={words[3]}", str(UPSTREAM), "-j", *words[:2]]
    done = subprocess.run(command, capture_output=True, check=False)
    # Of a flow dissector it leaves out the braces, and others may load programs of any name.
    text = re.sub(rb'\["id":(\d+)\]', rb'[{"id":\1}]', done.stdout) or b"[]"
    return json.loads(text.decode("utf-8", "replace"), strict=False)


@pytest.mark.parametrize("ask", [ours, upstream])
def test_union(scene: None, ask: Any) -> None:
    if ask is upstream and UPSTREAM is None:
        pytest.skip("there is no upstream bpftool to compare with")
    for _ in range(5):  # others may change the machine meanwhile
        result = run("-j", "attachments")
        own = os.stat("/proc/thread-self/ns/net").st_ino
        others = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                others[os.stat(f"/proc/{pid}/ns/net").st_ino] = f"/proc/{pid}/ns/net"
        for path, inode, *_ in kept_network_namespaces():
            others.setdefault(inode, path)
        others.pop(own, None)
        wrong = compare(ask, json.loads(result.out), ["", *others.values()])
        if not wrong:
            break
    assert wrong == []
    assert result.status == 0
    hooks = {row["hook"] for row in json.loads(result.out)}
    assert {"xdp", "clsact/ingress", "cgroup_inet_egress", "raw_tracepoint", "iter"} <= hooks
    assert ("tcx/ingress" in hooks) == netdevs.takes_tcx()


def test_programs_are_said_to_hang_at_the_same_places(scene: None) -> None:
    """By names alone: ids and what filters are called are left out, links of many spread out."""
    for _ in range(5):  # others may change the machine meanwhile
        rows = ours("attachments")
        progs = ours("prog", "show", "--full")
        told = Counter(
            (prog["id"], place["hook"], place.get("position"))
            for prog in progs
            for place in prog.get("attached", ())
        )
        expected = Counter[Any]()
        for row in rows:
            if "prog_id" in row and not row.get("detached"):
                target = next((row[key] for key in KEYS if key in row), "")
                number = len(target) if isinstance(target, list) else 1
                expected[row["prog_id"], row["hook"], row.get("position")] += number
        if told == expected:
            break
    assert told == expected
    hooks = {hook for _, hook, _ in told}
    assert {"ingress", "xdp", "clsact/egress", "cgroup_inet_egress"} <= hooks


def test_text_has_a_line_each(scene: None) -> None:
    lines = run("attachments").text.splitlines()
    assert lines[0].split()[:2] == ["hook", "target"]
    some = run("attachments", "--filter", "hook=xdp", "--columns", "dev,prog_id").text.splitlines()
    assert all(line.split()[1].isdigit() for line in some[2:]) and len(some) >= 5


def test_programs_of_a_socket_map_without_a_link() -> None:
    with contextlib.ExitStack() as stack:
        maps = [stack.enter_context(load.map_create(type, 4, 4, 4, name="socks"))
                for type in ("sockmap", "sockhash")]  # fmt: skip
        verdict = stack.enter_context(load.prog_load("sk_skb", asm.ret(1), name="verdict"))
        message = stack.enter_context(
            load.prog_load("sk_msg", asm.ret(1), name="message", attach="sk_msg_verdict")
        )
        load.prog_attach(maps[0], verdict, "sk_skb_stream_verdict")
        load.prog_attach(maps[1], message, "sk_msg_verdict")
        ids = [load.object_id(prog) for prog in (verdict, message)]
        map_ids = [load.object_id(map, "map") for map in maps]
        rows = [row for row in ours("attachments") if row.get("prog_id") in ids]
        if not rows:
            pytest.skip("this kernel does not tell of programs of socket maps (Linux 5.19 does)")
        found = sorted((row["hook"], row["map"], row["map_id"], row["prog_id"]) for row in rows)
        assert found == [
            ("sk_msg_verdict", "socks", map_ids[1], ids[1]),
            ("sk_skb_stream_verdict", "socks", map_ids[0], ids[0]),
        ]
        tree = run("why", "prog", "id", str(ids[0])).text
        assert "sk_skb_stream_verdict map socks" in tree
        assert f"map {map_ids[0]} sockmap socks (sk_skb_stream_verdict)" in tree


def test_programs_of_a_cgroup_in_the_order_in_which_they_run() -> None:
    preorder = 64  # BPF_F_PREORDER, v6.15
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(load.temp_cgroup())
        os.mkdir(path + "/in")
        found = {}
        for place, names in ((path, "ab"), (path + "/in", "cDeF")):
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            for name in names:
                prog = stack.enter_context(
                    load.prog_load("cgroup_skb", asm.ret(1), attach="cgroup_inet_egress", name=name)
                )
                found[load.object_id(prog)] = name
                try:
                    load.prog_attach(fd, prog, "cgroup_inet_egress",
                                     2 | preorder * name.isupper())  # fmt: skip
                except OSError as error:
                    pytest.skip(f"this kernel has no programs that run first: {error}")
        rows = [row for row in ours("attachments") if row.get("prog_id") in found]
        assert ["".join(found[row["prog_id"]] for row in rows if row["cgroup"].endswith(end))
                for end in (os.path.basename(path), "/in")] == ["ab", "DFce"]  # fmt: skip
        assert [row["position"] for row in rows] == [1, 2, 1, 2, 3, 4]
        there = ours("why", "cgroup", path + "/in")["programs"]
        assert "".join(found[row["prog"]["id"]] for row in there) == "DFceab"


def test_programs_of_two_hooks_of_a_cgroup_do_not_wait_for_each_other() -> None:
    with contextlib.ExitStack() as stack:
        scene = attachments.Scene(stack)
        path = stack.enter_context(load.temp_cgroup())
        for hook in ("bpf_lsm_socket_bind", "bpf_lsm_socket_connect"):
            try:
                attachments._attach_lsm(scene, path, hook)
            except (OSError, LookupError) as error:
                pytest.skip(f"this kernel has none: {error}")
        name = "/" + os.path.basename(path)
        rows = [row for row in ours("attachments") if row.get("cgroup") == name]
        assert [(row["symbol"], row["position"]) for row in rows] == [
            ("bpf_lsm_socket_bind", 1), ("bpf_lsm_socket_connect", 1)
        ]  # fmt: skip


def test_cgroups_that_two_threads_ask_about() -> None:
    import sys
    import threading

    from pybpftool.kernel.cgroups import cgroup_programs

    egress = load.ATTACH["cgroup_inet_egress"]
    wrong = []
    with contextlib.ExitStack() as stack:
        paths = [stack.enter_context(load.temp_cgroup()) for _ in range(2)]
        ids = []
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            prog = stack.enter_context(
                load.prog_load("cgroup_skb", asm.ret(1), attach="cgroup_inet_egress")
            )
            load.prog_attach(fd, prog, "cgroup_inet_egress")
            ids.append(load.object_id(prog))

        def ask(path: str, id: int) -> None:
            for _ in range(800):
                found = [row[1] for row in cgroup_programs(path, (egress,), 1)]
                if id not in found or set(ids) <= set(found):
                    wrong.append(found)

        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=ask, args=each) for each in zip(paths, ids)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
