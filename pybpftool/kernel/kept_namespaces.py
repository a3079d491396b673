"""Network namespaces without a task or a name of ip-netns(8), which a mount or a descriptor keeps.

Container tools mount them where they like, in mount namespaces of their own as well; agents
keep their descriptors.
"""

from __future__ import annotations

import posix

from pybpftool.kernel.net import network_namespaces
from pybpftool.kernel.pins import unescape
from pybpftool.kernel.syscall import path_text
from pybpftool.kernel.tasks import comm_of, processes, tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Row = tuple[str, int, str, int, str]

_MARK = "net:["  # what the kernel calls them (fs/nsfs.c)


def kept_network_namespaces() -> list[tuple[str, int, str, int, str]]:
    """As :func:`pybpftool.kernel.net.network_namespaces` tells of others, each once.

    A mount has its path for a name, and the process in whose mount namespace it is;
    a descriptor the process that has it open, and no name.
    """
    seen = {row[1] for row in network_namespaces()}
    found = []
    for rows in (_mounted(), _open()):
        for row in rows:
            if row[1] not in seen:
                seen.add(row[1])
                found.append(row)
    return found


def _mounted() -> Iterator[Row]:
    seen = set()
    for pid, task in [(0, "/proc/self"), *tasks()]:
        try:
            namespace = posix.stat(f"{task}/ns/mnt").st_ino
            if namespace in seen:
                continue
            seen.add(namespace)
            with open(f"{task}/mountinfo", "rb") as stream:
                lines = (stream.read() or b"").split(b"\n")
        except OSError:
            continue
        for line in lines:
            fields, _, rest = line.partition(b" - ")
            if not rest.startswith(b"nsfs "):
                continue
            columns = fields.split(b" ")
            inode = _inode(path_text(columns[3])) if len(columns) > 4 else 0
            if not inode:
                continue
            point = path_text(unescape(columns[4]))
            path = f"{task}/root{point}" if pid else point
            try:
                if posix.stat(path).st_ino == inode:  # else another one is mounted over it
                    yield path, inode, point, pid, comm_of(task) if pid else ""
            except (OSError, ValueError):
                continue


def _open() -> Iterator[Row]:
    for pid in processes():
        task = f"/proc/{pid}"
        try:
            numbers = posix.listdir(f"{task}/fd")
        except OSError:
            continue
        for number in numbers:
            try:
                inode = _inode(posix.readlink(f"{task}/fd/{number}"))
            except OSError:
                continue
            if inode:
                yield f"{task}/fd/{number}", inode, "", pid, comm_of(task)


def _inode(text: str) -> int:
    """The inode number in ``net:[4026531840]``; 0 for what is no network namespace."""
    number = text[len(_MARK) : -1]
    return int(number) if text.startswith(_MARK) and number.isdecimal() else 0
