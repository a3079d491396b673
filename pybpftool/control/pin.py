"""Pinning: giving objects a path in a bpf file system, which is mounted where needed."""

from __future__ import annotations

import posix
from errno import EEXIST

from pybpftool.control import require_live
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.pins import is_bpffs
from pybpftool.kernel.syscall import PATH_ATTR, Buffer, bpf, path_bytes
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.kernel.interface import Kernel

_PIN, _DIRECTORY, _MOUNTS = range(3)  # what was made
_NOTHING = -1  # all was taken back


def pin(kernel: Kernel, fd: int, path: str, may_mount: bool = True) -> None:
    """Pin an open program, map or link at ``path``.

    The directory becomes a bpf file system if it is none, unless ``may_mount`` is false;
    a mount made for a pin that then fails is undone. Raises BpfError.
    """
    require_live(kernel)
    pins = PinSet(may_mount)
    pins.prepare_file(path)
    try:
        pins.pin(fd, path)
    except BpfError:
        pins.undo()
        raise


class PinSet:
    """Several pins that are made together, or not at all.

    Pins, directories and mounts that a command makes; :meth:`undo` takes them all back.

    ``tell`` is called with each of them, in a form that passes to another process: what a
    :meth:`note` of another set takes, which then can take them back as well.
    """

    __slots__ = ("_made", "_may_mount", "_tell")

    def __init__(self, may_mount: bool, tell: Callable[..., None] | None = None) -> None:
        self._may_mount = may_mount
        self._tell = tell
        self._made: list[tuple[int, str, int]] = []

    def note(self, what: int, path: str = "", mounts: int = 0) -> None:
        """Count what was made among what :meth:`undo` takes back."""
        if what == _NOTHING:
            self._made.clear()
        else:
            self._made.append((what, path, mounts))
        if self._tell is not None:
            self._tell(what, path, mounts)

    def prepare_file(self, path: str) -> None:
        """See to it that ``path`` is free and in a bpf file system, by mounting one."""
        _refuse_null(path)
        if posix.access(path, posix.F_OK):
            raise BpfError(f"cannot pin the object: '{path}' exists already")
        directory = directory_of(path)
        if is_bpffs(directory):
            return
        if not posix.access(directory, posix.F_OK):
            raise BpfError(f"cannot pin the object: there is no directory '{directory}'")
        self._mount(directory)

    def prepare_directory(self, path: str) -> None:
        """See to it that ``path`` can be a directory in a bpf file system, by mounting one.

        Its parent must be there. Within a bpf file system it is made by the first pin.
        """
        _refuse_null(path)
        if is_bpffs(path):
            return
        if posix.access(path, posix.F_OK):
            self._mount(path)
            return
        parent = directory_of(path.rstrip("/"))
        if not posix.access(parent, posix.F_OK):
            raise BpfError(f"cannot make the directory '{path}': there is no '{parent}'")
        if not is_bpffs(parent):
            self._refuse_mount(path)
            self._make(path)
            self._mount(path)

    def _make(self, directory: str) -> None:
        try:
            posix.mkdir(directory, 0o700)
        except OSError as error:
            raise BpfError(f"cannot make the directory '{directory}': {error.strerror}") from None
        self.note(_DIRECTORY, directory)

    def _refuse_mount(self, directory: str) -> None:
        if not self._may_mount:
            raise BpfError(
                f"cannot pin the object: '{directory}' is in no bpf file system, and the option"
                " -n forbids to mount one"
            )

    def _mount(self, directory: str) -> None:
        self._refuse_mount(directory)
        from pybpftool.control.mounts import mount_bpffs

        self.note(_MOUNTS, directory, mount_bpffs(directory))

    def pin(self, fd: int, path: str) -> None:
        """Pin an open program, map or link at a path that was prepared."""
        directory = directory_of(path)
        if not is_there(directory):
            self._make(directory)
        pin_object(fd, path)
        self.note(_PIN, path)

    def adopt(self, path: str) -> None:
        """Count a pin that somebody else made for us, or may have made, among ours."""
        self.note(_PIN, path)

    def undo(self) -> None:
        """Take back what was made, the last first."""
        for what, path, mounts in reversed(self._made):
            if what == _MOUNTS:
                from pybpftool.control.mounts import unmount

                unmount(path, mounts)
            else:
                _quietly(posix.unlink if what == _PIN else posix.rmdir, path)
        self.note(_NOTHING)


def pin_object(fd: int, path: str) -> None:
    """``BPF_OBJ_PIN``: pin an open program, map or link in a bpf file system."""
    raw = path_bytes(path)
    if b"\0" in raw:
        raise BpfError("a path cannot contain a null byte")
    name = Buffer.of(raw + b"\0")
    attr = Buffer.of(PATH_ATTR.pack(name.address, fd, 0))
    result = bpf(uapi.BPF_OBJ_PIN, attr.address, len(attr.data))
    if result == -EEXIST:
        raise KernelError(
            f"cannot pin the object at '{path}': there is something of this name already (EEXIST)",
            EEXIST,
        )
    if result < 0:
        raise KernelError.of(f"cannot pin the object at '{path}'", -result)


def directory_of(path: str) -> str:
    """The directory in which a path is, as the path names it."""
    head = path[: path.rfind("/") + 1]
    return head.rstrip("/") or head or "."


def is_there(path: str) -> bool:
    """Whether there is anything of this name, be it a link that leads nowhere."""
    try:
        posix.lstat(path)
    except (OSError, ValueError):
        return False
    return True


def _refuse_null(path: str) -> None:
    if "\0" in path:
        raise BpfError("a path cannot contain a null byte")


def _quietly(function: object, path: str) -> None:
    try:
        function(path)  # type: ignore[operator]  # posix.unlink or posix.rmdir
    except OSError:
        pass  # somebody else has removed it
