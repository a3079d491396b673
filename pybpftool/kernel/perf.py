"""Which file descriptors of all tasks are perf events and raw tracepoints with a program."""

from __future__ import annotations

import ctypes
import os
import struct

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import uapi
from pybpftool.kernel.syscall import Buffer, bpf, repeated_call, same_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    TaskFd = tuple[int, int, int, int, bytes, int, int]

_ENOTSUPP = 524  # include/linux/errno.h: not for user space, yet the answer here
_EPERM = 1
_EINVAL = 22
_NAME_SIZE = 4096
_NS_GET_PARENT = 0xB702  # include/uapi/linux/nsfs.h

# union bpf_attr.task_fd_query: pid, fd, flags, buf_len, buf, prog_id, fd_type,
# probe_offset, probe_addr
_ATTR = struct.Struct("=IIIIQIIQQ")


def task_fds() -> list[TaskFd]:
    """All descriptors that ``BPF_TASK_FD_QUERY`` knows, in the order of pids and numbers.

    :return: (pid, fd, prog_id, fd_type, name, probe_offset, probe_addr) for each;
        ``fd_type`` is one of enum bpf_task_fd_type, ``name`` the tracepoint, function
        or file. A thread with descriptors of its own stands under its thread id.

    Tasks that end meanwhile, and those that we may not look at, are left out.
    """
    attr = Buffer(_ATTR.size)
    name = Buffer(_NAME_SIZE)
    data = attr.data
    _check_support(attr)
    query, arguments = repeated_call(uapi.BPF_TASK_FD_QUERY, attr.address, _ATTR.size)
    found: list[TaskFd] = []
    fd = ctypes.c_uint.from_buffer(data, 4)
    head = (0, _NAME_SIZE, name.address, 0, 0, 0, 0)
    pack, unpack = _ATTR.pack_into, _ATTR.unpack_from
    listdir = os.listdir
    for pid, path in _tasks():
        try:
            numbers = listdir(path)
        except OSError:
            continue
        pack(data, 0, pid, 0, *head)
        for number in map(int, numbers):
            fd.value = number
            if query(*arguments):
                continue
            _, _, _, _, _, prog_id, fd_type, offset, address = unpack(data)
            text = name.data
            row = (pid, number, prog_id, fd_type, bytes(text[: text.find(0)]), offset, address)
            found.append(row)
            pack(data, 0, pid, 0, *head)
    return found


def _check_support(attr: Buffer) -> None:
    """Raise KernelError unless a query of a descriptor that is no event is answered as such."""
    fd = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _ATTR.pack_into(attr.data, 0, os.getpid(), fd, 0, 0, 0, 0, 0, 0, 0)
        errno = -bpf(uapi.BPF_TASK_FD_QUERY, attr.address, _ATTR.size) or _ENOTSUPP
    finally:
        os.close(fd)
    what = "cannot query the perf events of tasks"
    if errno == _EPERM:
        raise KernelError(f"{what}: this needs the capability CAP_SYS_ADMIN (try as root)", errno)
    if errno == _EINVAL:
        raise KernelError(f"{what}: this kernel is too old for it", errno)
    if errno != _ENOTSUPP:
        raise KernelError.of(what, errno)


def _tasks() -> Iterator[tuple[int, str]]:
    """(pid, directory of descriptors) of each process, and of threads with their own."""
    try:
        numbers = sorted(map(int, filter(str.isdecimal, os.listdir("/proc"))))
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
            if os.stat(f"/proc/{pid}/task").st_nlink <= 3:
                continue
            threads = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
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
        if int(os.readlink("/proc/self")) == os.getpid():
            return None
        namespace = os.stat("/proc/self/ns/pid")
        level = len(_namespace_pids("/proc/self")) - 1
    except (OSError, ValueError):
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
        except (OSError, ValueError):
            return None

    return translate


def _namespace_pids(process: str) -> list[int]:
    """A task's ids from the namespace of /proc inwards (``NSpid`` of its status)."""
    with open(process + "/status", "rb") as status:
        _, _, rest = status.read().partition(b"\nNSpid:")
    return list(map(int, rest.partition(b"\n")[0].split()))


def _is_inside(process: str, levels: int, own: tuple[int, int]) -> bool:
    """Whether the pid namespace ``levels`` above a task's is ``own`` (device, inode)."""
    from fcntl import ioctl

    fd = os.open(process + "/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _ in range(levels):
            parent = ioctl(fd, _NS_GET_PARENT)
            os.close(fd)
            fd = parent
        status = os.fstat(fd)
    finally:
        os.close(fd)
    return (status.st_dev, status.st_ino) == own
