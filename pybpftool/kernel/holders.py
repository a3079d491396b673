"""Which processes hold BPF objects: from /proc or, of many descriptors, by an iterator.

Upstream asks a BPF iterator of its own for this, which needs the addresses of
variables in kallsyms (CONFIG_KALLSYMS_ALL) and shows nothing without them. /proc
tells the same on every kernel to who may look at other users' processes, and up to some
thousand descriptors it costs less than loading a program; otherwise
:mod:`pybpftool.kernel.task_iter` does the work.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from typing import TypeVar

    _T = TypeVar("_T")


_MANY = 64  # descriptors of one process for which it pays to do without their texts
_WORTH_TWO = 2048  # descriptors of one process that are worth a second process of ours
_IN_A_ROW = 3
# From so many processes, or descriptors of all processes, on an iterator costs less than /proc:
# where the kernel's types, which it needs, have to be copied, and where they can be mapped.
_IF_COPIED, _IF_MAPPED = (120, 800), (100, 250)


def prefers_iterator(idle: set[int] | None = None) -> bool:
    """Whether to ask a BPF iterator: there is much to look at, or /proc hides it from us.

    :param idle: filled with the processes that have no descriptors, most of them the
        kernel's own, where the answer is no and the kernel tells.
    """
    return can_iterate() and (are_many(set() if idle is None else idle) or _is_iterator_all())


def can_iterate() -> bool:
    """Whether our code can run here, and pids of the kernel (``task->tgid``) are those of /proc."""
    try:
        inode = posix.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return False
    # PROC_PID_INIT_INO, include/linux/proc_ns.h
    return sys.byteorder == "little" and inode == 0xEFFFFFFC


def _is_iterator_all() -> bool:
    """Whether our capabilities let us load an iterator, but not look at others' descriptors."""
    from pybpftool.errors import KernelError
    from pybpftool.kernel.syscall import may_look_into_processes, may_trace

    try:
        return not may_look_into_processes() and may_trace()
    except KernelError:
        return False


def _limits() -> tuple[int, int]:
    """From how many processes, and descriptors, on an iterator pays."""
    try:
        major, minor = posix.uname().release.split(".")[:2]
        is_mapped = (int(major), int(minor)) >= (6, 16)  # a539e2a6d51d
    except (OSError, ValueError):
        is_mapped = False
    return _IF_MAPPED if is_mapped else _IF_COPIED


def are_many(idle: set[int]) -> bool:
    """Whether there is so much to look at that a BPF iterator pays; ``idle`` as above."""
    most_processes, most_descriptors = _limits()
    try:
        # One for each process, and those of about twenty directories (proc_root_getattr()).
        if posix.stat("/proc").st_nlink - 20 >= most_processes:
            return True
        # Of open files, which processes may share, there are hardly more than descriptors.
        if _open_files() >= most_descriptors:
            return True
        # The kernel's own threads, which have no descriptors, come first.
        pids = reversed(list(filter(str.isdigit, posix.listdir("/proc"))))
    except OSError:
        return False
    count = 0
    for pid in pids:
        try:
            # The number of open descriptors, since 6.2 (f1f1f2569901).
            size = posix.stat(f"/proc/{pid}/fd").st_size
        except OSError:
            continue
        if not size:
            idle.add(int(pid))
        count += size
        if count >= most_descriptors:
            return True
    if not count:
        idle.clear()  # an older kernel tells no numbers
    return False


def _open_files() -> int:
    """How many files are open, about; 0 where the kernel does not tell."""
    try:
        fd = posix.open("/proc/sys/fs/file-nr", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(posix.read(fd, 64).split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    finally:
        posix.close(fd)


def from_blocks(blocks: list[bytes]) -> dict[int, list[tuple[int, str]]]:
    """The answer of :func:`find_holders` from :func:`pybpftool.kernel.task_iter.held`.

    Objects with the same holders have one list of them in common.
    """
    # Rows are task_iter.HELD: eight numbers of 32 bits, the last four of them the comm.
    data = b"".join(blocks)
    numbers = memoryview(data).cast("I")
    ids = numbers[3::8].tobytes()
    ids_of: dict[int, bytes] = {}
    comms: dict[int, bytes] = {}
    pids = numbers[0::8].tolist()
    starts = [at for at, pid in enumerate(pids) if not at or pid != pids[at - 1]]
    for begin, end in zip(starts, [*starts[1:], len(pids)]):
        pid = pids[begin]
        ids_of[pid] = ids_of.get(pid, b"") + ids[4 * begin : 4 * end]
        comms.setdefault(pid, data[32 * begin + 16 : 32 * begin + 32])
    # Processes that were forked hold the same as each other.
    alike: dict[bytes, list[tuple[int, str]]] = {}
    for pid in sorted(ids_of):
        name = comms[pid].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        alike.setdefault(ids_of[pid], []).append((pid, name))
    found: dict[int, list[tuple[int, str]]] = {}
    several: dict[int, list[list[tuple[int, str]]]] = {}
    for several_ids, group in alike.items():
        theirs = dict.fromkeys(memoryview(several_ids).cast("I"), group)
        for id in found.keys() & theirs.keys():
            several.setdefault(id, [found[id]]).append(group)
        found.update(theirs)
    joined: dict[tuple[int, ...], list[tuple[int, str]]] = {}
    for id, groups in several.items():
        key = tuple([group[0][0] for group in groups])  # a process is in one group alone
        if key not in joined:
            joined[key] = sorted([holder for group in groups for holder in group])
        found[id] = joined[key]
    return found


def find_holders(
    names: tuple[str, ...],
    id_key: bytes,
    same_files: Callable[[int, int], bool],
    texts: dict[int, bytes] | None = None,
    not_ours: frozenset[int] = frozenset(),
    ids_of: Callable[[int, list[int]], list[int] | None] | None = None,
    mark: bytes | None = None,
    idle: Container[int] = (),
) -> dict[int, list[tuple[int, str]]]:
    """Holders of the objects whose descriptors are links to one of ``names``.

    :param names: link texts in ``/proc/PID/fd``, like ``anon_inode:bpf-prog``.
    :param id_key: what precedes the object's id in ``/proc/PID/fdinfo/FD``.
    :param same_files: whether a thread shares the descriptors of its process.
    :param texts: filled with the fdinfo text of each object, by id.
    :param not_ours: descriptors of this process that do not count.
    :param ids_of: the ids of many descriptors of a process at once, faster than from
        their texts, or None where that is not permitted.
    :param mark: what only the fdinfo of such objects has, to know them by.
    :param idle: processes without descriptors; their threads may have some.
    :return: id -> [(pid, comm), …], processes in the order of their pids, once each.

    Processes that end meanwhile, and those that we may not look at, are left out.
    """
    from pybpftool.kernel.tasks import comm_of  # not needed where an iterator answers

    holders: dict[int, list[tuple[int, str]]] = {}
    own = _own_pid() if not_ours else 0
    for pid, threads in _processes(same_files):
        skipped = not_ours if pid == own else frozenset()
        ids: list[int] = []
        if pid not in idle:
            ids = _ids_in(f"/proc/{pid}", names, id_key, texts, skipped, pid, ids_of, mark)
        for thread in threads:
            ids += _ids_in(thread, names, id_key, texts, mark=mark)
        if not ids:
            continue
        holder = (pid, comm_of(f"/proc/{pid}"))
        for id in dict.fromkeys(ids):
            holders.setdefault(id, []).append(holder)
    return holders


def find_holding(name: str, same_files: Callable[[int, int], bool]) -> list[tuple[int, str]]:
    """(pid, comm) of the processes, but for ours, with a descriptor that is a link to ``name``.

    Those that end meanwhile, and those that we may not look at, are left out.
    """
    from pybpftool.kernel.tasks import comm_of

    own = _own_pid()
    found = []
    for pid, threads in _processes(same_files):
        if pid == own:
            continue
        for task in (f"/proc/{pid}", *threads):
            try:
                numbers = posix.listdir(task + "/fd")
            except OSError:
                continue
            if _linking(task, numbers, (name,)):
                found.append((pid, comm_of(f"/proc/{pid}")))
                break
    return found


def _processes(same_files: Callable[[int, int], bool]) -> Iterator[tuple[int, list[str]]]:
    """Each process, and the directories of its threads that have descriptors of their own."""
    from pybpftool.kernel.tasks import processes

    for pid in processes():
        threads = []
        try:
            # "." and ".." and one link for each thread
            if posix.stat(f"/proc/{pid}/task").st_nlink > 3:
                threads = [
                    f"/proc/{pid}/task/{tid}"
                    for tid in map(int, posix.listdir(f"/proc/{pid}/task"))
                    if tid != pid and not same_files(pid, tid)
                ]
        except OSError:
            pass
        yield pid, threads


def _own_pid() -> int:
    """Our pid as this /proc has it, which may be that of an outer pid namespace."""
    try:
        return int(posix.readlink("/proc/self"))
    except (OSError, ValueError):
        return posix.getpid()


def _ids_in(
    process: str,
    names: tuple[str, ...],
    id_key: bytes,
    texts: dict[int, bytes] | None,
    skipped: frozenset[int] = frozenset(),
    pid: int = 0,
    ids_of: Callable[[int, list[int]], list[int] | None] | None = None,
    mark: bytes | None = None,
) -> list[int]:
    try:
        numbers = posix.listdir(process + "/fd")
    except OSError:
        return []
    if not numbers:
        return []
    if skipped:
        numbers = [number for number in numbers if int(number) not in skipped]
    if ids_of is not None and len(numbers) >= _MANY:

        def at_once(some: list[str]) -> list[int] | None:
            found = _linking(process, some, names)
            return ids_of(pid, list(map(int, found))) if found else []

        ids = _halves(at_once, numbers)
        if None not in ids:
            return [id for half in ids for id in half or ()]
    texts_of = _halves(lambda some: _texts_in(process, some, names, id_key, mark), numbers)
    held = [each for half in texts_of for each in half]
    if texts is not None:
        texts.update(held)
    return [id for id, _ in held]


def _halves(work: Callable[[list[str]], _T], numbers: list[str]) -> list[_T]:
    """What ``work`` makes of descriptors; of many, half of it made by a process of its own."""
    if len(numbers) < _WORTH_TWO:
        return [work(numbers)]
    import marshal

    from pybpftool.worker import Worker

    first, second = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
    with Worker(
        lambda send: send(
            [
                marshal.dumps(work(second), 2)  # type: ignore[arg-type]  # bytes are sent as they are
            ]
        )
    ) as worker:
        done = work(first)
        answer = worker.receive()
    return [done, work(second) if answer is None else marshal.loads(answer)]


def _linking(process: str, numbers: list[str], names: tuple[str, ...]) -> list[str]:
    """Those of a process' descriptors that are links to one of ``names``."""
    try:
        directory = posix.open(process + "/fd", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return []
    readlink = posix.readlink
    found = []
    try:
        for number in numbers:
            try:
                if readlink(number, dir_fd=directory) in names:
                    found.append(number)
            except PermissionError:
                break  # we may not look into the process: no other will be told
            except OSError:
                continue
    finally:
        posix.close(directory)
    return found


def _texts_in(
    process: str, numbers: list[str], names: tuple[str, ...], id_key: bytes, mark: bytes | None
) -> list[tuple[int, bytes]]:
    """The ids and the fdinfo texts of those of a process' descriptors that link to ``names``."""
    held: list[tuple[int, bytes]] = []
    links = infos = -1
    try:
        links = posix.open(process + "/fd", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        infos = posix.open(process + "/fdinfo", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        in_a_row = 0
        for number in numbers:
            try:
                # After some of the same kind the next is likely to be one too, which its
                # text tells as well as its link.
                if mark is None or in_a_row < _IN_A_ROW:
                    if posix.readlink(number, dir_fd=links) not in names:
                        in_a_row = 0
                        continue
                    in_a_row += 1
                fd = posix.open(number, posix.O_RDONLY, dir_fd=infos)
                try:
                    text = posix.read(fd, 4096)
                finally:
                    posix.close(fd)
            except PermissionError:
                break  # as above
            except OSError:
                continue
            if mark is not None and mark not in text:
                in_a_row = 0
                continue
            _, key, rest = text.partition(id_key)
            if key:
                try:
                    held.append((int(rest.split(None, 1)[0]), text))
                except (ValueError, IndexError):
                    continue  # cut off
    except OSError:
        pass
    finally:
        for directory in (links, infos):
            if directory >= 0:
                posix.close(directory)
    return held
