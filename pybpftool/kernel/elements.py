"""Element operations on maps of the running kernel, and the making of maps.

Reading a whole map goes through ``BPF_MAP_LOOKUP_BATCH`` where the map type has it:
for hash maps the kernel then works bucket by bucket, so that an element which is
there throughout comes exactly once, whatever is inserted and deleted meanwhile.
Elsewhere keys are asked for one after the other, which starts over when the key
asked from is gone; :meth:`MapElements.batches` notices and resumes.
"""

from __future__ import annotations

import os
import struct

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import Batch
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.map import Map

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2
"""Flags of an update: in any case, only a new key, only an existing one."""

_ENOENT = 2
_ENOMEM = 12
_EINVAL = 22
_ENOSPC = 28
_EPERM = 1
_ENOTSUPP = 524  # of the kernel alone; strerror(3) has no text for it
_EOPNOTSUPP = 95

_ELEM_ATTR = struct.Struct("=IxxxxQQQ")  # map_fd, key, value or next_key, flags
# in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
_BATCH_ATTR = struct.Struct("=QQQQIIQQ")
_BATCH_COUNT = 32
# map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name,
# map_ifindex
_CREATE_ATTR = struct.Struct("=7I16sI")
_PIN_ATTR = struct.Struct("=QII")  # pathname, bpf_fd, file_flags
_U32 = struct.Struct("=I")

# enum bpf_map_type, by how their elements can be listed.
_HASHES = frozenset((1, 5, 9, 10, 13))  # hash, percpu, lru, lru percpu, of maps
_ARRAYS = frozenset((2, 6, 12))  # array, percpu_array, array_of_maps
_LPM_TRIE = 11
# Keys are indexes that come in ascending order: prog_array, perf_event_array, stack_trace,
# cgroup_array, devmap, sockmap, cpumap, xskmap, reuseport_sockarray.
_INDEXED = frozenset((*_ARRAYS, 3, 4, 7, 8, 14, 15, 16, 17, 20))
# (percpu_)cgroup_storage: asking from a key that is gone seems to be the end.
_ENDS_AT_GAP = frozenset((19, 21))

# A batch takes about this many bytes of keys and values, and at most so many elements.
_BATCH_BYTES = 512 << 10
_BATCH_ELEMENTS = 4096
# As many keys are remembered to resume from when newer ones are gone.
_HISTORY = 4096

_REASONS = {
    ("update", 7): "the map is full (E2BIG)",
    ("update", 17): "there is an element with this key already (EEXIST)",
    ("update", _ENOENT): "there is no element with this key (ENOENT)",
    ("delete", _ENOENT): "there is no element with this key (ENOENT)",
    ("pin", 17): "there is something of this name already (EEXIST)",
}


def open_map(kernel: Kernel, id: int, writable: bool = False) -> BpfObject:
    """Open a map by id, for reading only unless ``writable``."""
    if not writable:
        return kernel.open("map", id)
    if not kernel.is_live:
        raise BpfError("the maps of a recorded kernel cannot be changed")
    from pybpftool.kernel.live import LiveKernel

    assert isinstance(kernel, LiveKernel)
    return kernel.open("map", id, 0)


def possible_cpus(kernel: Kernel) -> int:
    """The number of possible CPUs, which is the number of values of a per-CPU element."""
    text = kernel.file("/sys/devices/system/cpu/possible").decode("ascii", "replace")
    count = 0
    try:
        for part in text.strip().split(","):
            first, _, last = part.partition("-")
            count += int(last or first) - int(first) + 1
    except ValueError:
        raise BpfError(f"cannot read the list of possible CPUs: '{text.strip()}'") from None
    return count


class MapElements:
    """The elements of one open map.

    ``value_size`` is what reading an element gives: the value, or the values of all
    possible CPUs, each padded to ``cpu_stride`` bytes. Methods raise KernelError.
    """

    __slots__ = (
        "_attr",
        "_fd",
        "_key",
        "_map",
        "_next",
        "_value",
        "cpu_stride",
        "cpus",
        "key_size",
        "value_size",
    )

    def __init__(self, kernel: Kernel, obj: BpfObject, map: Map) -> None:
        if obj.fd < 0:
            raise BpfError("a recorded kernel keeps no elements of maps")
        self._map = map
        self._fd = obj.fd
        self.key_size = map.key_size
        self.cpu_stride = map.value_size
        self.value_size = map.value_size
        self.cpus = 1
        if map.is_per_cpu:
            self.cpus = possible_cpus(kernel)
            self.cpu_stride = (map.value_size + 7) // 8 * 8
            self.value_size = self.cpu_stride * self.cpus
        self._attr = Buffer(_BATCH_ATTR.size)
        self._key = Buffer(self.key_size)
        self._next = Buffer(self.key_size)
        self._value = Buffer(self.value_size)

    def _elem(self, command: int, key: bytes | None, value: Buffer | None, flags: int) -> int:
        address = 0
        if key is not None:
            self._key.data[:] = key
            address = self._key.address
        _ELEM_ATTR.pack_into(
            self._attr.data, 0, self._fd, address, value.address if value else 0, flags
        )
        return bpf(command, self._attr.address, _ELEM_ATTR.size)

    def _error(self, what: str, errno: int) -> KernelError:
        message = f"cannot {what} map {self._map.id}"
        word = what.partition(" ")[0]
        reason = _REASONS.get((word, errno))
        if reason is None and errno == _ENOTSUPP:
            reason = f"maps of type {self._map.type_name} do not support that (ENOTSUPP)"
        if reason is not None:
            return KernelError(f"{message}: {reason}", errno)
        return KernelError.of(message, errno)

    def _checked_key(self, key: bytes | None) -> bytes | None:
        if len(key or b"") != self.key_size:
            raise BpfError(
                f"a key of map {self._map.id} has {self.key_size} bytes, not {len(key or b'')}"
            )
        return key if self.key_size else None

    def lookup(self, key: bytes | None) -> bytes:
        """The value at ``key`` (None: a queue's or stack's next), of all possible CPUs."""
        self._value.data[:] = bytes(self.value_size)
        result = self._elem(uapi.BPF_MAP_LOOKUP_ELEM, self._checked_key(key), self._value, 0)
        if result < 0:
            raise self._error("look up an element of", -result)
        return bytes(self._value.data)

    def pop(self, key: bytes | None = None) -> bytes:
        """Remove an element and return its value (``BPF_MAP_LOOKUP_AND_DELETE_ELEM``)."""
        self._value.data[:] = bytes(self.value_size)
        result = self._elem(
            uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM, self._checked_key(key), self._value, 0
        )
        if result < 0:
            raise self._error("take an element from", -result)
        return bytes(self._value.data)

    def update(self, key: bytes | None, value: bytes, flags: int = BPF_ANY) -> None:
        """Set the value at ``key``; one CPU's value is set on all CPUs."""
        if len(value) == self._map.value_size and self._map.is_per_cpu:
            value = value.ljust(self.cpu_stride, b"\0") * self.cpus
        if len(value) != self.value_size:
            raise BpfError(
                f"a value of map {self._map.id} has {self._map.value_size} bytes, not {len(value)}"
            )
        self._value.data[:] = value
        result = self._elem(uapi.BPF_MAP_UPDATE_ELEM, self._checked_key(key), self._value, flags)
        if result < 0:
            raise self._error("update", -result)

    def delete(self, key: bytes | None) -> None:
        """Delete the element at ``key``."""
        result = self._elem(uapi.BPF_MAP_DELETE_ELEM, self._checked_key(key), None, 0)
        if result < 0:
            raise self._error("delete an element of", -result)

    def next_key(self, key: bytes | None) -> bytes:
        """The key after ``key``, or the first: KernelError with ENOENT at the end.

        The kernel starts over at the first key when ``key`` is not in the map.
        """
        result = self._next_key(None if key is None else self._checked_key(key))
        if result < 0:
            raise self._error("get the next key of", -result)
        return bytes(self._next.data)

    def _next_key(self, key: bytes | None) -> int:
        return self._elem(uapi.BPF_MAP_GET_NEXT_KEY, key, self._next, 0)

    def freeze(self) -> None:
        """Forbid all changes from user space (``BPF_MAP_FREEZE``)."""
        _U32.pack_into(self._attr.data, 0, self._fd)
        result = bpf(uapi.BPF_MAP_FREEZE, self._attr.address, 4)
        if result < 0:
            raise self._error("freeze", -result)

    def batches(self) -> Iterator[Batch]:
        """All elements in the order in which the kernel lists keys.

        An element that is there from the first to the last batch comes exactly once.
        Slots of arrays of maps that hold none are left out, as are elements that
        vanish between their key and their value.
        """
        type = self._map.type
        if type in _HASHES:
            yield from self._hash_batches()
        elif type in _ARRAYS:
            yield from self._array_batches()
        elif type == _LPM_TRIE:
            yield from self._ordered_batches(self._lpm_order())
        else:
            yield from self._singles(int_order if type in _INDEXED else None)

    def _batch_buffers(self, count: int) -> tuple[Buffer, Buffer]:
        return Buffer(count * self.key_size), Buffer(count * self.value_size)

    def _batch_count(self) -> int:
        fit = _BATCH_BYTES // (self.key_size + self.value_size or 1)
        return max(1, min(fit, _BATCH_ELEMENTS, self._map.max_entries or 1))

    def _lookup_batch(
        self, start: int, end: int, keys: Buffer, values: Buffer, count: int
    ) -> tuple[int, int]:
        """``BPF_MAP_LOOKUP_BATCH``: (result, number of elements)."""
        attr = self._attr
        _BATCH_ATTR.pack_into(
            attr.data, 0, start, end, keys.address, values.address, count, self._fd, 0, 0
        )
        result = bpf(uapi.BPF_MAP_LOOKUP_BATCH, attr.address, _BATCH_ATTR.size)
        return result, _U32.unpack_from(attr.data, _BATCH_COUNT)[0]

    def _batch(self, keys: Buffer, values: Buffer, count: int) -> Batch:
        with memoryview(keys.data) as names, memoryview(values.data) as contents:
            return Batch(
                bytes(names[: count * self.key_size]),
                bytes(contents[: count * self.value_size]),
                count,
            )

    def _hash_batches(self) -> Iterator[Batch]:
        # A position is a bucket's number; the kernel keeps it in four bytes.
        position = Buffer(max(4, self.key_size))
        start = 0
        count = self._batch_count()
        keys, values = self._batch_buffers(count)
        while True:
            result, found = self._lookup_batch(start, position.address, keys, values, count)
            if result == -_ENOSPC:
                # One bucket has more elements than that.
                count *= 2
                keys, values = self._batch_buffers(count)
                continue
            if result < 0 and result != -_ENOENT:
                if result == -_ENOMEM and count > 1:
                    count = (count + 1) // 2
                    keys, values = self._batch_buffers(count)
                    continue
                if start or result == -_EPERM:
                    raise self._error("read", -result)
                # This kernel has no batches for this type (or none at all).
                yield from self._singles(None)
                return
            if found:
                yield self._batch(keys, values, found)
            if result < 0:
                return
            start = position.address

    def _array_batches(self) -> Iterator[Batch]:
        # A position is the key that came last; an array's keys are always there.
        position = Buffer(max(4, self.key_size))
        start = 0
        count = self._batch_count()
        keys, values = self._batch_buffers(count)
        while True:
            result, found = self._lookup_batch(start, position.address, keys, values, count)
            if result < 0 and result != -_ENOENT:
                if start or result == -_EPERM:
                    raise self._error("read", -result)
                yield from self._singles(int_order)
                return
            if found:
                yield self._batch(keys, values, found)
            if result < 0:
                return
            start = position.address

    def _ordered_batches(self, order: Callable[[bytes], int]) -> Iterator[Batch]:
        """Batches of a map whose keys come in an order that we know.

        The kernel goes on from the key that came last and starts over when that one
        is gone, which the order shows: what came before is left out.
        """
        position = Buffer(max(4, self.key_size))
        scratch = Buffer(max(4, self.key_size))
        history = _Trail()
        last: int | None = None
        count = self._batch_count()
        keys, values = self._batch_buffers(count)
        key_size, value_size = self.key_size, self.value_size
        start: bytes | None = None
        patience = self._patience()
        while True:
            if start is not None:
                position.data[:key_size] = start
            result, found = self._lookup_batch(
                position.address if start is not None else 0, scratch.address, keys, values, count
            )
            if result < 0 and result != -_ENOENT:
                if start is not None or result == -_EPERM:
                    raise self._error("read", -result)
                yield from self._singles(order)
                return
            names = [
                bytes(keys.data[at : at + key_size]) for at in range(0, found * key_size, key_size)
            ]
            fresh = []
            for index, key in enumerate(names):
                rank = order(key)
                if last is None or rank > last:
                    fresh.append(index)
                    last = rank
            if fresh:
                if len(fresh) == found:
                    yield Batch(b"".join(names), bytes(values.data[: found * value_size]), found)
                else:
                    yield Batch(
                        b"".join([names[index] for index in fresh]),
                        b"".join(
                            [
                                bytes(values.data[index * value_size : (index + 1) * value_size])
                                for index in fresh
                            ]
                        ),
                        len(fresh),
                    )
                history.extend([names[index] for index in fresh])
            if result < 0:
                return
            if fresh:
                start = history.newest()
            else:
                patience -= 1
                if patience < 0:
                    raise self._restless()
                start = history.step_back(names[-1] if names else None)

    def _singles(self, order: Callable[[bytes], int] | None) -> Iterator[Batch]:
        """Elements one by one: ``BPF_MAP_GET_NEXT_KEY`` and a lookup for each."""
        keys: list[bytes] = []
        values: list[bytes] = []
        limit = self._batch_count()
        key_of_maps = self._map.type in (3, 12, 13)  # prog_array, maps of maps
        for key in self._walk(order):
            self._value.data[:] = bytes(self.value_size)
            result = self._elem(uapi.BPF_MAP_LOOKUP_ELEM, key, self._value, 0)
            if result >= 0:
                keys.append(key)
                values.append(bytes(self._value.data))
            if keys and (result < 0 or len(keys) >= limit):
                yield Batch(b"".join(keys), b"".join(values), len(keys))
                keys.clear()
                values.clear()
            if result < 0 and not (key_of_maps and result == -_ENOENT):
                yield Batch(key, None, 1, -result)
        if keys:
            yield Batch(b"".join(keys), b"".join(values), len(keys))

    def _walk(self, order: Callable[[bytes], int] | None) -> Iterator[bytes]:
        """All keys, each once.

        The kernel starts over when the key asked from is gone. That shows in the
        order of the keys; where they have none, all keys seen are remembered.
        """
        history = _Trail()
        seen: set[bytes] = set()
        last: int | None = None
        key: bytes | None = None
        patience = self._patience()
        ends_at_gap = self._map.type in _ENDS_AT_GAP
        while True:
            result = self._next_key(key)
            if result < 0:
                if result != -_ENOENT:
                    raise self._error("list the keys of", -result)
                if key is None or not (ends_at_gap and self._is_gone(key)):
                    return
                found = None
                is_new = False
            else:
                found = bytes(self._next.data)
                if order is not None:
                    rank = order(found)
                    is_new = last is None or rank > last
                    if is_new:
                        last = rank
                else:
                    is_new = found not in seen
                    if is_new:
                        seen.add(found)
            if is_new:
                assert found is not None
                history.extend((found,))
                yield found
                key = found
                continue
            patience -= 1
            if patience < 0:
                raise self._restless()
            key = history.step_back(found)

    def _is_gone(self, key: bytes) -> bool:
        return self._elem(uapi.BPF_MAP_LOOKUP_ELEM, key, self._value, 0) == -_ENOENT

    def _patience(self) -> int:
        # As many steps without a new key are taken before it is admitted that the map
        # changes faster than it can be followed.
        return 8 * self._map.max_entries + (1 << 20)

    def _restless(self) -> BpfError:
        return BpfError(f"map {self._map.id} changes too fast to be read")

    def _lpm_order(self) -> Callable[[bytes], int]:
        """The order of a trie's keys: by their last address, longer prefixes first.

        A key is struct bpf_lpm_trie_key: the prefix length, then the address; bits
        after the prefix say nothing.
        """
        bits = (self.key_size - 4) * 8

        def order(key: bytes) -> int:
            rest = max(bits - int_order(key), 0)
            return (int.from_bytes(key[4:], "big") | ((1 << rest) - 1)) << 32 | rest

        return order


def int_order(key: bytes) -> int:
    """The order of indexes."""
    return int(_U32.unpack_from(key)[0])


class _Trail:
    """The keys that came last, to go on from one that is still there."""

    __slots__ = ("_at_end", "_keys")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._at_end = True

    def extend(self, keys: list[bytes] | tuple[bytes, ...]) -> None:
        """Remember new keys."""
        self._keys += keys
        self._at_end = True
        if len(self._keys) > 2 * _HISTORY:
            del self._keys[:-_HISTORY]

    def newest(self) -> bytes:
        """The key to go on from."""
        return self._keys[-1]

    def step_back(self, found: bytes | None) -> bytes | None:
        """Where to go on when the newest key is gone and the kernel answered ``found``.

        At first from the key before; when none is left, forward from the beginning.
        """
        if self._at_end and self._keys:
            self._keys.pop()
            if self._keys:
                return self._keys[-1]
        self._at_end = False
        return found


class NewMap:
    """What a map to be created is like (the part of ``union bpf_attr`` for it)."""

    __slots__ = (
        "flags",
        "ifindex",
        "inner_map_fd",
        "key_size",
        "max_entries",
        "name",
        "type",
        "value_size",
    )

    def __init__(self, type: int, name: str) -> None:
        self.type = type
        self.name = name
        self.key_size = 0
        self.value_size = 0
        self.max_entries = 0
        self.flags = 0
        self.inner_map_fd = 0
        self.ifindex = 0


def create_map(new: NewMap) -> int:
    """Create a map; a file descriptor. Names are cut at 15 bytes."""
    name = new.name.encode("utf-8", "surrogateescape")[:15]
    attr = Buffer.of(
        _CREATE_ATTR.pack(
            new.type,
            new.key_size,
            new.value_size,
            new.max_entries,
            new.flags,
            new.inner_map_fd,
            0,
            name,
            new.ifindex,
        )
    )
    fd = bpf(uapi.BPF_MAP_CREATE, attr.address, len(attr.data))
    if fd == -_EPERM:
        # Before Linux 5.11 maps counted against RLIMIT_MEMLOCK.
        _raise_memlock()
        fd = bpf(uapi.BPF_MAP_CREATE, attr.address, len(attr.data))
    if fd < 0:
        what = f"cannot create the map '{new.name}'"
        if fd == -_EPERM:
            raise KernelError(f"{what}: this needs the capability CAP_BPF (try as root)", -fd)
        if fd == -_EINVAL:
            raise KernelError(
                f"{what}: the kernel does not take these sizes, flags or this type (EINVAL)", -fd
            )
        if fd == -_ENOTSUPP:
            raise KernelError(f"{what}: the kernel does not support that (ENOTSUPP)", -fd)
        raise KernelError.of(what, -fd)
    return fd


def _raise_memlock() -> None:
    import resource

    try:
        resource.setrlimit(
            resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
    except (OSError, ValueError):
        pass  # then the second attempt says what is wrong


def pin_object(fd: int, path: str) -> None:
    """Pin an open program, map or link at ``path`` (``BPF_OBJ_PIN``)."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise BpfError("a path cannot contain a null byte")
    name = Buffer.of(raw + b"\0")
    attr = Buffer.of(_PIN_ATTR.pack(name.address, fd, 0))
    result = bpf(uapi.BPF_OBJ_PIN, attr.address, len(attr.data))
    if result < 0:
        message = f"cannot pin the object at '{path}'"
        reason = _REASONS.get(("pin", -result))
        if reason is not None:
            raise KernelError(f"{message}: {reason}", -result)
        raise KernelError.of(message, -result)
