"""Reading the elements of maps of the running kernel.

Reading a whole map goes through ``BPF_MAP_LOOKUP_BATCH`` where the map type has it:
for hash maps the kernel then works bucket by bucket, so that an element which is
there throughout comes exactly once, whatever is inserted and deleted meanwhile.
Elsewhere keys are asked for one after the other, which starts over when the key
asked from is gone; :meth:`MapElements.batches` notices and resumes.
"""

from __future__ import annotations

import struct
from errno import ENOENT, ENOMEM, ENOSPC, EPERM
from itertools import groupby, islice

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import Batch
from pybpftool.kernel.syscall import (
    ELEM_ATTR,
    ENOTSUPP,
    Buffer,
    bpf,
    errno_field,
    repeated_call,
)
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi.map_traits import BY_BUCKET, BY_INDEX, BY_PREFIX, traits_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.kernel.interface import BpfObject, Kernel

# in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
_BATCH_ATTR = struct.Struct("=QQQQIIQQ")
_BATCH_COUNT = 32
_INFO = struct.Struct("5I")  # type, id, key_size, value_size, max_entries of struct bpf_map_info
_U32 = struct.Struct("=I")

# A batch takes about this many bytes of keys and values, and at most so many elements.
_BATCH_BYTES = 512 << 10
_BATCH_ELEMENTS = 4096
# As many keys are remembered to resume from when newer ones are gone.
_HISTORY = 4096


class MapElements:
    """The elements of one open map, to be read.

    ``value_size`` is what reading an element gives: the value, or the values of all
    possible CPUs, each padded to ``cpu_stride`` bytes. Methods raise KernelError.
    """

    __slots__ = (
        "_attr",
        "_fd",
        "_key",
        "_next",
        "_value",
        "cpu_stride",
        "cpus",
        "id",
        "key_size",
        "max_entries",
        "one_value_size",
        "traits",
        "type",
        "value_size",
    )

    def __init__(self, kernel: Kernel, obj: BpfObject) -> None:
        self._fd = obj.fd
        info: tuple[int, int, int, int, int] = _INFO.unpack_from(obj.info)
        self.type, self.id, self.key_size, size, self.max_entries = info
        self.traits = traits_of(self.type)
        self.one_value_size = self.cpu_stride = self.value_size = size
        self.cpus = 1
        if self.traits.is_per_cpu:
            self.cpus = kernel.possible_cpus()
            self.cpu_stride = (size + 7) // 8 * 8
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
        ELEM_ATTR.pack_into(
            self._attr.data, 0, self._fd, address, value.address if value else 0, flags
        )
        return bpf(command, self._attr.address, ELEM_ATTR.size)

    def _error(self, what: str, errno: int) -> KernelError:
        message = f"cannot {what} map {self.id}"
        if errno == ENOTSUPP:
            type = uapi.MAP_TYPES[self.type] if self.type < len(uapi.MAP_TYPES) else self.type
            reason = f"maps of type {type} do not support that (ENOTSUPP)"
            return KernelError(f"{message}: {reason}", errno)
        return KernelError.of(message, errno)

    def _checked_key(self, key: bytes | None) -> bytes | None:
        if len(key or b"") != self.key_size:
            raise BpfError(
                f"a key of map {self.id} has {self.key_size} bytes, not {len(key or b'')}"
            )
        return key if self.key_size else None

    def lookup(self, key: bytes | None) -> bytes:
        """The value at ``key`` (None: a queue's or stack's next), of all possible CPUs."""
        self._value.data[:] = bytes(self.value_size)
        result = self._elem(uapi.BPF_MAP_LOOKUP_ELEM, self._checked_key(key), self._value, 0)
        if result < 0:
            raise self._error("look up an element of", -result)
        return bytes(self._value.data)

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

    def batches(self) -> Iterator[Batch]:
        """All elements in the order in which the kernel lists keys.

        An element that is there from the first to the last batch comes exactly once.
        Slots of arrays of maps that hold none are left out, as are elements that
        vanish between their key and their value.
        """
        order, has_batch = self.traits.order, self.traits.has_batch
        if order == BY_BUCKET and has_batch:
            yield from self._hash_batches()
        elif order == BY_INDEX and has_batch:
            yield from self._array_batches()
        elif order == BY_PREFIX and has_batch:
            yield from self._ordered_batches(self._lpm_order())
        else:
            yield from self._singles(int_order if order == BY_INDEX else None)

    def _batch_buffers(self, count: int) -> tuple[Buffer, Buffer]:
        return Buffer(count * self.key_size), Buffer(count * self.value_size)

    def _batch_count(self) -> int:
        fit = _BATCH_BYTES // (self.key_size + self.value_size or 1)
        return max(1, min(fit, _BATCH_ELEMENTS, self.max_entries or 1))

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
            if result == -ENOSPC:
                # One bucket has more elements than that.
                count *= 2
                keys, values = self._batch_buffers(count)
                continue
            if result < 0 and result != -ENOENT:
                if result == -ENOMEM and count > 1:
                    count = (count + 1) // 2
                    keys, values = self._batch_buffers(count)
                    continue
                if start or result == -EPERM:
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
            if result < 0 and result != -ENOENT:
                if start or result == -EPERM:
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
            if result < 0 and result != -ENOENT:
                if start is not None or result == -EPERM:
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
        limit = self._batch_count()
        if self.traits.lists_all_slots and self._next_key(None) >= 0:
            # Their keys need not be asked for.
            for begin in range(0, self.max_entries, limit):
                yield from self._grouped(begin, *self._slots(begin, limit))
            return
        keys: list[bytes] = []
        values: list[bytes] = []
        blank = bytes(self.value_size)
        for key in self._walk(order):
            self._value.data[:] = blank
            result = self._elem(uapi.BPF_MAP_LOOKUP_ELEM, key, self._value, 0)
            if result >= 0:
                keys.append(key)
                values.append(bytes(self._value.data))
            if keys and (result < 0 or len(keys) >= limit):
                yield Batch(b"".join(keys), b"".join(values), len(keys))
                keys.clear()
                values.clear()
            if result < 0 and not (self.traits.skips_empty and result == -ENOENT):
                yield Batch(key, None, 1, -result)
        if keys:
            yield Batch(b"".join(keys), b"".join(values), len(keys))

    def _slots(self, begin: int, limit: int) -> tuple[list[int], list[bytes]]:
        """For each of some indexes of an array 0, or why it has no value; and the values."""
        attr, value = Buffer(ELEM_ATTR.size), self._value.data
        ELEM_ATTR.pack_into(attr.data, 0, self._fd, self._key.address, self._value.address, 0)
        lookup, args = repeated_call(uapi.BPF_MAP_LOOKUP_ELEM, attr.address, ELEM_ATTR.size)
        reason = errno_field()
        index = self._key.number(0)
        blank = bytes(self.value_size)
        errnos: list[int] = []
        values: list[bytes] = []
        for number in range(begin, min(begin + limit, self.max_entries)):
            index.value = number
            value[:] = blank
            if lookup(*args) >= 0:
                errnos.append(0)
                values.append(bytes(value))
            elif reason:
                errnos.append(reason.value)
            else:  # the C library hides it
                errnos.append(-bpf(uapi.BPF_MAP_LOOKUP_ELEM, attr.address, ELEM_ATTR.size))
        return errnos, values

    def _grouped(self, begin: int, errnos: list[int], values: list[bytes]) -> Iterator[Batch]:
        """What :meth:`_slots` found, in batches of values and of equal reasons."""
        skipped = ENOENT if self.traits.skips_empty else 0
        rest = iter(values)
        for errno, group in groupby(errnos):
            count = sum(1 for _ in group)
            if not errno or errno != skipped:
                keys = struct.pack(f"={count}I", *range(begin, begin + count))
                content = None if errno else b"".join(islice(rest, count))
                yield Batch(keys, content, count, errno)
            begin += count

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
        ends_at_gap = self.traits.ends_at_gap
        while True:
            result = self._next_key(key)
            if result < 0:
                if result != -ENOENT:
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
        return self._elem(uapi.BPF_MAP_LOOKUP_ELEM, key, self._value, 0) == -ENOENT

    def _patience(self) -> int:
        # As many steps without a new key are taken before it is admitted that the map
        # changes faster than it can be followed.
        return 8 * self.max_entries + (1 << 20)

    def _restless(self) -> BpfError:
        return BpfError(f"map {self.id} changes too fast to be read")

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
