"""A kernel made by hand: any combination of fields, without privilege."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Any

from pybpftool.errors import KernelError
from pybpftool.kernel.interface import QUESTIONS, Batch, BpfObject, Kernel
from pybpftool.uapi import bpf as uapi


def pack(layout: tuple[tuple[str, int, str], ...], size: int, order: str, **fields: Any) -> bytes:
    """A ``struct bpf_*_info`` with these fields; the others are zero."""
    data = bytearray(size)
    for name, offset, code in layout:
        if name in fields:
            struct.pack_into(order + code, data, offset, fields.pop(name))
    assert not fields, f"no such fields: {fields}"
    return bytes(data)


class FakeKernel(Kernel):
    """Answers from dictionaries that a test fills; what is missing is refused with ENOENT."""

    release = "0.0-fake"
    machine = "x86_64"

    def __init__(self, byteorder: str = "<") -> None:
        self.byteorder = byteorder
        self.all: dict[str, dict[int, BpfObject]] = {k: {} for k in ("prog", "map", "link", "btf")}
        self.arrays: dict[int, dict[str, bytes | None]] = {}
        self.fdinfos: dict[tuple[str, int], bytes] = {}
        self.btfs: dict[int, bytes] = {}
        self.values: dict[tuple[int, bytes], bytes] = {}
        self.elems: dict[int, dict[bytes, bytes]] = {}  # map id -> its elements, in order
        self.next: dict[int, bytes] = {}  # map id -> what a queue or stack gives next
        self.pins: dict[str, dict[int, list[str]]] = {}
        self.held: dict[str, dict[int, list[tuple[int, str]]]] = {}
        self.files: dict[str, bytes | KernelError] = {}
        self.names: dict[int, str] = {}
        self.boot = 1_700_000_000_000_000_000
        self.opened = 0  # objects that are open at the moment
        self.asked: list[str] = []

    # --- filling ---

    def prog(self, id: int, *, memlock: int | None = 4096, **fields: Any) -> BpfObject:
        """Add a program with these fields of ``struct bpf_prog_info``."""
        orphaned = fields.pop("orphaned", False)
        map_ids = fields.pop("maps", ())
        fields.setdefault("type", 1)
        fields.setdefault("tag", bytes(range(8)))
        if map_ids:
            fields["nr_map_ids"] = len(map_ids)
        info = pack(uapi.BPF_PROG_INFO, uapi.BPF_PROG_INFO_SIZE, self.byteorder, id=id, **fields)
        obj = self.all["prog"][id] = BpfObject("prog", id, -1, info, orphaned)
        self.arrays[id] = {
            "map_ids": struct.pack(f"{self.byteorder}{len(map_ids)}I", *map_ids),
        }
        if memlock is not None:
            self.fdinfos["prog", id] = b"pos:\t0\nmemlock:\t%d\nprog_id:\t%d\n" % (memlock, id)
        return obj

    def map(self, id: int, **fields: Any) -> BpfObject:
        """Add a map with these fields of ``struct bpf_map_info``."""
        info = pack(uapi.BPF_MAP_INFO, uapi.BPF_MAP_INFO_SIZE, self.byteorder, id=id, **fields)
        obj = self.all["map"][id] = BpfObject("map", id, -1, info)
        return obj

    def btf(self, id: int, **fields: Any) -> BpfObject:
        """Add a BTF object with these fields of ``struct bpf_btf_info``."""
        info = pack(uapi.BPF_BTF_INFO, uapi.BPF_BTF_INFO_SIZE, self.byteorder, id=id, **fields)
        obj = self.all["btf"][id] = BpfObject("btf", id, -1, info)
        return obj

    # --- answering ---

    def objects(self, kind: str) -> Iterator[BpfObject]:
        self.asked.append(f"objects {kind}")
        for id in sorted(self.all[kind]):
            self.opened += 1
            try:
                yield self.all[kind][id]
            finally:
                self.opened -= 1

    def open(self, kind: str, id: int) -> BpfObject:
        try:
            obj = self.all[kind][id]
        except KeyError:
            raise KernelError(f"there is no {kind} with id {id}", errno.ENOENT) from None
        self.opened += 1
        return obj

    def open_pinned(self, path: str) -> BpfObject:
        for kind, pins in self.pins.items():
            for id, paths in pins.items():
                if path in paths:
                    return self.open(kind, id)
        raise KernelError.of(f"cannot open the object pinned at '{path}'", errno.ENOENT)

    def close(self, obj: BpfObject) -> None:
        self.opened -= 1

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        kept = self.arrays.get(prog.id, {})
        if "refused" in kept:
            raise KernelError.of(f"cannot get the info of program {prog.id}", errno.EPERM)
        return {"info": prog.info, **{name: kept.get(name, b"") for name in names}}

    def fdinfo(self, obj: BpfObject) -> bytes:
        try:
            return self.fdinfos[obj.kind, obj.id]
        except KeyError:
            raise KernelError.of("cannot read fdinfo", errno.ENOENT) from None

    def btf_data(self, id: int) -> bytes:
        try:
            return self.btfs[id]
        except KeyError:
            raise KernelError.of(f"cannot open BTF object {id}", errno.ENOENT) from None

    def btf_name(self, id: int) -> str:
        return ""

    def map_value(self, map: BpfObject, key: bytes) -> bytes:
        try:
            return self.values[map.id, key]
        except KeyError:
            raise KernelError.of("cannot look up an element", errno.ENOENT) from None

    def elements(self, map: BpfObject) -> Iterator[Batch]:
        # Two at a time, so that there are several batches.
        pairs = list(self.elems.get(map.id, {}).items())
        for at in range(0, len(pairs), 2):
            some = pairs[at : at + 2]
            keys, values = b"".join(key for key, _ in some), b"".join(value for _, value in some)
            yield Batch(keys, values, len(some))

    def lookup(self, map: BpfObject, key: bytes | None) -> bytes:
        value = self.next.get(map.id) if key is None else self.elems.get(map.id, {}).get(key)
        if value is None:
            raise KernelError.of(f"cannot look up an element of map {map.id}", errno.ENOENT)
        return value

    def next_key(self, map: BpfObject, key: bytes | None) -> bytes:
        keys = list(self.elems.get(map.id, {}))
        at = keys.index(key) + 1 if key in keys else 0
        if at == len(keys):
            raise KernelError.of(f"cannot get the next key of map {map.id}", errno.ENOENT)
        return keys[at]

    def pinned(self, kind: str) -> dict[int, list[str]]:
        self.asked.append(f"pinned {kind}")
        return self.pins.get(kind, {})

    def holders(self, kind: str) -> dict[int, list[tuple[int, str]]]:
        return self.held.get(kind, {})

    def file(self, path: str) -> bytes:
        content = self.files.get(path)
        if content is None:
            raise KernelError.of(f"cannot open {path}", errno.ENOENT)
        if isinstance(content, KernelError):
            raise content
        return content

    def boot_time_ns(self) -> int:
        return self.boot

    def ifname(self, ifindex: int, netns_dev: int, netns_ino: int) -> str | None:
        return self.names.get(ifindex)

    def ifindex_name(self, ifindex: int) -> str | None:
        return self.names.get(ifindex)


def _refused(question: str) -> Any:
    def ask(self: FakeKernel, *args: Any) -> Any:
        raise KernelError.of(f"no answer to {question}", errno.ENOENT)

    return ask


# Questions that no test of this package needs answered: they are refused, as a kernel may do.
for _question in QUESTIONS:
    if _question not in FakeKernel.__dict__:
        setattr(FakeKernel, _question, _refused(_question))
