"""Directories one in the other, deeper than paths and recursion reach."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def nested(
    place: str, depth: int, name: str = "d", visit: Callable[[int, int], object] | None = None
) -> Iterator[None]:
    """`depth` of them for the time; `visit` is called with each level and its descriptor.

    What a visit puts there, files or empty directories, is removed with them.
    """
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    made = 0
    try:
        for level in range(depth):
            os.mkdir(name, dir_fd=fd)
            made += 1
            fd = _moved(fd, name)
            if visit is not None:
                visit(level + 1, fd)
        yield
    finally:
        for _ in range(made):
            for entry in list(os.scandir(fd)):
                with contextlib.suppress(OSError):  # the files of a cgroup go with it
                    (os.rmdir if entry.is_dir() else os.unlink)(entry.name, dir_fd=fd)
            fd = _moved(fd, "..")
            os.rmdir(name, dir_fd=fd)
        os.close(fd)


def _moved(fd: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    os.close(fd)
    return there
