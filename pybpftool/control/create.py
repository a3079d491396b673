"""Making maps."""

from __future__ import annotations

import struct
from errno import EINVAL, EPERM

from pybpftool.control import require_live
from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import ENOTSUPP, Buffer, bpf
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi.bpf import BPF_OBJ_NAME_LEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import Kernel

# union bpf_attr: map_type, key_size, value_size, max_entries, map_flags, inner_map_fd,
# numa_node, map_name, map_ifindex
_CREATE_ATTR = struct.Struct("=7I16sI")


class NewMap:
    """What a map to be created is like (the part of ``union bpf_attr`` for it)."""

    __slots__ = (
        "flags",
        "ifindex",
        "inner_map_fd",
        "key_size",
        "max_entries",
        "name",
        "type",
        "value_size",
    )

    def __init__(self, type: int, name: str) -> None:
        self.type = type
        self.name = name
        self.key_size = 0
        self.value_size = 0
        self.max_entries = 0
        self.flags = 0
        self.inner_map_fd = 0
        self.ifindex = 0


def create_map(kernel: Kernel, new: NewMap) -> int:
    """Create a map; a file descriptor. Names are cut at 15 bytes."""
    require_live(kernel)
    name = new.name.encode("utf-8", "surrogateescape")[: BPF_OBJ_NAME_LEN - 1]
    attr = Buffer.of(
        _CREATE_ATTR.pack(
            new.type,
            new.key_size,
            new.value_size,
            new.max_entries,
            new.flags,
            new.inner_map_fd,
            0,
            name,
            new.ifindex,
        )
    )
    fd = bpf(uapi.BPF_MAP_CREATE, attr.address, len(attr.data))
    if fd == -EPERM:
        # Before Linux 5.11 maps counted against RLIMIT_MEMLOCK.
        _raise_memlock()
        fd = bpf(uapi.BPF_MAP_CREATE, attr.address, len(attr.data))
    if fd < 0:
        raise _refusal(new, -fd)
    return fd


def _refusal(new: NewMap, errno: int) -> KernelError:
    what = f"cannot create the map '{new.name}'"
    if errno == EPERM:
        return KernelError(f"{what}: this needs the capability CAP_BPF (try as root)", errno)
    if errno == EINVAL:
        return KernelError(
            f"{what}: the kernel does not take these sizes, flags or this type (EINVAL)", errno
        )
    if errno == ENOTSUPP:
        return KernelError(f"{what}: the kernel does not support that (ENOTSUPP)", errno)
    return KernelError.of(what, errno)


def _raise_memlock() -> None:
    import resource

    try:
        resource.setrlimit(
            resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
    except (OSError, ValueError):
        pass  # then the second attempt says what is wrong
