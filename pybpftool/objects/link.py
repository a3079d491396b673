"""Links: what each is attached to, where it is pinned and who holds it."""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError, VanishedError
from pybpftool.objects.holders import pids_text
from pybpftool.objects.links.source import LinkSource, word
from pybpftool.records import Record, readable
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.links.source import Json, Target

    Module = Callable[[], Any]
    Read = Callable[[LinkSource], Target | None]


def _tracing() -> Any:
    from pybpftool.objects.links import tracing

    return tracing


def _network() -> Any:
    from pybpftool.objects.links import network

    return network


def _probes() -> Any:
    from pybpftool.objects.links import probes

    return probes


LINK_KINDS: dict[int, tuple[Module, str]] = {
    uapi.BPF_LINK_TYPE_RAW_TRACEPOINT: (_tracing, "RawTracepoint"),
    uapi.BPF_LINK_TYPE_TRACING: (_tracing, "Tracing"),
    uapi.BPF_LINK_TYPE_CGROUP: (_network, "Cgroup"),
    uapi.BPF_LINK_TYPE_ITER: (_tracing, "Iter"),
    uapi.BPF_LINK_TYPE_NETNS: (_network, "Netns"),
    uapi.BPF_LINK_TYPE_XDP: (_network, "Device"),
    uapi.BPF_LINK_TYPE_PERF_EVENT: (_probes, "PerfLink"),
    uapi.BPF_LINK_TYPE_KPROBE_MULTI: (_probes, "KprobeMulti"),
    uapi.BPF_LINK_TYPE_STRUCT_OPS: (_tracing, "StructOps"),
    uapi.BPF_LINK_TYPE_NETFILTER: (_network, "Netfilter"),
    uapi.BPF_LINK_TYPE_TCX: (_network, "Device"),
    uapi.BPF_LINK_TYPE_UPROBE_MULTI: (_probes, "UprobeMulti"),
    uapi.BPF_LINK_TYPE_NETKIT: (_network, "Device"),
    uapi.BPF_LINK_TYPE_SOCKMAP: (_network, "Sockmap"),
    uapi.BPF_LINK_TYPE_TRACING_MULTI: (_tracing, "TracingMulti"),
}
"""Link type -> the class of its target and the module, imported when one is met, that has it."""

PRINTED_BARE = (uapi.BPF_LINK_TYPE_UNSPEC,)
"""Link types whose info says nothing, so that only the head is printed."""


def target_fields() -> set[str]:
    """The names of all fields that some target has."""
    names: set[str] = set()
    for module in (_tracing(), _network(), _probes()):
        for value in vars(module).values():
            if isinstance(value, type) and hasattr(value, "_fields"):
                names |= readable(value)
    return names


class Link(Record):
    """One link.

    ``type`` is a number where it is newer than our tables. ``target`` is what the program
    is attached to, None where the kernel tells nothing of it; ``prog_name`` is None unless
    names are asked for. ``pinned`` is None unless anything is known to be pinned.
    ``holders`` is (pid, comm) of each process with a descriptor of the link.
    """

    id: int
    type: str | int
    prog_id: int
    prog_name: str | None
    target: Target | None
    pinned: Sequence[str] | None
    holders: Sequence[tuple[int, str]]

    @property
    def bpf_cookie(self) -> int | None:
        """The cookie of a perf event link; None for others and where the kernel tells none."""
        # Upstream quirk: cookies of other links are not shown beside the holders.
        return getattr(self.target, "cookie", None) if self.type == "perf_event" else None

    def text(self) -> str:
        """The lines of the link."""
        id, kind, prog_id, prog_name, target, pinned, holders = self
        if kind == "struct_ops" and target is not None:
            subject = target.subject()  # type: ignore[attr-defined]  # only StructOps has it
        else:
            subject = f"prog {prog_id} ({prog_name})" if prog_name else f"prog {prog_id}"
        word = kind if kind.__class__ is str else f"type {kind}"
        details = "" if target is None else target.text()
        paths = "".join([f"\n\tpinned {path}" for path in pinned]) if pinned else ""
        if not holders:
            return f"{id}: {word}  {subject}  {details}{paths}\n"
        cookie = self.bpf_cookie if kind == "perf_event" else None
        shown = "" if cookie is None else f"\n\tbpf_cookie {cookie}"
        return f"{id}: {word}  {subject}  {details}{paths}{shown}{pids_text(holders)}\n"

    def json(self) -> Json:
        """The JSON properties of the link."""
        json: Json = {"id": self.id, "type": self.type, "prog_id": self.prog_id}
        if self.prog_name:
            json["prog_name"] = self.prog_name
        if self.target is not None:
            json.update(self.target.json())
        if self.pinned is not None:
            json["pinned"] = self.pinned
        if self.holders:
            cookie = self.bpf_cookie
            if cookie is not None:
                json["bpf_cookie"] = cookie
            json["pids"] = [{"pid": pid, "comm": comm} for pid, comm in self.holders]
        return json


class LinkReader:
    """Reads links of one kernel; keeps what several links share.

    ``pins``: look for paths in bpf file systems. ``resolve``: names that upstream does not
    show. ``held`` is who holds which link, as :meth:`Kernel.holders` answers, if known.
    """

    __slots__ = ("_head", "_held", "_pins", "_reads", "_source")

    def __init__(
        self,
        kernel: Kernel,
        pins: bool = False,
        resolve: bool = False,
        held: dict[int, list[tuple[int, str]]] | None = None,
    ) -> None:
        self._head = struct.Struct(kernel.byteorder + "III").unpack_from
        self._source = LinkSource(kernel, resolve)
        self._pins = kernel.pinned("link") if pins else {}
        self._held = kernel.holders("link") if held is None else held
        self._reads: dict[int, tuple[str | int, Read]] = {}

    def read(self, obj: BpfObject) -> Link:
        """The link of an open object; raises KernelError when the kernel refuses details."""
        source = self._source
        source.obj = obj
        source.info = info = obj.info
        number, id, prog_id = self._head(info)
        source.type, source.prog_id = number, prog_id
        kind = self._reads.get(number)
        if kind is None:
            kind = self._reads[number] = self._kind(number)
        pins = self._pins
        return Link(
            id,
            kind[0],
            prog_id,
            source.prog_name(prog_id),
            kind[1](source),
            pins.get(id, ()) if pins else None,
            self._held.get(id, ()),
        )

    def _kind(self, number: int) -> tuple[str | int, Read]:
        row = LINK_KINDS.get(number)
        read = _nothing if row is None else getattr(row[0](), row[1]).read
        return word(uapi.LINK_TYPES, number), read


def _nothing(source: LinkSource) -> None:
    """Of a type without a row nothing but the head is known."""


def collect(kernel: Kernel, pins: bool = True, resolve: bool = False) -> Iterator[Link | BpfError]:
    """All links in the order of their ids; in place of one that the kernel refuses, the error."""
    listing = kernel.listing("link")
    reader = LinkReader(kernel, pins, resolve, listing.held)
    for obj in listing.objects():
        try:
            yield reader.read(obj)
        except VanishedError:
            continue
        except BpfError as error:
            yield error
