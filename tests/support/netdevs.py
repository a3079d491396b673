"""Network devices with programs of every kind, in the current network namespace."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from functools import partial

from tests.support import asm, load
from tests.support.attachments import Scene, add_device, add_netkit


def tc(*words: str) -> None:
    """Run tc(8); OSError with its words when it fails."""
    done = subprocess.run(["tc", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError("tc %s: %s" % (" ".join(words), done.stderr.strip() or done.stdout.strip()))


def _set_link(ifindex: int, number: int, value: bytes) -> None:
    """Set an attribute of a device (RTM_SETLINK)."""
    body = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)
    body += struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body)
        error = struct.unpack_from("=i", sock.recv(8192), 16)[0]
    if error:
        raise OSError(-error, os.strerror(-error))


def rename(device: str, name: bytes) -> None:
    """Give a device another name, of any bytes that the kernel takes."""
    _set_link(socket.if_nametoindex(device), 3, name + b"\0")  # IFLA_IFNAME


def takes_tcx() -> bool:
    """Whether the kernel has links of tcx (Linux 6.6)."""
    with load.temp_netns(), load.prog_load("sched_cls", asm.ret(0), attach="tcx_ingress") as prog:
        try:
            load.link_create(prog, 1, "tcx_ingress", 0, bytes(16)).close()
        except OSError:
            return False
    return True


def set_xdp(ifindex: int, prog: load.AnyFd, flags: int) -> None:
    """Attach an XDP program without a link (RTM_SETLINK with IFLA_XDP)."""
    inner = struct.pack("=HHi", 8, 1, load.int_fd(prog)) + struct.pack("=HHI", 8, 3, flags)
    _set_link(ifindex, 43 | 0x8000, inner)


def add_net(scene: Scene) -> None:
    """XDP, tcx, tc filters on several qdiscs, a flow dissector, netfilter, netkit."""
    add_device(scene, "pybt0", "type", "veth", "peer", "name", "pybt1")
    for name in ("pybt1", "lo"):
        load.ip("link", "set", name, "up")
    index = {name: socket.if_nametoindex(name) for name in ("lo", "pybt0", "pybt1")}
    xdp = scene.prog("xdp", 2, attach="xdp", name="xdp_pass")
    scene.attempt("xdp generic", lambda: set_xdp(index["lo"], xdp, 2))
    scene.attempt("xdp driver", lambda: set_xdp(index["pybt0"], xdp, 4))
    frags = scene.prog("xdp", 2, attach="xdp", name="xdp_frags", flags=load.F_XDP_HAS_FRAGS)
    scene.link("xdp link", lambda: load.link_create(frags, index["pybt1"], "xdp", 4))
    for attach in ("tcx_ingress", "tcx_egress"):
        scene.attempt(attach, partial(_attach_tcx, scene, index["pybt0"], attach))
        scene.link(
            attach + " link",
            lambda attach=attach: load.link_create(  # type: ignore[misc]
                scene.prog("sched_cls", attach=attach, name="b_tcx"),
                index["pybt0"],
                attach,
                0,
                bytes(16),
            ),
        )
    _filters(scene)
    with open("/proc/thread-self/ns/net") as netns:
        scene.link(
            "flow_dissector",
            lambda: load.link_create(
                scene.prog("flow_dissector", attach="flow_dissector"),
                netns.fileno(),
                "flow_dissector",
            ),
        )
    for pf, hook, priority, flags in (
        (10, 3, 11, 0),
        (2, 4, 6, 0),
        (2, 0, -129, 0),
        (2, 0, -200, 0),
    ):
        extra = struct.pack("=IIiI", pf, hook, priority, flags)
        scene.link(
            f"netfilter {pf} {hook} {priority}",
            lambda extra=extra: load.link_create(  # type: ignore[misc]
                scene.prog("netfilter", 1, attach="netfilter"), 0, "netfilter", 0, extra
            ),
        )
    scene.attempt("netkit", lambda: _netkit(scene))


def _attach_tcx(scene: Scene, ifindex: int, attach: str) -> None:
    load.prog_attach(ifindex, scene.prog("sched_cls", attach=attach, name="a_tcx"), attach)


def _netkit(scene: Scene) -> None:
    index = add_netkit(scene, "pybtnk")
    for attach in ("netkit_primary", "netkit_peer"):
        prog = scene.prog("sched_cls", attach=attach, name="a_netkit")
        load.prog_attach(index, prog, attach)
        scene.link(
            attach + " link",
            lambda attach=attach: load.link_create(  # type: ignore[misc]
                scene.prog("sched_cls", attach=attach, name="b_netkit"), index, attach, 0, bytes(16)
            ),
        )


def _filters(scene: Scene) -> None:
    """tc filters on clsact, ingress, a classful and a classless qdisc, with and without actions."""
    place = scene.stack.enter_context(load.temp_bpffs())
    for type in ("sched_cls", "sched_act"):
        load.obj_pin(scene.prog(type, name="a_" + type), f"{place}/{type}")
    cls, act = f"{place}/sched_cls", f"{place}/sched_act"
    rows = [
        "qdisc add dev pybt0 clsact",
        f"filter add dev pybt0 ingress bpf da pinned {cls}",
        f"filter add dev pybt0 egress bpf da pinned {cls}",
        f"filter add dev pybt0 egress bpf pinned {cls} action bpf pinned {act}"
        f" action bpf pinned {act} action gact ok",
        "qdisc add dev pybt1 ingress",
        f"filter add dev pybt1 parent ffff: bpf da pinned {cls}",
        "qdisc add dev pybt1 root handle 1: htb default 1",
        "class add dev pybt1 parent 1: classid 1:1 htb rate 1mbit",
        "class add dev pybt1 parent 1:1 classid 1:2 htb rate 1mbit",
        f"filter add dev pybt1 parent 1: bpf da pinned {cls}",
        f"filter add dev pybt1 parent 1:1 bpf pinned {cls} action bpf pinned {act}",
        "filter add dev pybt1 parent 1: matchall action gact ok",
        "qdisc add dev lo root handle 5: tbf rate 1mbit burst 10k latency 10ms",
        f"filter add dev lo parent 5: bpf da pinned {cls}",
        "qdisc replace dev lo root handle 6: prio",
        f"filter add dev lo parent 6: bpf da pinned {cls}",
    ]
    for row in rows:
        scene.attempt("tc " + row.replace(place, ""), lambda row=row: tc(*row.split()))  # type: ignore[misc]
