"""Map types that a kernel knows, found out by making maps.

The requests are those of libbpf (src/libbpf_probes.c); each map is closed at once.
"""

from __future__ import annotations

import posix
from errno import EPERM
from struct import Struct

from pybpftool.kernel.syscall import ENOTSUPP, Buffer, bpf
from pybpftool.uapi import bpf as uapi

# union bpf_attr of BPF_MAP_CREATE: type, key, value, entries, flags, inner_map_fd, numa_node,
# name, ifindex, btf_fd, btf_key_type_id, btf_value_type_id, btf_vmlinux_value_type_id, map_extra.
_MAP = Struct("=7I16x5IQ")

_NO_PREALLOC, _MMAPABLE = 1 << 0, 1 << 10

_MAP_NUMBER = {name: number for number, name in enumerate(uapi.MAP_TYPES)}

_STORAGE = ("sk_storage", "inode_storage", "task_storage", "cgrp_storage")
_PAGE = posix.sysconf("SC_PAGE_SIZE")
# Map type -> sizes of key and value, number of elements, flags, where not 4, 4, 1, 0.
_SHAPES = {
    "stack_trace": (4, 8, 1, 0),
    "lpm_trie": (8, 8, 1, _NO_PREALLOC),
    "rhash": (4, 4, 1, _NO_PREALLOC),
    "cgroup_storage": (16, 8, 0, 0),
    "percpu_cgroup_storage": (16, 8, 0, 0),
    "queue": (0, 4, 1, 0),
    "stack": (0, 4, 1, 0),
    **dict.fromkeys(_STORAGE, (4, 8, 0, _NO_PREALLOC)),
    "ringbuf": (0, 0, _PAGE, 0),
    "user_ringbuf": (0, 0, _PAGE, 0),
    "bloom_filter": (0, 4, 1, 0),
    "arena": (0, 0, 1, _MMAPABLE),
    "insn_array": (4, 16, 1, 0),
}


class MapProbe:
    """Maps of the kernel, or of a network device; ``refused`` counts what ended with EPERM."""

    def __init__(self, ifindex: int) -> None:
        self.ifindex = ifindex
        self.refused = 0

    def map_type(self, name: str) -> bool:
        """Whether maps of a type can be made."""
        number = _MAP_NUMBER[name]
        if self.ifindex:
            return self._map(_MAP.pack(number, 4, 4, 1, 0, 0, 0, self.ifindex, 0, 0, 0, 0, 0)) >= 0
        if name == "struct_ops":
            # A kernel that looks whether type 1 of vmlinux is one of its operations knows the type.
            return self._map(_MAP.pack(number, 4, 4, 1, *[0] * 7, 1, 0)) == -ENOTSUPP
        key, value, entries, flags = _SHAPES.get(name, (4, 4, 1, 0))
        inner = btf = 0
        fds = []
        if name in ("array_of_maps", "hash_of_maps"):
            inner = self._made(uapi.BPF_MAP_CREATE, _map_attr(_MAP_NUMBER["hash"], 4, 4, 1))
            if inner < 0:
                return False
            fds.append(inner)
        if name in _STORAGE:
            btf = self._storage_btf()
            if btf < 0:
                return False
            fds.append(btf)
        try:
            types = (btf, 1, 3) if btf else (0, 0, 0)
            attr = _MAP.pack(number, key, value, entries, flags, inner, 0, 0, *types, 0, 0)
            return self._map(attr) >= 0
        finally:
            for fd in fds:
                posix.close(fd)

    def _map(self, attr: bytes) -> int:
        fd = self._made(uapi.BPF_MAP_CREATE, attr)
        if fd >= 0:
            posix.close(fd)
        return fd

    def _made(self, cmd: int, attr: bytes) -> int:
        request = Buffer.of(attr)
        result = bpf(cmd, request.address, len(attr))
        if result == -EPERM:
            self.refused += 1
        return result

    def _storage_btf(self) -> int:
        """BTF that maps of local storage want: type 3 is a value with a spin lock."""
        names = b"\0bpf_spin_lock\0val\0cnt\0l\0"
        kind_struct = 4 << 24
        types = Struct("=4I3I3I3I3I3I").pack(
            *(0, 1 << 24, 4, 1 << 24 | 32),  # [1] a signed int
            *(1, kind_struct | 1, 4, 15, 1, 0),  # [2] struct bpf_spin_lock { int val; }
            *(
                15,
                kind_struct | 2,
                8,
                19,
                1,
                0,
                23,
                2,
                32,
            ),  # [3] struct val { int cnt; 2 l; }
        )
        sizes = (0, len(types), len(types), len(names))
        header = Struct("=HBBIIIII").pack(0xEB9F, 1, 0, 24, *sizes)
        data = Buffer.of(header + types + names)
        return self._made(uapi.BPF_BTF_LOAD, Struct("=QQI").pack(data.address, 0, len(data.data)))


def _map_attr(type: int, key: int, value: int, entries: int) -> bytes:
    return _MAP.pack(type, key, value, entries, *[0] * 9)
