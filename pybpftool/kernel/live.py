"""The running kernel, asked through bpf(2) and /proc."""

from __future__ import annotations

import posix
import struct
import sys
import time
from errno import EACCES, EAGAIN, EINVAL, ENAMETOOLONG, ENODEV, ENOENT, EOPNOTSUPP, EPERM

from pybpftool.errors import BpfError, KernelError, VanishedError
from pybpftool.kernel.interface import (
    BTF_INFO,
    PROG_ARRAYS,
    PROG_INFO,
    BpfObject,
    Kernel,
    Listing,
)
from pybpftool.kernel.syscall import (
    ELEM_ATTR,
    INFO_ATTR,
    PATH_ATTR,
    PATH_MAX,
    Buffer,
    bpf,
    if_indextoname,
    kernel_machine,
    path_bytes,
    read_unlocked,
    repeated_call,
    same_files,
)
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from pybpftool.kernel.elements import MapElements
    from pybpftool.kernel.interface import Batch

_FIRST_TIME_NAMESPACE = 0xEFFFFFFA  # PROC_TIME_INIT_INO, include/linux/proc_ns.h

_NEXT_ID = {
    "prog": uapi.BPF_PROG_GET_NEXT_ID,
    "map": uapi.BPF_MAP_GET_NEXT_ID,
    "link": uapi.BPF_LINK_GET_NEXT_ID,
    "btf": uapi.BPF_BTF_GET_NEXT_ID,
}
_FD_BY_ID = {
    "prog": uapi.BPF_PROG_GET_FD_BY_ID,
    "map": uapi.BPF_MAP_GET_FD_BY_ID,
    "link": uapi.BPF_LINK_GET_FD_BY_ID,
    "btf": uapi.BPF_BTF_GET_FD_BY_ID,
}
# The names of the anonymous inodes behind file descriptors, as /proc shows them.
# A link's is spelt in two ways: bpf_link_prime() and bpf_link_new_fd().
_FD_NAMES = {
    "anon_inode:bpf-prog": "prog",
    "anon_inode:bpf-map": "map",
    "anon_inode:bpf-link": "link",
    "anon_inode:bpf_link": "link",
    "anon_inode:btf": "btf",
}
# The fdinfo of links has the ids of programs and maps too, but not these.
_FDINFO_MARKS = {"prog": b"prog_type:", "map": b"map_type:"}
_LONG_NAMES = {"prog": "program", "map": "map", "link": "link", "btf": "BTF object"}
# What is only looked at is opened for reading: security modules may forbid more.
_BPF_F_RDONLY = 1 << 3
_OPEN_FLAGS = {"map": _BPF_F_RDONLY}
_FDINFO_SIZE = 4096
_OPEN_AT_ONCE = 64  # objects that a listing closes together
_FRESH = 1.0  # seconds for which a listing believes what was read for the holders
# Where struct bpf_*_info keeps the id.
_ID_OFFSET = {"prog": 4, "map": 4, "link": 4, "btf": 12}


_PROG_FIELDS = {field: at for field, at, _ in uapi.BPF_PROG_INFO}

_MAP_IDS_AT, _FUNC_INFO_AT = _PROG_FIELDS["map_ids"], _PROG_FIELDS["func_info"]
_LAST_OF_NAME = _PROG_FIELDS["name"] + 14
_MOST_MAPS = 64  # that instructions name: MAX_USED_MAPS, include/linux/bpf_verifier.h
_MOST_FUNCS = 16
_FUNC_INFO = 8  # sizeof(struct bpf_func_info)
_NULL = bytes(8)
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_ID_ATTR = struct.Struct("=III")  # start_id or id, next_id, open_flags

# Larger than any struct bpf_*_info known today; a kernel fills what it knows and
# refuses only a tail that is not zero (bpf_check_uarg_tail_zero()).
_INFO_SIZE = 512


class LiveKernel(Kernel):
    """The running kernel. Needs CAP_SYS_ADMIN for ids, CAP_BPF and CAP_PERFMON for most else."""

    is_live = True
    uses_iterators = True
    """Whether BPF iterators may be loaded: to find the holders of many objects, what old
    kernels do not tell of links, and objects that bpf(2) hides."""

    _fdinfo = -1

    def __init__(self) -> None:
        try:
            names = posix.uname()
        except OSError as error:
            raise KernelError.of("cannot ask which kernel runs", error.errno or 0) from None
        self.machine = kernel_machine(names.machine)
        self.release = names.release
        self.host = names.nodename
        self._attr = Buffer(128)
        self._info = Buffer(_INFO_SIZE)
        self._no_info = bytes(_INFO_SIZE)
        self._path = Buffer(PATH_MAX)
        self._fdinfo_of = (-1, -1)
        self._open: set[int] = set()
        self._asked: tuple[BpfObject, MapElements] | None = None

    def release_files(self) -> None:
        if self._fdinfo >= 0:
            try:
                posix.close(self._fdinfo)
            except OSError:
                pass  # closed all the same, and nobody to tell
            self._fdinfo, self._fdinfo_of = -1, (-1, -1)

    def __del__(self) -> None:
        # A command ends without this; whoever asks many kernels in one process has few files.
        self.release_files()

    def objects(self, kind: str) -> Iterator[BpfObject]:
        return self.objects_after(kind, 0)

    def objects_after(self, kind: str, id: int) -> Iterator[BpfObject]:
        return self._walk(kind, id, {}, {})

    def listing(self, kind: str) -> Listing:
        return LiveListing(self, kind)

    def _walk(
        self, kind: str, id: int, known: dict[int, bytes], texts: dict[int, bytes]
    ) -> Iterator[BpfObject]:
        """Objects of larger ids than ``id``; infos of ``known`` and ``texts`` are not read again.

        Both are emptied by others when they have become too old.
        """
        # Failed calls are made again, to learn their errno.
        next_attr, id_attr, info_attr = Buffer(8), Buffer(12), Buffer(INFO_ATTR.size)
        next_id, next_args = repeated_call(_NEXT_ID[kind], next_attr.address, 8)
        by_id, id_args = repeated_call(_FD_BY_ID[kind], id_attr.address, 12)
        get_info, info_args = repeated_call(
            uapi.BPF_OBJ_GET_INFO_BY_FD, info_attr.address, INFO_ATTR.size
        )
        _ID_ATTR.pack_into(id_attr.data, 0, 0, 0, _OPEN_FLAGS.get(kind, 0))
        INFO_ATTR.pack_into(info_attr.data, 0, 0, 0, self._info.address)
        start, following = next_attr.number(0), next_attr.number(4)
        wanted, asked, length = id_attr.number(0), info_attr.number(0), info_attr.number(4)
        answer, blank, size = memoryview(self._info.data), self._no_info, _INFO_SIZE
        told = _ToldArrays(self._info) if kind == "prog" else None
        if told is not None:
            blank = told.request(blank)
        opened: list[int] = []
        # Those that need no fdinfo may have other numbers than the one before.
        most = 1 if kind in _FDINFO_MARKS else _OPEN_AT_ONCE
        current = id
        is_dense = False
        try:
            while True:
                while current + 1 in known:
                    current += 1
                    yield BpfObject(kind, current, -1, known[current])
                fd = -1
                if is_dense:
                    # Objects made one after the other have ids one after the other.
                    wanted.value = current + 1
                    fd = by_id(*id_args)
                    if fd >= 0:
                        current += 1
                if fd < 0:
                    start.value = current
                    if next_id(*next_args) < 0:
                        result = bpf(_NEXT_ID[kind], next_attr.address, 8)
                        if result == -ENOENT:
                            return
                        if result < 0:
                            raise _listing_error(kind, -result)
                    is_dense = following.value == current + 1
                    wanted.value = current = following.value
                    fd = by_id(*id_args)
                    if fd < 0:
                        fd = bpf(_FD_BY_ID[kind], id_attr.address, 12)
                        # EAGAIN: a link that is only being made, bpf_link_by_id().
                        if fd in (-ENOENT, -EAGAIN):
                            continue
                        if fd < 0:
                            raise _opening_error(kind, current, -fd)
                opened.append(fd)
                answer[:] = blank
                asked.value = fd
                length.value = size
                if get_info(*info_args) < 0:
                    what = f"{_LONG_NAMES[kind]} {current}"
                    refused = self._describe(kind, fd, what, current)
                    refused.fdinfo = texts.get(current)
                    yield refused
                else:
                    if length.value != size:
                        # Infos of a kind are equally long: the next need no longer tail.
                        size = length.value
                        answer, blank = answer[:size], blank[:size]
                    arrays = None if told is None else told.take(answer)
                    text = texts.get(current)
                    yield BpfObject(kind, current, fd, bytes(answer), False, text, arrays)
                if len(opened) >= most:
                    _close_all(opened)
        finally:
            _close_all(opened)

    def open(self, kind: str, id: int) -> BpfObject:
        return self._open_id(kind, id, _OPEN_FLAGS.get(kind, 0))

    def open_writable(self, id: int) -> BpfObject:
        return self._open_id("map", id, 0)

    def _open_id(self, kind: str, id: int, flags: int) -> BpfObject:
        attr = self._attr
        _ID_ATTR.pack_into(attr.data, 0, id, 0, flags)
        fd = bpf(_FD_BY_ID[kind], attr.address, 12)
        if fd < 0:
            raise _opening_error(kind, id, -fd)
        return self._described_or_closed(kind, fd, f"{_LONG_NAMES[kind]} {id}", id)

    def open_pinned(self, path: str) -> BpfObject:
        fd = self._open_path(path)
        if fd in (-EPERM, -EACCES):
            read_only = self._open_path(path, _BPF_F_RDONLY)
            fd = read_only if read_only >= 0 else fd
        if fd < 0:
            raise _pinned_error(path, -fd)
        kind = _fd_kind(fd)
        if kind is None:
            posix.close(fd)
            raise BpfError(f"'{path}' is pinned, but is not a program, map or link")
        return self._described_or_closed(kind, fd, f"the {_LONG_NAMES[kind]} pinned at '{path}'")

    def _open_path(self, path: str, flags: int = 0) -> int:
        raw = path_bytes(path)
        if b"\0" in raw:
            return -EINVAL
        if len(raw) >= PATH_MAX:
            return -ENAMETOOLONG
        name = self._path
        name.data[: len(raw) + 1] = raw + b"\0"
        PATH_ATTR.pack_into(self._attr.data, 0, name.address, 0, flags)
        return bpf(uapi.BPF_OBJ_GET, self._attr.address, PATH_ATTR.size)

    def _described_or_closed(self, kind: str, fd: int, what: str, id: int = 0) -> BpfObject:
        try:
            obj = self._describe(kind, fd, what, id)
        except BpfError:
            posix.close(fd)
            raise
        self._open.add(fd)
        return obj

    def _describe(self, kind: str, fd: int, what: str, id: int = 0) -> BpfObject:
        """An open object, which a refusal calls ``what``; ``id`` is 0 where it is not known yet."""
        info = self._info
        info.data[:] = self._no_info
        length = self._get_info(fd, info, _INFO_SIZE)
        if length < 0:
            if length != -ENODEV:
                raise KernelError.of(f"cannot get the info of {what}", -length)
            # The device it was bound to is gone and the kernel tells nothing more.
            blank = bytearray(PROG_INFO.size)
            _U32.pack_into(blank, 4, id)
            return BpfObject(kind, id, fd, bytes(blank), orphaned=True)
        data = bytes(info.data[:length])
        return BpfObject(kind, _U32.unpack_from(data, _ID_OFFSET[kind])[0], fd, data)

    def _get_info(self, fd: int, buffer: Buffer, size: int) -> int:
        """BPF_OBJ_GET_INFO_BY_FD into ``buffer``: the length that was filled, or -errno."""
        attr = self._attr
        INFO_ATTR.pack_into(attr.data, 0, fd, size, buffer.address)
        result = bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr.address, 16)
        if result < 0:
            return result
        return int(_U32.unpack_from(attr.data, 4)[0])

    def close(self, obj: BpfObject) -> None:
        if obj.fd >= 0:
            try:
                posix.close(obj.fd)
            except OSError:
                pass  # the descriptor is gone all the same, and what was asked is done
            self._open.discard(obj.fd)
            obj.fd = -1

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        info = prog.info
        if prog.arrays and len(names) == 1 and names[0] in prog.arrays:
            return {"info": info, names[0]: prog.arrays[names[0]]}
        while True:
            buffer = Buffer(PROG_INFO.size)
            space, places = _array_space(info, names, buffer.data)
            length = self._get_info(prog.fd, buffer, PROG_INFO.size)
            if length < 0:
                raise KernelError.of(f"cannot get the info of program {prog.id}", -length)
            answer = bytes(buffer.data[:length])
            arrays: dict[str, Any] = {"info": answer}
            for name, (at, room) in places.items():
                size = _array_size(answer, name)
                if size > room:
                    info = answer  # it grew in between (a program's maps can)
                    break
                withheld = size and not _prog_number(answer, PROG_ARRAYS[name][0], 8)
                arrays[name] = None if withheld else bytes(space.data[at : at + size])
            else:
                return arrays

    def fdinfo(self, obj: BpfObject) -> bytes:
        if obj.fdinfo is not None:
            return obj.fdinfo
        fd = obj.fd
        try:
            # A listing opens each object with the same number, and an open file of
            # /proc/self/fdinfo tells at every read what the number stands for by then.
            if self._fdinfo_of != (fd, posix.getpid()):
                self._open_fdinfo(fd)
            return posix.pread(self._fdinfo, _FDINFO_SIZE, 0)
        except OSError as error:
            raise KernelError.of(
                f"cannot read /proc/self/fdinfo/{obj.fd}", error.errno or 0
            ) from None

    def _open_fdinfo(self, fd: int) -> None:
        if self._fdinfo >= 0:
            posix.close(self._fdinfo)
            self._fdinfo = -1
        self._fdinfo_of = (-1, -1)
        self._fdinfo = posix.open(f"/proc/self/fdinfo/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
        # In a process forked from this one the file would still be about our numbers.
        self._fdinfo_of = (fd, posix.getpid())

    def btf_data(self, id: int) -> bytes:
        obj = self.open("btf", id)
        try:
            size = BTF_INFO.decode(obj.info, self.byteorder)["btf_size"]
            while True:
                data = Buffer(size or 1)
                fields = (data.address, size, 0, 0, 0, 0)
                buffer = Buffer.of(struct.pack("=QIIQII", *fields))
                length = self._get_info(obj.fd, buffer, BTF_INFO.size)
                if length < 0:
                    raise KernelError.of(f"cannot get the data of BTF object {id}", -length)
                actual = BTF_INFO.decode(buffer.data, self.byteorder)["btf_size"]
                if actual <= size:
                    return bytes(data.data[:actual])
                size = actual
        finally:
            self.close(obj)

    def btf_name(self, id: int) -> str:
        obj = self.open("btf", id)
        try:
            name = Buffer(64)
            buffer = Buffer.of(struct.pack("=QIIQII", 0, 0, 0, name.address, len(name.data), 0))
            length = self._get_info(obj.fd, buffer, BTF_INFO.size)
            if length < 0:
                raise KernelError.of(f"cannot get the name of BTF object {id}", -length)
            return c_string(name.data)
        finally:
            self.close(obj)

    def map_value(self, map: BpfObject, key: bytes) -> bytes:
        value_size = struct.unpack_from("=I", map.info, 12)[0]
        key_buffer, value = Buffer.of(key), Buffer(value_size)
        ELEM_ATTR.pack_into(self._attr.data, 0, map.fd, key_buffer.address, value.address, 0)
        result = bpf(uapi.BPF_MAP_LOOKUP_ELEM, self._attr.address, ELEM_ATTR.size)
        if result < 0:
            raise KernelError.of(f"cannot look up an element of map {map.id}", -result)
        return bytes(value.data)

    def map_hash(self, map: BpfObject) -> bytes:
        digest, info = Buffer(32), Buffer(uapi.BPF_MAP_INFO_SIZE)
        struct.pack_into("=QI", info.data, 88, digest.address, len(digest.data))
        length = self._get_info(map.fd, info, len(info.data))
        if length < 0:
            raise KernelError.of(f"cannot get the hash of map {map.id}", -length)
        return bytes(digest.data)

    def elements(self, map: BpfObject) -> Iterator[Batch]:
        from pybpftool.kernel.elements import MapElements

        return MapElements(self, map).batches()

    def lookup(self, map: BpfObject, key: bytes | None) -> bytes:
        return self._single(map).lookup(key)

    def next_key(self, map: BpfObject, key: bytes | None) -> bytes:
        return self._single(map).next_key(key)

    def _single(self, map: BpfObject) -> MapElements:
        """What asks for one element after the other of the map that was asked last."""
        if self._asked is None or self._asked[0] is not map or map.fd < 0:
            from pybpftool.kernel.elements import MapElements

            self._asked = map, MapElements(self, map)
        return self._asked[1]

    def pinned(self, kind: str) -> dict[int, list[str]]:
        from pybpftool.kernel.pins import PinTable, pinned_objects

        table = PinTable()
        links = tuple(name for name, fd_kind in _FD_NAMES.items() if fd_kind == kind)
        for id, path in pinned_objects(links):
            table.add(id, path)
        return table.paths

    def pinned_elsewhere(self) -> tuple[list[tuple[str, int, str, int, str]], bool]:
        from pybpftool.kernel.mount_namespaces import Elsewhere

        elsewhere = Elsewhere()
        found = []
        for pid, comm, path, way in elsewhere.files():
            fd = self._open_path(way)
            if fd < 0:
                elsewhere.is_refused |= fd in (-EPERM, -EACCES)
                continue
            try:
                kind = _fd_kind(fd)
                if kind is not None:
                    found.append((kind, self._describe(kind, fd, path).id, path, pid, comm))
            except KernelError:
                continue
            finally:
                posix.close(fd)
        return found, elsewhere.is_refused

    def holders(self, kind: str) -> dict[int, list[tuple[int, str]]]:
        return self._find_holders(kind, {}, {})

    def holding(self, name: str) -> list[tuple[int, str]]:
        from pybpftool.kernel.holders import find_holding

        return find_holding(f"anon_inode:{name}", same_files)

    def mapped_maps(self) -> list[tuple[int, int, str]]:
        from pybpftool.kernel.mapped_maps import find_mapped

        return find_mapped(self.uses_iterators)

    def closed_processes(self) -> list[tuple[int, str]]:
        from pybpftool.kernel.tasks import closed_processes

        return closed_processes()

    def _find_holders(
        self, kind: str, infos: dict[int, bytes], texts: dict[int, bytes]
    ) -> dict[int, list[tuple[int, str]]]:
        """:meth:`holders`, with the infos and fdinfo texts that were read for it, by id."""
        from pybpftool.kernel.holders import find_holders, from_blocks, prefers_iterator

        # What a command has open itself only while it answers is not held by it.
        own = frozenset(self._open)
        idle: set[int] = set()
        if self.uses_iterators and prefers_iterator(idle):
            from pybpftool.kernel.task_iter import held as by_iterator

            blocks = by_iterator(kind, own)
            if blocks is not None:
                return from_blocks(blocks)

        def link_ids(pid: int, numbers: list[int]) -> list[int] | None:
            from pybpftool.kernel.links import held_infos

            held = held_infos(pid, numbers)
            if held is None:
                return None
            infos.update(held)
            return list(held)

        names = tuple(name for name, fd_kind in _FD_NAMES.items() if fd_kind == kind)
        key, mark = f"{kind}_id:".encode(), _FDINFO_MARKS.get(kind)
        ids_of = link_ids if kind == "link" else None
        return find_holders(names, key, same_files, texts, own, ids_of, mark, idle)

    def symbol_names(self, addresses: Sequence[int], may_walk: bool) -> dict[int, str] | None:
        if not self.uses_iterators:
            return None  # no program is to be loaded
        from pybpftool.kernel.function_names import function_names

        told = function_names(addresses)
        if told is None:
            return None
        names = told.names
        # Whoever must read kallsyms for one finds all others there.
        if may_walk and told.others and len(names) + len(told.others) == len(addresses):
            from pybpftool.kernel.symbol_iter import kernel_names

            names.update(kernel_names(told.others))
        return names

    def symbol_address(self, name: str) -> int:
        if not self.uses_iterators:
            return 0
        from pybpftool.kernel.symbol_iter import symbol_address

        return symbol_address(name)

    def file(self, path: str) -> bytes:
        try:
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise KernelError.of(f"cannot open {path}", error.errno or 0) from None
        try:
            # Files of /proc tell no size, and give a page at a time as a rule.
            blocks = []
            while block := posix.read(fd, 1 << 16):
                blocks.append(block)
            return b"".join(blocks)
        except OSError as error:
            raise KernelError.of(f"cannot read {path}", error.errno or 0) from None
        finally:
            posix.close(fd)

    def stream(self, path: str) -> Callable[[int], bytes]:
        from pybpftool.reading import Stream

        try:
            return Stream(path).read  # with the last reference to that it is closed
        except OSError as error:
            raise KernelError.of(f"cannot open {path}", error.errno or 0) from None

    def file_in_background(self, path: str) -> bytes:
        """:meth:`file` for a thread of its own: other threads go on while it reads."""
        return read_unlocked(path)

    def structs_of(self, size: int, prefix: str, count: int) -> list[str]:
        from pybpftool.kernel import typefind

        types = typefind.opened()
        return types.structs_of(size, prefix, count) if types else []

    def boot_time_ns(self) -> int:
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - _boot_offset_ns()
        return time.clock_gettime_ns(time.CLOCK_REALTIME) - boot

    def ifname(self, ifindex: int, netns_dev: int, netns_ino: int) -> str | None:
        try:
            own = posix.stat("/proc/self/ns/net")
        except OSError:
            return None
        if (own.st_dev, own.st_ino) != (netns_dev, netns_ino):
            return None
        return if_indextoname(ifindex)

    def ifindex_name(self, ifindex: int) -> str | None:
        return if_indextoname(ifindex)

    def link_details(self, link: BpfObject) -> dict[str, bytes]:
        from pybpftool.kernel.links import link_details

        if link.fd >= 0:
            return link_details(link, self.uses_iterators)
        try:
            opened = self.open("link", link.id)
        except KernelError as error:
            if error.errno == ENOENT:
                raise VanishedError(str(error), ENOENT) from None
            raise
        try:
            return link_details(opened, self.uses_iterators)
        finally:
            self.close(opened)

    def task_fds(self) -> list[tuple[int, int, int, int, bytes, int, int]]:
        from pybpftool.kernel.perf import task_fds

        return task_fds(self.uses_iterators)

    def iterated(self, kind: str) -> list[int]:
        from pybpftool.kernel.object_iter import iterated

        if not self.uses_iterators:
            raise KernelError("no BPF iterator is to be loaded", EOPNOTSUPP)
        return iterated(kind)

    def cgroup_root(self) -> str | None:
        from pybpftool.kernel.cgroups import cgroup_root

        return cgroup_root()

    def cgroup_programs(
        self, path: str, attach_types: tuple[int, ...], query_flags: int
    ) -> list[tuple[int, int, int]]:
        from pybpftool.kernel.cgroups import cgroup_programs

        return cgroup_programs(path, attach_types, query_flags)

    def cgroup_tree(
        self, root: str, attach_types: tuple[int, ...], query_flags: int
    ) -> list[tuple[str, int, list[tuple[int, int, int]], str]]:
        from pybpftool.kernel.cgroups import cgroup_tree

        return cgroup_tree(root, attach_types, query_flags)

    def cgroup_paths(self, root: str) -> list[str]:
        from pybpftool.kernel.cgroups import cgroup_paths

        return cgroup_paths(root)

    def cgroup_ids(self, root: str) -> dict[int, str]:
        from pybpftool.kernel.cgroups import cgroup_ids

        return cgroup_ids(root)

    def has_file(self, path: str) -> bool:
        return posix.access(path, posix.R_OK)

    def netlink_dump(self, request: bytes, netns: str) -> list[bytes]:
        from pybpftool.kernel.net import netlink_dump

        return netlink_dump(request, netns)

    def device_programs(
        self, ifindex: int, attach_type: int, netns: str
    ) -> list[tuple[int, int, int, int]]:
        from pybpftool.kernel.net import device_programs

        return device_programs(ifindex, attach_type, netns)

    def netfilter_programs(self, netns: str) -> list[tuple[int, int, int, int]]:
        from pybpftool.kernel.netfilter import netfilter_programs

        return netfilter_programs(netns)

    def socket_map_programs(self, map: BpfObject) -> list[tuple[int, int]]:
        from pybpftool.kernel.socket_maps import socket_map_programs

        return socket_map_programs(map.fd, map.id)

    def flow_dissector(self, netns: str) -> int:
        from pybpftool.kernel.net import flow_dissector

        return flow_dissector(netns)

    def device_index(self, name: str, netns: str) -> int:
        from pybpftool.kernel.net import device_index

        return device_index(name, netns)

    def network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        from pybpftool.kernel.net import network_namespaces

        return network_namespaces()

    def kept_network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        from pybpftool.kernel.kept_namespaces import kept_network_namespaces

        return kept_network_namespaces()

    def namespace_path(self, word: str) -> str:
        from pybpftool.kernel.net import namespace_path

        return namespace_path(word)

    def features(self, full: bool, unprivileged: bool, ifindex: int) -> dict[str, Any]:
        from pybpftool.kernel.features import features

        return features(full, unprivileged, ifindex)

    def file_place(self, path: str, offset: int) -> dict[str, Any]:
        from pybpftool.elf.probes import file_place

        return file_place(path, offset)

    def build_id_file(self, build_id: bytes) -> str:
        from pybpftool.kernel.build_ids import build_id_file

        return build_id_file(build_id)


class _ToldArrays:
    """Arrays of a program that come with its info; they take a second request otherwise.

    Listings need the ids of its maps, and of a name that the kernel may have cut the
    functions with their full names.
    """

    __slots__ = ("_funcs", "_ids", "_nr_funcs", "_nr_ids")

    def __init__(self, info: Buffer) -> None:
        self._ids, self._funcs = Buffer(4 * _MOST_MAPS), Buffer(_FUNC_INFO * _MOST_FUNCS)
        self._nr_ids = info.number(_PROG_FIELDS["nr_map_ids"])
        self._nr_funcs = info.number(_PROG_FIELDS["nr_func_info"])

    def request(self, blank: bytes) -> bytes:
        """An empty info that asks for the arrays."""
        info = bytearray(blank)
        _U64.pack_into(info, _MAP_IDS_AT, self._ids.address)
        _U64.pack_into(info, _FUNC_INFO_AT, self._funcs.address)
        for field, number in (
            ("nr_map_ids", _MOST_MAPS),
            ("nr_func_info", _MOST_FUNCS),
            ("func_info_rec_size", _FUNC_INFO),
        ):
            _U32.pack_into(info, _PROG_FIELDS[field], number)
        return bytes(info)

    def take(self, answer: memoryview) -> dict[str, bytes]:
        """The arrays that are whole; clears their addresses in the answer."""
        answer[_MAP_IDS_AT : _MAP_IDS_AT + 8] = answer[_FUNC_INFO_AT : _FUNC_INFO_AT + 8] = _NULL
        arrays = {}
        count = self._nr_ids.value
        if 0 < count <= _MOST_MAPS:
            arrays["map_ids"] = bytes(self._ids.data[: 4 * count])
        if answer[_LAST_OF_NAME]:
            count = self._nr_funcs.value
            if 0 < count <= _MOST_FUNCS:
                arrays["func_info"] = bytes(self._funcs.data[: _FUNC_INFO * count])
        return arrays


class LiveListing(Listing):
    """A listing of the running kernel.

    Looking for holders reads what a listing needs of the same objects: the infos of links
    and the fdinfo of programs and maps. Reading it again would take as long as the rest.
    """

    __slots__ = ("_expires", "_infos", "_texts")

    _kernel: LiveKernel

    def _find_holders(self) -> dict[int, list[tuple[int, str]]]:
        self._infos: dict[int, bytes] = {}
        self._texts: dict[int, bytes] = {}
        held = self._kernel._find_holders(self.kind, self._infos, self._texts)
        # The part that is read of a program's fdinfo (memlock) never changes.
        self._expires = None if self.kind == "prog" else time.monotonic() + _FRESH
        return held

    def objects(self, after: int = 0) -> Iterator[BpfObject]:
        infos, texts = self._infos, self._texts
        # Links and BTF objects need no fdinfo.
        if self.kind not in _FDINFO_MARKS:
            texts = {}
        self._infos, self._texts = {}, {}
        expires = self._expires
        if expires is None or not (infos or texts):
            return self._kernel._walk(self.kind, after, infos, texts)
        return self._while_fresh(after, infos, texts, expires)

    def _while_fresh(
        self, after: int, infos: dict[int, bytes], texts: dict[int, bytes], expires: float
    ) -> Iterator[BpfObject]:
        if time.monotonic() > expires:
            infos.clear()
        monotonic = time.monotonic
        for obj in self._kernel._walk(self.kind, after, infos, texts):
            if monotonic() > expires:
                obj.fdinfo = None
                texts.clear()
                infos.clear()
            yield obj


def _close_all(opened: list[int]) -> None:
    """Close descriptors of ours and forget them, those with numbers in a row in one call."""
    while len(opened) > 1:
        row = range(opened[0], opened[0] + len(opened))
        count = len(row)
        if opened != list(row):  # descriptors of others are between them
            count = next(n for n, fd in enumerate(opened) if fd != row[n])
        posix.closerange(row[0], row[0] + count)
        del opened[:count]
    if opened:
        posix.close(opened.pop())


def c_string(data: bytes | bytearray) -> str:
    """The text of a C string in a fixed-size field."""
    return bytes(data).partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _boot_offset_ns() -> int:
    """By how much our time namespace shifts the boot clock; the times of objects have no shift."""
    try:
        if posix.stat("/proc/self/ns/time").st_ino == _FIRST_TIME_NAMESPACE:
            return 0
        with open("/proc/self/timens_offsets", "rb") as file:
            for line in file:
                clock, seconds, nanoseconds = line.split()
                if clock in (b"boottime", b"7"):
                    return int(seconds) * 1_000_000_000 + int(nanoseconds)
    except (OSError, ValueError):
        pass  # Linux without time namespaces (before 5.6), or no /proc
    return 0


def _prog_number(info: bytes, field: str, size: int = 4) -> int:
    """A number of a prog info, 0 for a field that an older kernel's info ends before."""
    at = _PROG_FIELDS[field]
    return int.from_bytes(info[at : at + size], sys.byteorder)


def _array_size(info: bytes, name: str) -> int:
    _, count, element = PROG_ARRAYS[name]
    number = _prog_number(info, count)
    return number * (element if isinstance(element, int) else _prog_number(info, element))


def _array_space(
    info: bytes, names: tuple[str, ...], request: bytearray
) -> tuple[Buffer, dict[str, tuple[int, int]]]:
    """One buffer for all arrays, and where each stands in it: name -> (offset, size).

    Their addresses and sizes are set in ``request``, a zeroed prog info.
    """
    places = {}
    total = 0
    for name in names:
        size = _array_size(info, name)
        places[name] = (total, size)
        total += -(-size // 8) * 8
    space = Buffer(total)
    for name, (at, size) in places.items():
        if not size:
            continue
        address, *counts = PROG_ARRAYS[name]
        _U64.pack_into(request, _PROG_FIELDS[address], space.address + at)
        for field in counts:
            if isinstance(field, str):
                _U32.pack_into(request, _PROG_FIELDS[field], _prog_number(info, field))
    return space, places


def _fd_kind(fd: int) -> str | None:
    """What kind of BPF object a file descriptor of ours is."""
    try:
        return _FD_NAMES.get(posix.readlink(f"/proc/self/fd/{fd}"))
    except OSError as error:
        raise KernelError.of(f"cannot read /proc/self/fd/{fd}", error.errno or 0) from None


def _listing_error(kind: str, errno: int) -> KernelError:
    what = f"cannot list {_LONG_NAMES[kind]}s"
    if errno == EPERM:
        return KernelError(f"{what}: this needs the capability CAP_SYS_ADMIN (try as root)", errno)
    if errno == EINVAL:
        return KernelError(f"{what}: this kernel is too old to enumerate them", errno)
    return KernelError.of(what, errno)


def _opening_error(kind: str, id: int, errno: int) -> KernelError:
    what = f"cannot open {_LONG_NAMES[kind]} {id}"
    if errno == ENOENT:
        return KernelError(f"there is no {_LONG_NAMES[kind]} with id {id}", errno)
    if errno == EPERM:
        return KernelError(f"{what}: this needs the capability CAP_SYS_ADMIN (try as root)", errno)
    return KernelError.of(what, errno)


def _pinned_error(path: str, errno: int) -> KernelError:
    what = f"cannot open the object pinned at '{path}'"
    if errno in (EPERM, EACCES):
        from os.path import dirname

        from pybpftool.kernel.pins import BPF_FS_MAGIC
        from pybpftool.kernel.syscall import file_system_type

        # A directory that may not be searched doesn't say what it is: bpffs is often 0700.
        known = file_system_type(dirname(path) or ".")
        if errno == EACCES and known not in (None, BPF_FS_MAGIC):
            return KernelError(f"{what}: it is not in a bpf file system", errno)
        return KernelError(
            f"{what}: {posix.strerror(errno)}; this needs permission on the file and CAP_BPF", errno
        )
    return KernelError.of(what, errno)
