"""Several pins that are made together, or not at all."""

from __future__ import annotations

import posix

from pybpftool.control.mounts import mount_bpffs, unmount
from pybpftool.control.pin import directory_of, pin_object
from pybpftool.errors import BpfError
from pybpftool.kernel.pins import is_bpffs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PIN, _DIRECTORY, _MOUNTS = range(3)  # what was made
_NOTHING = -1  # all was taken back


class PinSet:
    """Pins, directories and mounts that a command makes; :meth:`undo` takes them all back.

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
                unmount(path, mounts)
            else:
                _quietly(posix.unlink if what == _PIN else posix.rmdir, path)
        self.note(_NOTHING)


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
