"""Each way in which Linux keeps a program: `why` names it, `attachments` tells each place once.

A situation is made, and what made it lets go of its own descriptors, so that nothing but what
is looked for holds the programs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import asm, attachments, load, netdevs
from tests.support.cli import run
from tests.support.load import Fd

pytestmark = pytest.mark.live

Stack = contextlib.ExitStack
# Programs and the places that each acts at, as `attachments` tells them.
Places = dict[int, list[dict[str, Any]]]

_FUNC = 12  # BTF_KIND_FUNC


def loaded(stack: Stack, type: str, value: int = 0, **words: Any) -> Fd:
    name = f"k_{type}"[:15]
    return stack.enter_context(load.prog_load(type, asm.ret(value), name=name, **words))


def own_network(stack: Stack) -> None:
    stack.enter_context(load.temp_netns())


def device(name: str = "pybt0") -> int:
    load.ip("link", "add", name, "type", "veth", "peer", "name", name + "p")
    load.ip("link", "set", name, "up")
    return socket.if_nametoindex(name)


def let_go(prog: Fd) -> int:
    """The id of a program whose descriptor is closed."""
    id = load.object_id(prog)
    prog.close()
    return id


def unordered(row: dict[str, Any]) -> dict[str, Any]:
    """A place with its functions by name: told in order of address, which each kernel chooses."""
    return {k: sorted(v) if k == "function" and isinstance(v, list) else v for k, v in row.items()}


def check(places: Places) -> None:
    """What the three words say of the programs."""
    rows = [unordered(row) for row in run("-j", "attachments").json]
    for id, expected in places.items():
        told = [row for row in rows if row.get("prog_id") == id]
        assert len(told) == len(expected), (told, expected)
        for row in expected:
            assert any(row.items() <= each.items() for each in told), (row, told)
        tree = run("-j", "why", "prog", "id", str(id)).json
        assert tree["held_by"] and "may_act_at" not in tree, tree
        acts = [unordered(row) for row in tree["acts_at"]]
        for row in expected:
            assert any(row.items() <= each.items() for each in acts), (row, acts)
    result = run("-j", "doctor", "unheld", "unattached", "hidden").json
    wrong = [row for row in result["findings"] if row.get("id") in places]
    assert wrong == []


# --- networks ---


def xdp_on_a_bond(stack: Stack) -> Places:
    own_network(stack)
    load.ip("link", "add", "pybond", "type", "bond")
    index = socket.if_nametoindex("pybond")
    prog = loaded(stack, "xdp", 2, attach="xdp")
    netdevs.set_xdp(index, prog, 2)
    return {let_go(prog): [{"hook": "xdp", "dev": "pybond", "detail": "generic"}]}


def xdp_on_a_bond_and_its_ports(stack: Stack) -> Places:
    own_network(stack)
    load.ip("link", "add", "pybond", "type", "bond", "mode", "active-backup")
    device()
    load.ip("link", "set", "pybt0", "down")
    load.ip("link", "set", "pybt0", "master", "pybond")
    prog = loaded(stack, "xdp", 2, attach="xdp")
    netdevs.set_xdp(socket.if_nametoindex("pybond"), prog, 4)
    id = let_go(prog)
    devices = ["pybond"]
    # Linux 7.3 tells nothing of it at the port.
    command = ["ip", "-d", "link", "show", "dev", "pybt0"]
    if "prog/xdp" in subprocess.run(command, check=True, capture_output=True, text=True).stdout:
        devices.append("pybt0")
    return {id: [{"hook": "xdp", "dev": name, "detail": "driver"} for name in devices]}


def an_action_of_a_bpf_filter(stack: Stack) -> Places:
    own_network(stack)
    device()
    place = stack.enter_context(load.temp_bpffs())
    cls, act = loaded(stack, "sched_cls"), loaded(stack, "sched_act")
    load.obj_pin(cls, place + "/cls")
    load.obj_pin(act, place + "/act")
    netdevs.tc(*["qdisc", "add", "dev", "pybt0", "clsact"])
    netdevs.tc(
        *f"filter add dev pybt0 ingress bpf pinned {place}/cls action bpf pinned {place}/act"
        .split()
    )  # fmt: skip
    os.unlink(place + "/cls")
    os.unlink(place + "/act")
    where = {"hook": "clsact/ingress", "dev": "pybt0"}
    return {let_go(cls): [where], let_go(act): [where]}


def an_action_of_another_filter(stack: Stack) -> Places:
    own_network(stack)
    device()
    place = stack.enter_context(load.temp_bpffs())
    act = loaded(stack, "sched_act")
    load.obj_pin(act, place + "/act")
    netdevs.tc(*["qdisc", "add", "dev", "pybt0", "clsact"])
    netdevs.tc(*f"filter add dev pybt0 egress matchall action bpf pinned {place}/act".split())
    os.unlink(place + "/act")
    return {let_go(act): [{"hook": "clsact/egress", "dev": "pybt0"}]}


def a_filter_of_a_shared_block(stack: Stack) -> Places:
    own_network(stack)
    device("pybt0")
    device("pybt1")
    place = stack.enter_context(load.temp_bpffs())
    cls = loaded(stack, "sched_cls")
    load.obj_pin(cls, place + "/cls")
    for name in ("pybt0", "pybt1"):
        netdevs.tc(*f"qdisc add dev {name} ingress_block 22 clsact".split())
    netdevs.tc(*f"filter add block 22 bpf da pinned {place}/cls".split())
    os.unlink(place + "/cls")
    return {let_go(cls): [{"hook": "clsact/ingress", "dev": name} for name in ("pybt0", "pybt1")]}


def a_flow_dissector_without_a_link(stack: Stack) -> Places:
    own_network(stack)
    prog = loaded(stack, "flow_dissector", attach="flow_dissector")
    load.prog_attach(0, prog, "flow_dissector")
    id = let_go(prog)

    def detach() -> None:
        with load.fd_by_id("prog", id) as again:
            load.prog_detach(0, again, "flow_dissector")

    stack.callback(detach)
    return {id: [{"hook": "flow_dissector"}]}


def links_of_a_network_namespace(stack: Stack) -> Places:
    own_network(stack)
    found: Places = {}
    with open("/proc/thread-self/ns/net") as netns:
        for type, value in (("flow_dissector", 0), ("sk_lookup", 1)):
            prog = loaded(stack, type, value, attach=type)
            stack.enter_context(load.link_create(prog, netns.fileno(), type))
            found[let_go(prog)] = [{"hook": type}]
    return found


def netfilter(stack: Stack) -> Places:
    own_network(stack)
    prog = loaded(stack, "netfilter", 1, attach="netfilter")
    for pf, hook, priority in ((2, 0, -128), (10, 3, 10)):
        extra = struct.pack("=IIiI", pf, hook, priority, 0)
        stack.enter_context(load.link_create(prog, 0, "netfilter", 0, extra))
    return {
        let_go(prog): [
            {"hook": "netfilter/ip/prerouting", "detail": "prio -128"},
            {"hook": "netfilter/ip6/output", "detail": "prio 10"},
        ]
    }


def netkit(stack: Stack) -> Places:
    own_network(stack)
    index = attachments.add_netkit(attachments.Scene(stack), "pybtnk")
    found: Places = {}
    for attach, hook in (("netkit_primary", "netkit/primary"), ("netkit_peer", "netkit/peer")):
        prog = loaded(stack, "sched_cls", attach=attach)
        load.prog_attach(index, prog, attach)
        found[let_go(prog)] = [{"hook": hook, "dev": "pybtnk"}]
    return found


# --- maps ---


def a_verdict_of_a_sockmap(stack: Stack) -> Places:
    found: Places = {}
    for kind in ("sockmap", "sockhash"):
        map = stack.enter_context(load.map_create(kind, 4, 4, 2, name=f"k_{kind}"))
        for type, attach in (
            ("sk_skb", "sk_skb_stream_parser"),
            ("sk_skb", "sk_skb_stream_verdict"),
            ("sk_msg", "sk_msg_verdict"),
        ):
            prog = loaded(stack, type, 1, attach=attach)
            load.prog_attach(map, prog, attach)
            found[let_go(prog)] = [{"hook": attach, "map": f"k_{kind}"}]
    return found


# --- cgroups ---


def lsm_of_a_cgroup(stack: Stack) -> Places:
    scene = attachments.Scene(stack)
    path = stack.enter_context(load.temp_cgroup())
    name = "/" + os.path.basename(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, fd)
    found: Places = {}
    for hook, is_link in (("bpf_lsm_socket_bind", True), ("bpf_lsm_socket_connect", False)):
        target = scene.kernel_id(_FUNC, hook)
        prog = loaded(stack, "lsm", 1, attach="lsm_cgroup", attach_btf_id=target)
        if is_link:
            stack.enter_context(load.link_create(prog, fd, "lsm_cgroup"))
        else:
            load.prog_attach(fd, prog, "lsm_cgroup", 2)
        found[let_go(prog)] = [{"hook": "lsm_cgroup", "cgroup": name, "symbol": hook}]
    return found


# --- tracing ---


def many_functions(stack: Stack) -> Places:
    scene = attachments.Scene(stack)
    attachments._multi_links(scene)
    if not scene.links:
        raise OSError(str(scene.refused))
    found: Places = {}
    for label, fd in scene.links.items():
        id = struct.unpack_from("=3I", load.info(fd))[2]
        kind, session = label.split("_")[0], ""
        key = {"function": ["vfs_fsync_range", "vfs_mkdir", "vfs_rmdir"]} if "kp" in kind or (
            "kretp" in kind) else {}  # fmt: skip
        row = {"hook": f"{kind}.multi{session}", "link_id": load.object_id(fd, "link"), **key}
        found.setdefault(id, []).append(row)
    for prog in scene._progs.values():
        prog.close()
    return found


def an_extension(stack: Stack) -> Places:
    scene = attachments.Scene(stack)
    inner = stack.enter_context(Stack())
    scene.stack = inner
    link = stack.enter_context(attachments._extension(scene))
    inner.close()
    info = load.info(link)
    id = struct.unpack_from("=3I", info)[2]
    target = struct.unpack_from("=I", info, 20)[0]  # tracing.target_obj_id
    detail = f"function pt_global_sub of prog {target}"
    return {id: [{"hook": "freplace", "prog": "pt_global_main", "detail": detail}]}


SITUATIONS: list[Callable[[Stack], Places]] = [
    xdp_on_a_bond,
    xdp_on_a_bond_and_its_ports,
    an_action_of_a_bpf_filter,
    an_action_of_another_filter,
    a_filter_of_a_shared_block,
    a_flow_dissector_without_a_link,
    links_of_a_network_namespace,
    netfilter,
    netkit,
    a_verdict_of_a_sockmap,
    lsm_of_a_cgroup,
    many_functions,
    an_extension,
]


@pytest.mark.parametrize("make", SITUATIONS, ids=lambda make: make.__name__)
def test_where_it_acts(make: Callable[[Stack], Places]) -> None:
    with Stack() as stack:
        try:
            places = make(stack)
        except (OSError, LookupError, ValueError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this kernel does not take it: {error}")
        assert places
        check(places)
