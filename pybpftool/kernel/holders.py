"""Which processes hold BPF objects, read from /proc.

Upstream asks a BPF iterator of its own for this, which needs the addresses of
variables in kallsyms (CONFIG_KALLSYMS_ALL) and shows nothing without them. /proc
tells the same on every kernel, and costs less than loading a program.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_MANY = 64  # descriptors of one process for which it pays to do without their texts


def find_holders(
    names: tuple[str, ...],
    id_key: bytes,
    same_files: Callable[[int, int], bool],
    texts: dict[int, bytes] | None = None,
    not_ours: frozenset[int] = frozenset(),
    ids_of: Callable[[int, list[int]], list[int] | None] | None = None,
) -> dict[int, list[tuple[int, str]]]:
    """Holders of the objects whose descriptors are links to one of ``names``.

    :param names: link texts in ``/proc/PID/fd``, like ``anon_inode:bpf-prog``.
    :param id_key: what precedes the object's id in ``/proc/PID/fdinfo/FD``.
    :param same_files: whether a thread shares the descriptors of its process.
    :param texts: filled with the fdinfo text of each object, by id.
    :param not_ours: descriptors of this process that do not count.
    :param ids_of: the ids of many descriptors of a process at once, faster than from
        their texts, or None where that is not permitted.
    :return: id -> [(pid, comm), …], processes in the order of their pids, once each.

    Processes that end meanwhile, and those that we may not look at, are left out.
    """
    holders: dict[int, list[tuple[int, str]]] = {}
    own = os.getpid() if not_ours else 0
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
        skipped = not_ours if pid == own else frozenset()
        ids = _ids_in(f"/proc/{pid}", names, id_key, texts, skipped, pid, ids_of)
        try:
            # "." and ".." and one link for each thread
            if os.stat(f"/proc/{pid}/task").st_nlink > 3:
                for tid in map(int, os.listdir(f"/proc/{pid}/task")):
                    if tid != pid and not same_files(pid, tid):
                        thread = f"/proc/{pid}/task/{tid}"
                        ids += _ids_in(thread, names, id_key, texts)
        except OSError:
            pass
        if not ids:
            continue
        holder = (pid, _comm(pid))
        for id in dict.fromkeys(ids):
            holders.setdefault(id, []).append(holder)
    return holders


def _ids_in(
    process: str,
    names: tuple[str, ...],
    id_key: bytes,
    texts: dict[int, bytes] | None,
    skipped: frozenset[int] = frozenset(),
    pid: int = 0,
    ids_of: Callable[[int, list[int]], list[int] | None] | None = None,
) -> list[int]:
    ids: list[int] = []
    try:
        directory = os.open(process + "/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ids
    try:
        numbers = os.listdir(directory)
        readlink = os.readlink
        found = []
        for number in numbers:
            try:
                if readlink(number, dir_fd=directory) in names and int(number) not in skipped:
                    found.append(number)
            except OSError:
                continue
    except OSError:
        found = []
    finally:
        os.close(directory)
    if not found:
        return ids
    if ids_of is not None and len(found) >= _MANY:
        at_once = ids_of(pid, list(map(int, found)))
        if at_once is not None:
            return at_once
    try:
        directory = os.open(process + "/fdinfo", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ids
    try:
        for number in found:
            try:
                fd = os.open(number, os.O_RDONLY, dir_fd=directory)
                try:
                    text = os.read(fd, 4096)
                finally:
                    os.close(fd)
            except OSError:
                continue
            _, key, rest = text.partition(id_key)
            if key:
                id = int(rest.split(None, 1)[0])
                ids.append(id)
                if texts is not None:
                    texts[id] = text
    finally:
        os.close(directory)
    return ids


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as comm:
            return comm.read().removesuffix(b"\n").decode("utf-8", "surrogateescape")
    except OSError:
        return ""
