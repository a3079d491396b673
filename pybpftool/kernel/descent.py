"""A way down a tree of directories, which others may have made as deep as they like."""

from __future__ import annotations

import posix
from errno import ESTALE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FLAGS = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
LONG = 1000
"""Characters of a path, of up to four bytes each; all shorter ones are below PATH_MAX."""
_OPEN = 8  # directories that stay open, besides the first


class Descent:
    """Each directory is opened in the one above it, so that no path is too long.

    Only the lowest ones stay open: one further up is opened again, as the ``..`` of the one
    below it, and must be the same then.
    """

    __slots__ = ("_closed", "_fds", "_first", "_names", "prefix")

    def __init__(self, fd: int, path: str) -> None:
        """``fd`` is the open directory where it begins; it stays the caller's."""
        self.prefix = path if path.endswith("/") else path + "/"
        """The path of the lowest directory, and a slash."""
        self._first = self.prefix
        self._names: list[str] = []
        self._fds = [fd]
        self._closed: list[tuple[int, int]] = []  # device and inode number of those

    @property
    def fd(self) -> int:
        """The descriptor of the lowest directory."""
        return self._fds[-1]

    @property
    def path(self) -> str:
        """The path of the lowest directory."""
        return self.prefix[:-1] or "/"

    def reach(self, name: str) -> str:
        """A path that is not too long for the kernel, of something in the lowest directory.

        Where it is not its own, it leads there as long as this is the lowest directory.
        """
        path = self.prefix + name
        return path if len(path) < LONG else f"/proc/self/fd/{self._fds[-1]}/{name}"

    def open(self, name: str) -> int:
        """Open a directory in the lowest one, not a link to one; raises OSError."""
        return posix.open(name, _FLAGS, dir_fd=self._fds[-1])

    def enter(self, name: str, fd: int) -> None:
        """Go into a directory that is open; the descriptor is not the caller's any more."""
        self._names.append(name)
        self._fds.append(fd)
        self.prefix += name + "/"
        high = len(self._fds) - 1 - _OPEN
        if high > 0:
            status = posix.fstat(self._fds[high])
            posix.close(self._fds[high])
            self._closed.append((status.st_dev, status.st_ino))
            self._fds[high] = -1

    def go_up(self, waiting: list[Any], refused: Callable[[OSError], None]) -> bool:
        """Leave the lowest directory, which is done; False at the first one.

        ``waiting`` has what is left of each from the first one down. If the way up is gone,
        ``refused`` hears why, and all but the first one is.
        """
        waiting.pop()
        if not waiting:
            return False
        try:
            self.leave()
        except OSError as error:
            refused(error)
            del waiting[1:]
        return True

    def leave(self) -> None:
        """Go back up. Raises OSError, and stands at the first directory, if the way is gone."""
        below = self._fds.pop()
        self.prefix = self.prefix[: -len(self._names.pop()) - 1]
        try:
            if self._fds[-1] < 0:
                self._fds[-1] = self._above(below)
        except OSError:
            self._to_the_first()
            raise
        finally:
            posix.close(below)

    def _above(self, below: int) -> int:
        fd = posix.open("..", _FLAGS, dir_fd=below)
        status = posix.fstat(fd)
        if (status.st_dev, status.st_ino) != self._closed.pop():
            posix.close(fd)
            raise OSError(ESTALE, "it was moved away meanwhile")
        return fd

    def _to_the_first(self) -> None:
        """All above but the first are closed."""
        self._closed.clear()
        del self._fds[1:], self._names[:]
        self.prefix = self._first

    def close(self) -> None:
        """Close what is open; the first one is the caller's."""
        for fd in self._fds[1:]:
            if fd >= 0:
                posix.close(fd)
        self._to_the_first()
