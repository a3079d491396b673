"""Mounting a bpf file system or tracefs, as upstream does where one is needed."""

from __future__ import annotations

from pybpftool.cdata import c_char_p, c_function, c_int, c_ulong, get_errno
from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import path_bytes

_MS_BIND = 1 << 12
_MS_REC = 1 << 14
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_EINVAL = 22


def _mount(source: str, target: str, kind: str, flags: int, data: bytes | None) -> int:
    """mount(2): 0 or the negative errno."""
    function = c_function("mount")
    function.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
    if function(path_bytes(source), path_bytes(target), kind.encode(), flags, data):
        return -get_errno()
    return 0


def mount_bpffs(directory: str) -> int:
    """Mount a bpf file system on a directory; how many mounts that took."""
    return _mount_privately("bpf", "a bpf file system", directory)


def mount_tracefs(directory: str) -> int:
    """Mount tracefs on a directory; how many mounts that took."""
    return _mount_privately("tracefs", "tracefs", directory)


def _mount_privately(kind: str, what: str, directory: str) -> int:
    """Mount a file system on a directory; how many mounts that took.

    The mount stays private to this mount namespace: where the directory is not a mount
    point yet, it is first bound to itself. Raises KernelError, with nothing mounted.
    """
    mounts = 0
    while True:
        result = _mount("", directory, "none", _MS_PRIVATE | _MS_REC, None)
        if result == 0:
            break
        if result != -_EINVAL or mounts:
            unmount(directory, mounts)
            raise KernelError.of(f"cannot make the mount at '{directory}' private", -result)
        result = _mount(directory, directory, "none", _MS_BIND, None)
        if result < 0:
            raise KernelError.of(f"cannot bind '{directory}' to itself", -result)
        mounts = 1
    result = _mount(kind, directory, kind, 0, b"mode=0700")
    if result < 0:
        unmount(directory, mounts)
        raise KernelError.of(f"cannot mount {what} on '{directory}'", -result)
    return mounts + 1


def unmount(directory: str, mounts: int) -> None:
    """Undo so many mounts on a directory."""
    function = c_function("umount2")
    function.argtypes = (c_char_p, c_int)
    for _ in range(mounts):
        function(path_bytes(directory), _MNT_DETACH)
