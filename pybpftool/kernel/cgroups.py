"""Programs attached to cgroups: of one of them and of whole hierarchies."""

from __future__ import annotations

import posix
import struct
from _stat import S_ISDIR  # without the Python of stat
from _thread import get_ident
from errno import EBADF, EINVAL, ENODEV, ENOENT, ENOSPC, EPERM
from itertools import starmap

from pybpftool.errors import KernelError
from pybpftool.kernel.descent import Descent
from pybpftool.kernel.syscall import Buffer, bpf, repeated_call
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # path, how many levels below the root, (attach type, prog id, flags) each, error or ""
    CgroupRow = tuple[str, int, list[tuple[int, int, int]], str]

QUERY_EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE

_GONE = (ENOENT, ENODEV)

# union bpf_attr.query: target_fd, attach_type, query_flags, attach_flags, prog_ids,
# prog_cnt, prog_attach_flags
_ATTR = struct.Struct("=IIIIQIxxxxQ")
_ROOM = 64  # programs of one type in one cgroup (BPF_CGROUP_MAX_PROGS); inherited ones may be more

# By thread, attach types and flags.
_queries: dict[tuple[int, tuple[int, ...], int], _Query] = {}


def cgroup_root() -> str | None:
    """The mount point of the first cgroup2 hierarchy, None when there is none.

    Raises KernelError where /proc does not tell.
    """
    from pybpftool.kernel.pins import told_mount_points

    try:
        points = told_mount_points(b"cgroup2")
    except OSError as error:
        what = "cannot tell where cgroups are mounted: cannot read /proc/mounts"
        raise KernelError.of(what, error.errno or 0) from None
    return points[0] if points else None


def cgroup_programs(
    path: str, attach_types: tuple[int, ...], query_flags: int
) -> list[tuple[int, int, int]]:
    """(attach type, program id, attach flags) of the programs of one cgroup.

    They come in the order of ``attach_types``, in the kernel's order within one type.
    ``query_flags`` is 0 or ``BPF_F_QUERY_EFFECTIVE``, with which inherited programs
    are there too and the flags are 0. Attach types that the kernel does not know are
    left out; raises KernelError when it refuses others.
    """
    # Thousands of cgroups may be asked one by one; what a thread prepares is its own.
    key = get_ident(), attach_types, query_flags
    query = _queries.get(key)
    if query is None:
        query = _queries[key] = _Query(attach_types, query_flags)
    fd = open_cgroup(path)
    try:
        return query.programs(fd, path)
    finally:
        posix.close(fd)


def cgroup_tree(root: str, attach_types: tuple[int, ...], query_flags: int) -> list[CgroupRow]:
    """The cgroups from ``root`` down that have programs, each above those inside it.

    One that cannot be queried is there with the reason instead of programs. Those of
    other file systems are left out, and those that vanish meanwhile. Raises
    KernelError when the root itself cannot be queried.
    """
    fd = open_cgroup(root)
    try:
        there = posix.fstat(fd)
        if not S_ISDIR(there.st_mode):
            return []  # a walk over a file finds no directories
        query = _Query(attach_types, query_flags)
        programs = query.programs(fd, root)
        rows: list[CgroupRow] = [(root, 0, programs, "")] if programs else []
        _walk(query, fd, root, there.st_dev, rows)
        return rows
    finally:
        posix.close(fd)


def cgroup_paths(root: str) -> list[str]:
    """The paths of a cgroup and of all inside it, each above those inside it.

    Directories that may not be listed are left out, and those that no path reaches: what is
    deeper than PATH_MAX.
    """
    found = []
    waiting = [root]
    while waiting:
        path = waiting.pop()
        try:
            with posix.scandir(path) as entries:
                inside = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except (OSError, ValueError):
            continue
        found.append(path)
        waiting += reversed(inside)
    return found


def cgroup_ids(root: str) -> dict[int, str]:
    """The paths of a cgroup and of all inside it, by the ids that links tell.

    The id is the inode number of the directory (kernfs). Of those mounted over one another
    the first counts; directories that may not be read, or that no path reaches, are left out.
    """
    found: dict[int, str] = {}
    try:
        waiting = [(root, posix.stat(root).st_ino)]
    except (OSError, ValueError) as error:
        errno = (error.errno if isinstance(error, OSError) else 0) or EINVAL
        raise KernelError.of(f"cannot open the cgroup '{root}'", errno) from None
    while waiting:
        path, id = waiting.pop()
        found.setdefault(id, path)
        try:
            # One link for each directory in it, besides its own two: most have none.
            if posix.stat(path).st_nlink == 2:
                continue
            with posix.scandir(path) as entries:
                waiting += [
                    (entry.path, entry.inode())
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                ]
        except OSError:
            continue
    return found


def open_cgroup(path: str, parent: int | None = None) -> int:
    try:
        name = path if parent is None else path.rpartition("/")[2]
        return posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=parent)
    except (OSError, ValueError) as error:
        errno = (error.errno if isinstance(error, OSError) else 0) or EINVAL
        raise KernelError.of(f"cannot open the cgroup '{path}'", errno) from None


def _walk(query: _Query, fd: int, root: str, device: int, rows: list[CgroupRow]) -> None:
    """Append the rows of the cgroups in an open directory, and of those inside them."""
    way = Descent(fd, root)
    waiting = [iter(_inside(way, 0, rows))]  # names in each directory, from the first one down
    try:
        while True:
            for name in waiting[-1]:
                if _goes_into(way, name, len(waiting), query, device, rows):
                    waiting.append(iter(_inside(way, len(waiting), rows)))
                    break
            else:
                if not way.go_up(waiting, lambda error: _note(root, 0, error, rows)):
                    return
    finally:
        way.close()


def _goes_into(
    way: Descent, name: str, level: int, query: _Query, device: int, rows: list[CgroupRow]
) -> bool:
    """Append the row of one cgroup; go into it if there are others inside."""
    path = way.prefix + name
    try:
        fd = open_cgroup(path, way.fd)
    except KernelError as error:
        if error.errno not in _GONE:
            rows.append((path, level, [], str(error)))
        return False
    try:
        inside = posix.fstat(fd)
        if inside.st_dev != device:
            return False
        try:
            programs = query.programs(fd, path)
            if programs:
                rows.append((path, level, programs, ""))
        except KernelError as error:
            if error.errno not in _GONE:
                rows.append((path, level, [], str(error)))
        # A directory of a cgroup hierarchy has one link for each one in it, besides its own two.
        if inside.st_nlink == 2:
            return False
        way.enter(name, fd)
        fd = -1
        return True
    finally:
        if fd >= 0:
            posix.close(fd)


def _inside(way: Descent, level: int, rows: list[CgroupRow]) -> list[str]:
    """The names of the directories in the lowest one; a row where it cannot be listed."""
    try:
        with posix.scandir(way.fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        _note(way.path, level, error, rows)
        return []


def _note(path: str, level: int, error: OSError, rows: list[CgroupRow]) -> None:
    if error.errno not in _GONE:
        rows.append((path, level, [], f"cannot list the cgroup '{path}': {error.strerror}"))


class _Query:
    """Queries of all attach types, prepared so that a cgroup costs little more than the calls.

    A query brings the ids along where there is room for all that a cgroup can have, and the
    kernel tells the flags of each program (v6.0); elsewhere it counts, and a second one asks.
    """

    __slots__ = (
        *("_answers", "_attrs", "_calls", "_flags", "_function", "_in_one", "_per_program"),
        *("_room", "_templates", "_types"),
    )

    def __init__(self, attach_types: tuple[int, ...], query_flags: int) -> None:
        self._flags = query_flags
        # Kernels before 6.0 know no flags of single programs.
        self._per_program = self._in_one = not query_flags & QUERY_EFFECTIVE
        self._answers = [Buffer(_ATTR.size), Buffer(8 * _ROOM), Buffer(8 * _ROOM)]
        self._prepare(attach_types)

    def _prepare(self, attach_types: tuple[int, ...]) -> None:
        self._types = attach_types
        self._attrs = Buffer(_ATTR.size * len(attach_types))
        # Of each type the ids, then the flags.
        self._room = Buffer(8 * _ROOM * len(attach_types) if self._in_one else 8)
        self._templates: dict[int, tuple[bytes, bytes]] = {}
        self._function: Callable[..., int]
        self._calls = []
        for index in range(len(attach_types)):
            address = self._attrs.address + index * _ATTR.size
            self._function, arguments = repeated_call(uapi.BPF_PROG_QUERY, address, _ATTR.size)
            self._calls.append(arguments)

    def _template(self, fd: int) -> tuple[bytes, bytes]:
        """The queries of an open cgroup, and their answers where it has no programs."""
        at = self._room.address if self._in_one else 0
        count = _ROOM if at else 0
        asked: list[bytes] = []
        empty: list[bytes] = []
        for type in self._types:
            addresses = (at, at + 4 * _ROOM) if at else (0, 0)
            for number, rows in ((count, asked), (0, empty)):
                attr = _ATTR.pack(fd, type, self._flags, 0, addresses[0], number, addresses[1])
                rows.append(attr)
            at += 8 * count
        return b"".join(asked), b"".join(empty)

    def programs(self, fd: int, path: str) -> list[tuple[int, int, int]]:
        """The programs of one open cgroup."""
        while True:
            template = self._templates.get(fd)
            if template is None:
                template = self._templates[fd] = self._template(fd)
            data = self._attrs.data
            data[:] = template[0]
            results = list(starmap(self._function, self._calls))
            if not any(results):
                break
            self._drop_unknown(fd, path, results)
        if data == template[1]:
            return []
        programs = []
        at = 0
        for _, type, _, common, _, count, _ in _ATTR.iter_unpack(data):
            if not count:
                pass
            elif self._in_one:
                pair = struct.Struct(f"={count}I").unpack_from
                ids, flags = pair(self._room.data, at), pair(self._room.data, at + 4 * _ROOM)
                programs += [(type, id, own or common) for id, own in zip(ids, flags)]
            else:
                programs += self._of_type(fd, path, type, count)
            at += 8 * _ROOM
        return programs

    def _drop_unknown(self, fd: int, path: str, results: list[int]) -> None:
        """Leave attach types out from now on that the kernel does not know; raise for others."""
        known = []
        for type, failed in zip(self._types, results):
            if failed:
                attr = Buffer.of(_ATTR.pack(fd, type, self._flags, 0, 0, 0, 0))
                errno = -bpf(uapi.BPF_PROG_QUERY, attr.address, _ATTR.size)
                if errno == EINVAL:
                    continue
                if errno > 0:
                    raise _query_error(path, errno)
            known.append(type)
        # What only counts is answered for all of them: then it is the rest that is refused.
        self._in_one &= len(known) < len(self._types)
        self._prepare(tuple(known))

    def _of_type(self, fd: int, path: str, type: int, count: int) -> list[tuple[int, int, int]]:
        while True:
            # Room to spare: one may be attached meanwhile.
            room = count + _ROOM
            if room * 4 > len(self._answers[1].data):
                self._answers[1:] = [Buffer(4 * room), Buffer(4 * room)]
            attr, ids, flags = self._answers
            flags.data[: 4 * room] = bytes(4 * room)
            where = flags.address if self._per_program else 0
            _ATTR.pack_into(attr.data, 0, fd, type, self._flags, 0, ids.address, room, where)
            result = bpf(uapi.BPF_PROG_QUERY, attr.address, _ATTR.size)
            if result == -EINVAL and self._per_program:
                self._per_program = False
                continue
            _, _, _, common, _, count, _ = _ATTR.unpack(attr.data)
            if result == -ENOSPC:
                continue
            if result in (-EINVAL, -ENOENT):
                return []
            if result < 0:
                raise _query_error(path, -result)
            rows = zip(
                struct.unpack_from(f"={count}I", ids.data),
                struct.unpack_from(f"={count}I", flags.data),
            )
            return [(type, id, own or common) for id, own in rows]


def _query_error(path: str, errno: int) -> KernelError:
    what = f"cannot query the programs attached to '{path}'"
    if errno == EBADF:
        return KernelError(f"{what}: it is not a directory of a cgroup2 hierarchy", errno)
    if errno == EPERM:
        return KernelError(f"{what}: this needs the capability CAP_NET_ADMIN (try as root)", errno)
    return KernelError.of(what, errno)
