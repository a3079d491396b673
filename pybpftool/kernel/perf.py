"""Which file descriptors of all tasks are perf events and raw tracepoints with a program."""

from __future__ import annotations

import posix
import struct
from errno import EBADF, EINVAL, EPERM

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.holders import prefers_iterator
from pybpftool.kernel.syscall import (
    ABI,
    ENOTSUPP,
    Buffer,
    bpf,
    errno_field,
    repeated_call,
    same_files,
)
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    TaskFd = tuple[int, int, int, int, bytes, int, int]

_NAME_SIZE = 4096
_MOST_GAPS = 16  # unused numbers below the highest one, before the directory is listed after all
_NSIO, _GET_PARENT = 0xB7, 2  # NS_GET_PARENT of include/uapi/linux/nsfs.h

# union bpf_attr.task_fd_query: pid, fd, flags, buf_len, buf, prog_id, fd_type,
# probe_offset, probe_addr
_ATTR = struct.Struct("=IIIIQIIQQ")


def task_fds(use_iterators: bool = True) -> list[TaskFd]:
    """All descriptors that ``BPF_TASK_FD_QUERY`` knows, in the order of pids and numbers.

    :return: (pid, fd, prog_id, fd_type, name, probe_offset, probe_addr) for each;
        ``fd_type`` is one of enum bpf_task_fd_type, ``name`` the tracepoint, function
        or file. A thread with descriptors of its own stands under its thread id.

    Tasks that end meanwhile, and those that we may not look at, are left out. With
    ``use_iterators`` a BPF iterator says which descriptors are worth a query where
    there are many of them, or /proc hides those of other users.
    """
    attr = Buffer(_ATTR.size)
    _check_support(attr)
    query = _Query(attr)
    if use_iterators and prefers_iterator():
        from pybpftool.kernel.task_iter import HELD, held

        blocks = held("event")
        if blocks is not None:
            rows = [row for block in blocks for row in HELD.iter_unpack(block)]
            query.rows(rows)
            return query.found
    for pid, path in _tasks():
        query.task(pid, path)
    return query.found


class _Query:
    """Queries of the descriptors of one task after the other; ``found`` collects."""

    __slots__ = (
        "_arguments",
        "_attr",
        "_errno",
        "_fd",
        "_function",
        "_is_counted",
        "_name",
        "found",
    )

    def __init__(self, attr: Buffer) -> None:
        self._attr = attr
        self._name = Buffer(_NAME_SIZE)
        cmd = uapi.BPF_TASK_FD_QUERY
        self._function, self._arguments = repeated_call(cmd, attr.address, _ATTR.size)
        self._errno = errno_field()
        try:
            self._is_counted = self._errno is not None and posix.stat("/proc/self/fd").st_size > 0
        except OSError:
            self._is_counted = False
        self._fd = attr.number(4)
        self.found: list[TaskFd] = []

    def task(self, pid: int, path: str) -> None:
        """Query the descriptors that are listed in the directory ``path``."""
        try:
            # Since 6.2 the size is the number of open descriptors. They are mostly the
            # lowest numbers, and trying these costs half of listing the directory.
            first: int | None = 0
            if self._is_counted:
                first = self._lowest(pid, posix.stat(path).st_size)
            if first is not None:
                self._listed(pid, [n for n in map(int, posix.listdir(path)) if n >= first])
        except OSError:
            return

    def _reset(self, pid: int) -> None:
        name = self._name.address
        _ATTR.pack_into(self._attr.data, 0, pid, 0, 0, _NAME_SIZE, name, 0, 0, 0, 0)

    def _lowest(self, pid: int, count: int) -> int | None:
        """Query numbers from 0 until ``count`` open ones were met.

        If there are too many gaps between them, the number to go on with.
        """
        function, arguments, fd, errno = self._function, self._arguments, self._fd, self._errno
        if not count or errno is None:
            return None
        self._reset(pid)
        end = count + _MOST_GAPS
        for number in range(end):
            fd.value = number
            if not function(*arguments):
                self._keep(pid, number)
            elif errno.value == EBADF:
                continue
            count -= 1
            if not count:
                return None
        return end

    def _listed(self, pid: int, numbers: list[int]) -> None:
        function, arguments, fd = self._function, self._arguments, self._fd
        self._reset(pid)
        for number in numbers:
            fd.value = number
            if not function(*arguments):
                self._keep(pid, number)

    def rows(self, rows: list[tuple[int, int, int, int, bytes]]) -> None:
        """Query descriptors that :func:`pybpftool.kernel.task_iter.held` found."""
        function, arguments, fd = self._function, self._arguments, self._fd
        if any(row[0] != row[1] for row in rows):
            # Threads with descriptors of their own stand behind their process.
            rows = sorted(rows, key=lambda row: (row[0], row[0] != row[1], row[1], row[2]))
        current = -1
        for _, tid, number, _, _ in rows:
            if tid != current:
                current = tid
                self._reset(tid)
            fd.value = number
            if not function(*arguments):
                self._keep(tid, number)

    def _keep(self, pid: int, number: int) -> None:
        fields = _ATTR.unpack(self._attr.data)
        text = self._name.data
        name = bytes(text[: text.find(0)])
        self.found.append((pid, number, fields[5], fields[6], name, fields[7], fields[8]))
        self._reset(pid)


def _check_support(attr: Buffer) -> None:
    """Raise KernelError unless a query of a descriptor that is not an event is answered as such."""
    try:
        fd = posix.open("/", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise KernelError.of("cannot open the directory '/'", error.errno or 0) from None
    try:
        _ATTR.pack_into(attr.data, 0, posix.getpid(), fd, 0, 0, 0, 0, 0, 0, 0)
        errno = -bpf(uapi.BPF_TASK_FD_QUERY, attr.address, _ATTR.size) or ENOTSUPP
    finally:
        posix.close(fd)
    what = "cannot query the perf events of tasks"
    if errno == EPERM:
        raise KernelError(f"{what}: this needs the capability CAP_SYS_ADMIN (try as root)", errno)
    if errno == EINVAL:
        raise KernelError(f"{what}: this kernel is too old for it", errno)
    if errno != ENOTSUPP:
        raise KernelError.of(what, errno)


def _tasks() -> Iterator[tuple[int, str]]:
    """(pid, directory of descriptors) of each process, and of threads with their own."""
    from pybpftool.kernel.tasks import processes  # not needed where an iterator answers

    try:
        numbers = processes()
    except OSError as error:
        raise KernelError.of("cannot list /proc", error.errno or 0) from None
    translate = _pid_translation()
    for pid in numbers:
        own = pid if translate is None else translate(f"/proc/{pid}")
        if own is None:
            continue
        yield own, f"/proc/{pid}/fd"
        try:
            # "." and ".." and one link for each thread
            if posix.stat(f"/proc/{pid}/task").st_nlink <= 3:
                continue
            threads = sorted(map(int, posix.listdir(f"/proc/{pid}/task")))
        except OSError:
            continue
        for tid in threads:
            path = f"/proc/{pid}/task/{tid}"
            shown = tid if translate is None else translate(path)
            if tid != pid and shown is not None and not same_files(own, shown):
                yield shown, path + "/fd"


def _pid_translation() -> Callable[[str], int | None] | None:
    """How pids of /proc become pids of our namespace; None when they are the same.

    The kernel looks a queried pid up in the caller's pid namespace, while /proc may
    have been mounted in an outer one (``nsenter`` without a new mount of /proc).
    """
    try:
        if int(posix.readlink("/proc/self")) == posix.getpid():
            return None
        namespace = posix.stat("/proc/self/ns/pid")
        level = len(_namespace_pids("/proc/self")) - 1
    except (OSError, ValueError) as error:
        try:
            posix.lstat("/proc/self")
        except OSError:
            raise KernelError.of("cannot read /proc/self", getattr(error, "errno", 0)) from None
        # The link is there and leads nowhere: that /proc does not have us.
        raise BpfError(
            "/proc belongs to another pid namespace, so processes cannot be matched"
        ) from None
    own = (namespace.st_dev, namespace.st_ino)

    def translate(process: str) -> int | None:
        try:
            pids = _namespace_pids(process)
            if len(pids) <= level or not _is_inside(process, len(pids) - 1 - level, own):
                return None
            return pids[level]
        except (OSError, ValueError, IndexError):  # gone, or its status is cut off
            return None

    return translate


def _namespace_pids(process: str) -> list[int]:
    """A task's ids from the namespace of /proc inwards (``NSpid`` of its status)."""
    with open(process + "/status", "rb") as status:
        _, _, rest = (status.read() or b"").partition(b"\nNSpid:")
    return list(map(int, rest.partition(b"\n")[0].split()))


def _is_inside(process: str, levels: int, own: tuple[int, int]) -> bool:
    """Whether the pid namespace ``levels`` above a task's is ``own`` (device, inode)."""
    from fcntl import ioctl

    from pybpftool.uapi.ioctl import io

    fd = posix.open(process + "/ns/pid", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        for _ in range(levels):
            parent = ioctl(fd, io(ABI, _NSIO, _GET_PARENT))
            posix.close(fd)
            fd = parent
        status = posix.fstat(fd)
    finally:
        posix.close(fd)
    return (status.st_dev, status.st_ino) == own
