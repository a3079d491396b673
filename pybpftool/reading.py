"""Files and pipes that a user named, as a whole."""

from __future__ import annotations

import posix

_PIECE = 1 << 20
_S_IFMT, _S_IFREG, _S_IFDIR = 0o170000, 0o100000, 0o040000


def is_regular(fd: int) -> bool:
    """Whether a descriptor is that of a plain file (without the module stat). Raises OSError."""
    return posix.fstat(fd).st_mode & _S_IFMT == _S_IFREG


def is_directory(fd: int) -> bool:
    """Whether an open file is a directory."""
    return posix.fstat(fd).st_mode & _S_IFMT == _S_IFDIR


def read_some(fd: int, most: int = _PIECE) -> bytes:
    """What a descriptor has next, of at most ``most`` bytes; nothing at the end. Raises OSError.

    One that does not block (a pipe that another program left so) is waited for. The files of
    :mod:`io` answer None then, or what they had read so far as if that were all.
    """
    while True:
        try:
            return posix.read(fd, most)
        except BlockingIOError:
            import select

            select.select([fd], [], [])


class Stream:
    """A file that is read in blocks, and closed with the last reference. Raises OSError.

    Buffered: a raw read() of a file in /proc returns a page at a time, whatever it is asked for.
    """

    __slots__ = ("_file",)

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed as said above

    def read(self, most: int) -> bytes:
        """The next bytes, at most so many; nothing at the end."""
        return self._file.read(most)

    def __del__(self) -> None:
        # A file that nobody closes does so itself, but not without a ResourceWarning.
        if hasattr(self, "_file"):
            self._file.close()


def contents(path: str, most: int | None = None) -> bytes:
    """A file as :func:`read_all` gives it. Raises OSError, ValueError for an impossible name."""
    with open(path, "rb", buffering=0) as file:
        return read_all(file.fileno(), most)


def read_all(fd: int, most: int | None = None) -> bytes:
    """All that a descriptor still has, or the first ``most`` bytes of it. Raises OSError."""
    room = posix.fstat(fd).st_size + 1
    pieces = []
    while most is None or most > 0:
        piece = read_some(fd, max(room, _PIECE) if most is None else min(most, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        room -= len(piece)
        if most is not None:
            most -= len(piece)
    return b"".join(pieces)
