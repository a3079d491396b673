"""The tasks that /proc shows."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def processes() -> list[int]:
    """The numbers of all processes, ascending; raises OSError where there is no /proc."""
    return sorted(map(int, filter(str.isdecimal, posix.listdir("/proc"))))


def tasks() -> Iterator[tuple[int, str]]:
    """(pid or tid, directory of /proc) of all processes and threads."""
    for pid in processes():
        task = f"/proc/{pid}"
        yield pid, task
        try:
            # "." and ".." and one link for each thread
            if posix.stat(task + "/task").st_nlink <= 3:
                continue
            tids = sorted(map(int, posix.listdir(task + "/task")))
        except OSError:
            continue
        for tid in tids:
            if tid != pid:
                yield tid, f"{task}/task/{tid}"


def comm_of(task: str) -> str:
    """The name of a task by its directory of /proc, empty for one that has ended."""
    try:
        with open(f"{task}/comm", "rb") as stream:
            return (stream.read() or b"").removesuffix(b"\n").decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def closed_processes() -> list[tuple[int, str]]:
    """(pid, comm) of the processes whose descriptors and namespaces may not be looked at."""
    found = []
    for pid in processes():
        task = f"/proc/{pid}"
        try:
            posix.readlink(f"{task}/ns/net")
        except PermissionError:
            found.append((pid, comm_of(task)))
        except OSError:
            continue  # it has ended
    return found
