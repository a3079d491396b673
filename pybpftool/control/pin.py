"""Pinning: giving an object a path in a bpf file system, which is mounted where needed."""

from __future__ import annotations

import posix
import struct
from errno import EEXIST

from pybpftool.control import require_live
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.cdata import fs_encoded
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import Kernel

_PIN_ATTR = struct.Struct("=QII")  # union bpf_attr: pathname, bpf_fd, file_flags


def pin(kernel: Kernel, fd: int, path: str, may_mount: bool = True) -> None:
    """Pin an open program, map or link at ``path``.

    The directory becomes a bpf file system if it is none, unless ``may_mount`` is false;
    a mount made for a pin that then fails is undone. Raises BpfError.
    """
    require_live(kernel)
    directory, mounts = _prepare(path, may_mount)
    try:
        pin_object(fd, path)
    except BpfError:
        if mounts:
            from pybpftool.control.mounts import unmount

            unmount(directory, mounts)
        raise


def directory_of(path: str) -> str:
    """The directory in which a path is, as the path names it."""
    head = path[: path.rfind("/") + 1]
    return head.rstrip("/") or head or "."


def _prepare(path: str, may_mount: bool) -> tuple[str, int]:
    """The directory of ``path`` and the number of mounts made on it."""
    from pybpftool.kernel.pins import is_bpffs

    if "\0" in path:
        raise BpfError("a path cannot contain a null byte")
    if posix.access(path, posix.F_OK):
        raise BpfError(f"cannot pin the object: '{path}' exists already")
    directory = directory_of(path)
    if is_bpffs(directory):
        return directory, 0
    if not posix.access(directory, posix.F_OK):
        raise BpfError(f"cannot pin the object: there is no directory '{directory}'")
    if not may_mount:
        raise BpfError(
            f"cannot pin the object: '{directory}' is in no bpf file system, and the option"
            " -n forbids to mount one"
        )
    from pybpftool.control.mounts import mount_bpffs

    return directory, mount_bpffs(directory)


def pin_object(fd: int, path: str) -> None:
    """``BPF_OBJ_PIN``: pin an open program, map or link in a bpf file system."""
    raw = fs_encoded(path)
    if b"\0" in raw:
        raise BpfError("a path cannot contain a null byte")
    name = Buffer.of(raw + b"\0")
    attr = Buffer.of(_PIN_ATTR.pack(name.address, fd, 0))
    result = bpf(uapi.BPF_OBJ_PIN, attr.address, len(attr.data))
    if result == -EEXIST:
        raise KernelError(
            f"cannot pin the object at '{path}': there is something of this name already (EEXIST)",
            EEXIST,
        )
    if result < 0:
        raise KernelError.of(f"cannot pin the object at '{path}'", -result)
