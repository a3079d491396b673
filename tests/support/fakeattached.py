"""A kernel made by hand that has links, task descriptors, cgroups and network devices.

The answers are constructed from the uapi headers: what no kernel at hand can attach (hardware
events, netkit, offloaded XDP, unknown types) is shown with these.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import BpfObject
from tests.support.fakekernel import FakeKernel

_QDISC = 38  # RTM_GETQDISC


class AttachedKernel(FakeKernel):
    """Answers of links, perf, cgroup and net from what a test puts in."""

    release = "6.12.0-fake"
    tells_qdiscs_of_one = False
    """Whether qdiscs are told of the device alone that was asked for, as since 7.3."""

    def __init__(self, byteorder: str = "<") -> None:
        super().__init__(byteorder)
        self.details: dict[int, dict[str, bytes] | KernelError] = {}
        self.tasks: list[tuple[int, int, int, int, bytes, int, int]] | KernelError = []
        self.places: dict[tuple[str, int], dict[str, Any]] = {}
        self.root: str | None = "/cg"
        self.cgroups: dict[str, list[tuple[int, int, int]]] = {}
        self.trees: dict[str, list[tuple[str, int, list[tuple[int, int, int]], str]]] = {}
        self.dumps: dict[str, dict[tuple[int, int, int], list[bytes]]] = {}
        self.devices: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
        self.dissectors: dict[str, int | KernelError] = {"": 0}
        self.namespaces: list[tuple[str, int, str, int, str]] = []
        self.kept: list[tuple[str, int, str, int, str]] = []
        self.indices: dict[str, int] = {}
        self.btf_names: dict[int, str] = {}
        self.build_ids: dict[bytes, str] = {}

    # --- filling ---

    def link(
        self, id: int, type: int, union: bytes = b"", *, prog: int = 7, size: int = 64
    ) -> None:
        """Add a link; `union` is what follows the common fields of ``struct bpf_link_info``."""
        head = struct.pack(self.byteorder + "IIIxxxx", type, id, prog)
        info = (head + union).ljust(size, b"\0")[: max(size, 16)]
        self.all["link"][id] = BpfObject("link", id, -1, info)

    def detail(self, id: int, **fields: bytes) -> None:
        """What the pointers of a link's info lead to; the info itself is the same."""
        self.details[id] = {"info": self.all["link"][id].info, **fields}

    def numbers(self, *values: int) -> bytes:
        """An array of 64-bit numbers."""
        return struct.pack(f"{self.byteorder}{len(values)}Q", *values)

    def message(self, netns: str, request: tuple[int, int, int], *messages: bytes) -> None:
        """Answer a dump request (type, ifindex, parent) with these messages."""
        self.dumps.setdefault(netns, {}).setdefault(request, []).extend(messages)

    # --- answering ---

    def link_details(self, link: BpfObject) -> dict[str, bytes]:
        found = self.details.get(link.id)
        if isinstance(found, KernelError):
            raise found
        return {"info": link.info} if found is None else found

    def task_fds(self) -> list[tuple[int, int, int, int, bytes, int, int]]:
        if isinstance(self.tasks, KernelError):
            raise self.tasks
        return self.tasks

    def file_place(self, path: str, offset: int) -> dict[str, Any]:
        return self.places.get((path, offset), {})

    def build_id_file(self, build_id: bytes) -> str:
        return self.build_ids.get(build_id, "")

    def btf_name(self, id: int) -> str:
        return self.btf_names.get(id, "")

    def cgroup_root(self) -> str | None:
        return self.root

    def cgroup_programs(
        self, path: str, attach_types: tuple[int, ...], query_flags: int
    ) -> list[tuple[int, int, int]]:
        try:
            return self.cgroups[path]
        except KeyError:
            raise KernelError.of(f"cannot open the cgroup '{path}'", errno.ENOENT) from None

    def cgroup_tree(
        self, root: str, attach_types: tuple[int, ...], query_flags: int
    ) -> list[tuple[str, int, list[tuple[int, int, int]], str]]:
        try:
            return self.trees[root]
        except KeyError:
            raise KernelError.of(f"cannot open the cgroup '{root}'", errno.ENOENT) from None

    def has_file(self, path: str) -> bool:
        return path in self.files

    def netlink_dump(self, request: bytes, netns: str) -> list[bytes]:
        kind = struct.unpack_from("=H", request, 4)[0]
        ifindex, _, parent = struct.unpack_from("=iII", request.ljust(36, b"\0"), 20)
        key = (kind, 0, 0) if kind == 18 else (kind, ifindex, parent)
        if netns not in self.dumps:
            raise KernelError.of("a netlink request failed", errno.ENOENT)
        found = self.dumps[netns].get(key)
        if kind == _QDISC and not self.tells_qdiscs_of_one:
            every = [found for key, found in self.dumps[netns].items() if key[0] == _QDISC]
            found = [message for some in every for message in some] if every else None
        if found is None:
            raise KernelError.of("a netlink request failed", errno.ENODEV)
        return found

    def device_programs(
        self, ifindex: int, attach_type: int, netns: str
    ) -> list[tuple[int, int, int, int]]:
        return self.devices.get((ifindex, attach_type), [])

    def flow_dissector(self, netns: str) -> int:
        found = self.dissectors.get(netns, 0)
        if isinstance(found, KernelError):
            raise found
        return found

    def device_index(self, name: str, netns: str) -> int:
        try:
            return self.indices[name]
        except KeyError:
            raise KernelError(f"there is no network device '{name}'", errno.ENODEV) from None

    def network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        return self.namespaces

    def kept_network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        return self.kept

    def namespace_path(self, word: str) -> str:
        for path, _, name, pid, _ in self.namespaces:
            if word in (name, str(pid)):
                return path
        raise BpfError(f"there is no network namespace '{word}'")


def attribute(number: int, data: bytes) -> bytes:
    """A netlink attribute."""
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def number(value: int, code: str = "I") -> bytes:
    """A number as an attribute's content."""
    return struct.pack("=" + code, value)


def text(value: str) -> bytes:
    """A string as an attribute's content."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


def link_message(index: int, name: str, xdp: bytes | None = None) -> bytes:
    """RTM_NEWLINK with IFLA_XDP around the attributes `xdp`."""
    body = struct.pack("=BxHiII", 0, 1, index, 0, 0)
    body += attribute(3, text(name)) if name else b""
    body += attribute(52, bytes(8))  # one that nobody here knows
    body += attribute(43, xdp) if xdp is not None else b""
    return struct.pack("=IHHII", 16 + len(body), 16, 2, 1, 0) + body


def tc_message(type: int, index: int, handle: int, kind: str | None, options: bytes = b"") -> bytes:
    """RTM_NEWQDISC, RTM_NEWTCLASS or RTM_NEWTFILTER."""
    body = struct.pack("=BxxxiIII", 0, index, handle, 0, 0)
    body += attribute(1, text(kind)) if kind is not None else b""
    body += attribute(2, options) if options else b""
    return struct.pack("=IHHII", 16 + len(body), type, 2, 1, 0) + body
