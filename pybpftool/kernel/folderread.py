"""The members of a snapshot that is a folder: plain files below it, and nothing else.

The names come from a file that anybody may have written. None of them leads out of the
folder: each part is opened below the one before it, and symbolic links, devices and FIFOs are
refused.
"""

from __future__ import annotations

import errno
import os
import stat

from pybpftool.errors import FormatError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Folder:
    """An open folder; :meth:`read` gives a file of it. Raises OSError, FormatError."""

    __slots__ = ("_fds",)

    def __init__(self, path: str) -> None:
        self._fds: dict[str, int] = {}
        self._fds[""] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)

    def close(self) -> None:
        """Close the folder, of which nothing can be read any more; twice is harmless."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def read(self, name: str, most: int) -> bytes:
        """A file of at most so many bytes; KeyError where there is none."""
        above, _, base = name.rpartition("/")
        if base in ("", ".", "..") or "\0" in name:
            raise KeyError(name)
        try:
            # Who opens a FIFO waits for its writer.
            fd = os.open(base, _FLAGS | os.O_NONBLOCK, dir_fd=self._below(above))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise KeyError(name) from None
            if error.errno == errno.ELOOP:
                raise FormatError(f"{name} is a symbolic link") from None
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{name} is no plain file")
            if status.st_size > most:
                raise FormatError(f"{name} has {status.st_size} bytes")
            data = bytearray()
            while len(data) <= most:
                piece = os.read(fd, min(most + 1 - len(data), 1 << 24))
                if not piece:
                    return bytes(data)
                data += piece
        finally:
            os.close(fd)
        raise FormatError(f"{name} has more than {most} bytes")

    def _below(self, path: str) -> int:
        """The descriptor of a folder of the snapshot, which is one level deep."""
        fd = self._fds.get(path)
        if fd is None:
            if "/" in path or path in (".", ".."):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            fd = self._fds[path] = os.open(path, _FLAGS | os.O_DIRECTORY, dir_fd=self._fds[""])
        return fd
