"""Pinned files of other mount namespaces, which a container or a service has to itself.

One process of each namespace is asked for its mounts, and its bpf file systems are read through
``/proc/PID/root``. Most namespaces are copies of ours and have the file systems that we have
(the same device number): those, and what two of them share, are read once.
"""

from __future__ import annotations

import posix
from errno import EACCES, EPERM

from pybpftool.kernel.pins import files_below, unescape
from pybpftool.kernel.syscall import path_text
from pybpftool.kernel.tasks import comm_of, tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSED = (EACCES, EPERM)


class Elsewhere:
    """One walk; afterwards ``is_refused`` tells whether something may not be looked at."""

    __slots__ = ("_files", "_mounts", "is_refused")

    def __init__(self) -> None:
        self.is_refused = False
        self._mounts: dict[bytes, list[bytes]] = {}  # device -> the directories in it that are seen
        self._files: set[tuple[int, int]] = set()

    def files(self) -> Iterator[tuple[int, str, str, str]]:
        """(pid, comm, path, way) of each regular file; they lead there from our namespace.

        A pid is that of the first task in its namespace. The way is what
        :func:`pybpftool.kernel.pins.files_below` says.
        """
        seen = set()
        try:
            seen.add(posix.stat("/proc/self/ns/mnt").st_ino)
            for _ in self._unseen("/proc/self", ""):
                pass  # ours are no others
        except OSError:
            return
        for pid, task in tasks():
            try:
                inode = posix.stat(f"{task}/ns/mnt").st_ino
                if inode in seen:
                    continue
                paths = list(self._unseen(task, f"{task}/root"))
            except OSError as error:
                self._note(error)
                continue
            seen.add(inode)
            comm = comm_of(task) if paths else ""
            for path in paths:
                for name, way in self._below(path):
                    yield pid, comm, name, way

    def _note(self, error: OSError) -> None:
        self.is_refused |= error.errno in _REFUSED

    def _unseen(self, task: str, root: str) -> Iterator[str]:
        """Where bpf file systems are, below ``root``, that a task sees and none before it did."""
        with open(f"{task}/mountinfo", "rb") as stream:
            lines = (stream.read() or b"").split(b"\n")
        for line in lines:
            fields, _, rest = line.partition(b" - ")
            if not rest.startswith(b"bpf "):
                continue
            try:
                _, _, device, top, point = fields.split(b" ")[:5]
                major, minor = map(int, device.split(b":"))
                number = posix.makedev(major, minor)
            except (ValueError, OverflowError):
                continue  # not the kernel's words
            known = self._mounts.setdefault(device, [])
            if any(top == each or top.startswith(each.rstrip(b"/") + b"/") for each in known):
                continue
            path = root + path_text(unescape(point)).rstrip("/")
            try:
                # Another mount may lie over it, or it has gone meanwhile.
                if posix.stat(path or "/").st_dev != number:
                    continue
            except OSError as error:
                self._note(error)
                continue
            except ValueError:
                continue  # a null byte in it
            known.append(top)
            yield path

    def _below(self, directory: str) -> Iterator[tuple[str, str]]:
        """The files below a directory that have not been seen by another way."""
        for path, way in files_below(directory, self._note):
            try:
                status = posix.stat(way, follow_symlinks=False)
            except OSError:
                continue
            file = status.st_dev, status.st_ino
            if file not in self._files:
                self._files.add(file)
                yield path, way
