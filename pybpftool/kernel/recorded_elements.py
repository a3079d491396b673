"""The elements of one map as a snapshot keeps them, asked for as a kernel is asked."""

from __future__ import annotations

import errno
import struct

from pybpftool.errors import BpfError, CutMap, FormatError, KernelError
from pybpftool.kernel.interface import MAP_INFO, Batch
from pybpftool.uapi.map_traits import BY_PREFIX, traits_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.kernel.interface import BpfObject


class RecordedElements:
    """Elements in the kernel's order, and what was said after the last one.

    :param rows: [keys, values or None, count, errno] of each batch.
    :param end: None, ``{"kept": n}`` or a refusal.
    """

    __slots__ = (
        "_batches",
        "_byteorder",
        "_end",
        "_id",
        "_index",
        "_is_trie",
        "_key_size",
        "_lists_all_slots",
        "_max",
    )

    def __init__(self, map: BpfObject, byteorder: str, rows: list[Any], end: Any) -> None:
        info = MAP_INFO.decode(map.info, byteorder)
        self._id = map.id
        self._byteorder = byteorder
        traits = traits_of(info["type"])
        self._lists_all_slots = traits.lists_all_slots
        self._key_size: int = info["key_size"]
        # struct bpf_lpm_trie_key: the length of the prefix, then the address.
        self._is_trie = traits.order == BY_PREFIX and self._key_size > 4
        self._max: int = info["max_entries"]
        self._batches = [self._batch(*row) for row in rows]
        self._end = self._error(end)
        self._index: dict[bytes, tuple[bytes | int, bytes | None]] | None = None

    def _batch(self, keys: Any, values: Any, count: Any, number: Any) -> Batch:
        if not (
            isinstance(keys, bytes)
            and isinstance(count, int)
            and isinstance(number, int)
            and count > 0
            and len(keys) == count * self._key_size
        ):
            raise self._damaged()
        if values is not None and (not isinstance(values, bytes) or len(values) % count):
            raise self._damaged()
        return Batch(keys, values, count, number)

    def _damaged(self) -> FormatError:
        return FormatError(f"the snapshot is damaged: the elements of map {self._id}")

    def _error(self, end: Any) -> CutMap | KernelError | None:
        if end is None:
            return None
        if isinstance(end.get("kept"), int):
            return CutMap(self._id, end["kept"])
        if not isinstance(end["errno"], int):
            raise self._damaged()
        return KernelError(str(end.get("message")), end["errno"])

    def _check(self, key: bytes | None) -> None:
        if key is not None and len(key) != self._key_size:
            raise BpfError(f"a key of map {self._id} has {self._key_size} bytes, not {len(key)}")

    def batches(self) -> Iterator[Batch]:
        """All of them; raises what came after the last one."""
        yield from self._batches
        if self._end is not None:
            raise self._end

    def lookup(self, key: bytes | None) -> bytes:
        """The value at ``key``; raises KernelError, or CutMap where the snapshot cannot tell."""
        self._check(key)
        found = None
        if key is not None:
            found = self._longest_prefix(key) if self._is_trie else self._indexed().get(key)
        value: bytes | int = errno.ENOENT
        if found is not None:
            value = found[0]
        elif self._end is not None:
            raise self._end
        if isinstance(value, int):
            raise KernelError.of(f"cannot look up an element of map {self._id}", value)
        return value

    def next_key(self, key: bytes | None) -> bytes:
        """The key after ``key``, or the first."""
        self._check(key)
        following: bytes | None
        if self._lists_all_slots and self._key_size == 4:
            following = self._next_index(key)
        else:
            index = self._indexed()
            if key is not None and self._is_trie:
                key = self._masked(key)
            if key is not None and key in index:
                following = index[key][1]
            else:
                following = next(iter(self._batches)).keys[: self._key_size] if index else None
            if following is None and self._end is not None:
                raise self._end
        if following is None:
            raise KernelError.of(f"cannot get the next key of map {self._id}", errno.ENOENT)
        return following

    def _next_index(self, key: bytes | None) -> bytes | None:
        number = -1 if key is None else struct.unpack(self._byteorder + "I", key)[0]
        if number >= self._max:
            number = -1
        return struct.pack(self._byteorder + "I", number + 1) if number + 1 < self._max else None

    def _indexed(self) -> dict[bytes, tuple[bytes | int, bytes | None]]:
        """key -> (value or the errno of reading it, key that follows)."""
        if self._index is None:
            keys: list[bytes] = []
            values: list[bytes | int] = []
            for batch in self._batches:
                size = self._key_size
                keys += [batch.keys[at : at + size] for at in range(0, len(batch.keys), size)]
                if batch.values is None:
                    values += [batch.errno] * batch.count
                else:
                    size = len(batch.values) // batch.count
                    values += [
                        batch.values[at : at + size] for at in range(0, size * batch.count, size)
                    ]
            following: list[bytes | None] = [*keys[1:], None]
            if self._is_trie:
                keys = list(map(self._masked, keys))
            self._index = {key: (values[place], following[place]) for place, key in enumerate(keys)}
        return self._index

    def _masked(self, key: bytes) -> bytes:
        """A trie's key without the bits after its prefix, which mean nothing."""
        bits = 8 * (len(key) - 4)
        length: int = min(struct.unpack_from(self._byteorder + "I", key)[0], bits)
        rest = bits - length
        address: int = int.from_bytes(key[4:], "big") >> rest << rest
        return key[:4] + address.to_bytes(len(key) - 4, "big")

    def _longest_prefix(self, key: bytes) -> tuple[bytes | int, bytes | None] | None:
        """What a look-up in a trie finds: the longest prefix of ``key`` that is there.

        trie_lookup_elem() in kernel/bpf/lpm_trie.c.
        """
        index = self._indexed()
        length = struct.unpack_from(self._byteorder + "I", key)[0]
        if length > 8 * (len(key) - 4):
            return None
        for shorter in range(length, -1, -1):
            found = index.get(self._masked(struct.pack(self._byteorder + "I", shorter) + key[4:]))
            if found is not None:
                return found
        return None
