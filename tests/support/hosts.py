"""A host made by hand, with programs, maps, links and places, and ways in which it changes."""

from __future__ import annotations

import struct

from pybpftool.kernel.interface import BpfObject
from tests.support import asm
from tests.support.fakeattached import AttachedKernel
from tests.support.fakeprogs import add_described, add_prog

HELPER = 0x1000  # offset of bpf_trace_printk from __bpf_call_base
BASE = 0xFFFFFFFF81000000

TCX_INGRESS = 46
LINK_TYPE_TCX = 11


class Host(AttachedKernel):
    """Answers whatever `diff` and `check` ask."""

    def __init__(self) -> None:
        super().__init__()
        self.release = "6.18.0-fake"
        self.namespaces = []
        self.root = None
        self.files["/proc/kallsyms"] = b"%016x T __bpf_call_base\n%016x T bpf_trace_printk\n" % (
            BASE,
            BASE + HELPER,
        )

    def netlink_dump(self, request: bytes, netns: str) -> list[bytes]:
        """A machine without a network of its own, unless a test fills it."""
        return super().netlink_dump(request, netns) if self.dumps else []

    def possible_cpus(self) -> int:
        return 1

    def network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        return self.namespaces


def load_map(register: int, id: int) -> bytes:
    """``rN = map[id:…]``"""
    return asm.insn(0x18, register, 1, 0, id) + bytes(8)


def host(shift: int = 0, map_id: int = 7) -> Host:
    """A host with three programs and two maps; `shift` moves the ids of programs."""
    kernel = Host()
    add_described(kernel, 1 + shift)
    code = (
        load_map(1, map_id) + asm.insn(0x85, 0, 0, 0, HELPER) + asm.mov64(asm.R0, 0) + asm.exit_()
    )
    add_prog(
        kernel, 2 + shift, code, name=b"counter", type=3, maps=(map_id,), gpl_compatible=1,
        verified_insns=40, tag=bytes([shift] * 8),
    )  # fmt: skip
    add_prog(kernel, 3 + shift, asm.mov64(asm.R0, 2) + asm.exit_(), name=b"twin", type=6)
    kernel.map(map_id, type=1, key_size=4, value_size=8, max_entries=16, name=b"flows")
    kernel.fdinfos["map", map_id] = b"memlock:\t4096\nfrozen:\t0\n"
    kernel.elems[map_id] = {struct.pack("<I", 1): bytes(8)}
    kernel.map(map_id + 1, type=2, key_size=4, value_size=4, max_entries=1, name=b"config")
    kernel.fdinfos["map", map_id + 1] = b"memlock:\t4096\nfrozen:\t1\n"
    kernel.elems[map_id + 1] = {bytes(4): struct.pack("<I", 5)}
    kernel.held["prog"] = {2 + shift: [(50, "agent")], 3 + shift: [(51, "other")]}
    kernel.held["map"] = {map_id: [(50, "agent")]}
    kernel.files["/proc/50/cgroup"] = b"0::/system.slice/agent.service\n"
    kernel.files["/proc/51/cgroup"] = b"0::/\n"
    add_tcx(kernel, 20 + shift, 2 + shift, "eth0", 2)
    return kernel


def add_tcx(kernel: Host, link: int, prog: int, device: str, ifindex: int) -> None:
    """A tcx link at the ingress of a device."""
    kernel.link(link, LINK_TYPE_TCX, struct.pack("<II", ifindex, TCX_INGRESS), prog=prog)
    kernel.names[ifindex] = device
    kernel.held.setdefault("link", {})[link] = [(50, "agent")]


def twin(kernel: Host, id: int, holder: str = "leaky", **fields: object) -> BpfObject:
    """One more program named `twin`."""
    add_prog(kernel, id, asm.mov64(asm.R0, 2) + asm.exit_(), name=b"twin", type=6, **fields)
    kernel.held["prog"][id] = [(60, holder)]
    return kernel.all["prog"][id]
