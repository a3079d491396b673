"""Where objects are pinned: a walk over all mounted bpf file systems."""

from __future__ import annotations

import posix
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

from pybpftool.cdata import get_errno
from pybpftool.errors import KernelError
from pybpftool.kernel.descent import LONG, Descent
from pybpftool.kernel.syscall import (
    INFO_ATTR,
    PATH_ATTR,
    PATH_MAX,
    Buffer,
    file_system_type,
    path_bytes,
    path_text,
    repeated_call,
)
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
# Type and id, with which struct bpf_prog_info, bpf_map_info and bpf_link_info begin.
_HEAD_SIZE = 8


def is_bpffs(path: str) -> bool:
    """Whether ``path`` lies in a bpf file system; not, where there is nothing of this name.

    Raises KernelError where it cannot be told: one must not be mounted over the other then.
    """
    known = file_system_type(path)
    if known is None and "\0" not in path:
        errno = get_errno()
        if errno not in (ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP):
            raise KernelError.of(f"cannot tell whether '{path}' is in a bpf file system", errno)
    return known == BPF_FS_MAGIC


def mount_points(fs_type: bytes = b"bpf") -> list[str]:
    """The mount points of file systems of a type, in the order of /proc/mounts.

    None where that cannot be read; see :func:`told_mount_points`.
    """
    try:
        return told_mount_points(fs_type)
    except OSError:
        return []


def told_mount_points(fs_type: bytes) -> list[str]:
    """As :func:`mount_points`; raises OSError where /proc/mounts cannot be read."""
    with open("/proc/mounts", "rb") as mounts:
        lines = (mounts.read() or b"").split(b"\n")  # None: EAGAIN
    points = []
    for line in lines:
        fields = line.split(b" ")
        if len(fields) > 2 and fields[2].startswith(fs_type):
            points.append(path_text(unescape(fields[1])))
    return points


def unescape(field: bytes) -> bytes:
    """Undo the octal escapes of /proc/mounts (blank, tab, newline, backslash)."""
    if b"\\" not in field:
        return field
    for code in (b"040", b"011", b"012", b"134"):
        field = field.replace(b"\\" + code, bytes([int(code, 8)]))
    return field


def pinned_files() -> Iterator[tuple[str, str]]:
    """The files of all bpf file systems, as :func:`files_below` tells them."""
    for point in mount_points():
        # Another file system may be mounted over it, which may be large; and one that is
        # mounted over / is reached by no path.
        if file_system_type(point) == BPF_FS_MAGIC:
            yield from files_below(point)


def files_below(
    directory: str, refused: Callable[[OSError], None] = lambda error: None
) -> Iterator[tuple[str, str]]:
    """The regular files of a directory and those inside it, without following links.

    (path, way) of each, in directory order. The way is what opens it until the next one is
    asked for: another one where the path is longer than the kernel takes.

    ``refused`` hears why a directory cannot be listed. What is mounted inside is left out,
    unless it is a bpf file system.
    """
    try:
        first = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        refused(error)
        return
    except ValueError:  # no path at all
        return
    way = Descent(first, directory)
    try:
        # Of each directory, from the first one down: what is left in it, where it is.
        waiting = [(iter(_entries(way, refused)), posix.fstat(first).st_dev)]
        while True:
            entries, device = waiting[-1]
            prefix = way.prefix
            for name, is_directory in entries:
                if not is_directory:
                    path = prefix + name
                    yield path, path if len(path) < LONG else way.reach(name)
                    continue
                inner = _goes_into(way, name, device, refused)
                if inner:
                    waiting.append((iter(_entries(way, refused)), inner))
                    break
            else:
                if not way.go_up(waiting, refused):
                    return
    finally:
        way.close()
        posix.close(first)


def _entries(way: Descent, refused: Callable[[OSError], None]) -> list[tuple[str, bool]]:
    """(name, whether it is a directory) of the directories and regular files in the lowest one."""
    found = []
    try:
        with posix.scandir(way.fd) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        found.append((entry.name, True))
                    elif entry.is_file(follow_symlinks=False):
                        found.append((entry.name, False))
                except OSError:
                    continue
    except OSError as error:
        refused(error)
    return found


def _goes_into(way: Descent, name: str, device: int, refused: Callable[[OSError], None]) -> int:
    """Go into a directory if it belongs to the walk: the device that it is on, else 0."""
    try:
        there = posix.stat(name, dir_fd=way.fd, follow_symlinks=False).st_dev
        # Upstream meets the files of a bpf file system inside here and at their own mount point.
        if there != device and file_system_type(way.reach(name)) != BPF_FS_MAGIC:
            return 0
        way.enter(name, way.open(name))
    except OSError as error:
        refused(error)
        return 0
    return there


def pinned_objects(links: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(id, path) of the pinned programs, maps or links, in the order of :func:`pinned_files`.

    :param links: what descriptors of the kind are links to in ``/proc/self/fd``.

    What may not be opened, and what vanishes meanwhile, is left out.
    """
    try:
        numbers = posix.open("/proc/self/fd", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return
    name, attr = Buffer(PATH_MAX), Buffer(PATH_ATTR.size)
    info, info_attr = Buffer(_HEAD_SIZE), Buffer(INFO_ATTR.size)
    PATH_ATTR.pack_into(attr.data, 0, name.address, 0, 0)
    open_it, arguments = repeated_call(uapi.BPF_OBJ_GET, attr.address, PATH_ATTR.size)
    get_info, info_arguments = repeated_call(
        uapi.BPF_OBJ_GET_INFO_BY_FD, info_attr.address, INFO_ATTR.size
    )
    fill, data, id = INFO_ATTR.pack_into, name.data, info.number(4)
    readlink, close = posix.readlink, posix.close
    try:
        for path, way in pinned_files():
            raw = path_bytes(way) + b"\0"
            data[: len(raw)] = raw
            fd = open_it(*arguments)
            if fd < 0:
                continue
            try:
                if readlink(str(fd), dir_fd=numbers) in links:
                    fill(info_attr.data, 0, fd, _HEAD_SIZE, info.address)
                    if get_info(*info_arguments) >= 0:
                        yield id.value, path
            except OSError:
                continue
            finally:
                close(fd)
    finally:
        close(numbers)


class PinTable:
    """Paths by id, several paths of one id in the order in which upstream prints them.

    Upstream keeps them in libbpf's hash map, which puts a new entry before the others
    of its bucket and turns every bucket round when the table grows.
    """

    __slots__ = ("_capacity", "_count", "_ids")

    def __init__(self) -> None:
        self._ids: dict[int, list[str]] = {}  # the first of a bucket stands last
        self._count = 0
        self._capacity = 0

    @property
    def paths(self) -> dict[int, list[str]]:
        """What has been entered."""
        return {id: paths[::-1] for id, paths in self._ids.items()}

    def add(self, id: int, path: str) -> None:
        """Enter one path."""
        if self._capacity == 0 or (self._count + 1) * 4 // 3 > self._capacity:
            self._capacity = max(4, self._capacity * 2)
            for paths in self._ids.values():
                paths.reverse()
        self._ids.setdefault(id, []).append(path)
        self._count += 1
