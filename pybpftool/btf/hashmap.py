"""The order in which libbpf's hash map gives back several values of one key."""

from __future__ import annotations


class AppendMap:
    """A map from keys to several values each, as ``hashmap__append()`` keeps them.

    A value is put before the earlier ones of its key, and whenever the table grows,
    which it does at three quarters of a power of two, all keys' values change to
    the reverse order. That order shows: it is the order of ids in ``btf show`` and
    that of candidates in deduplication.
    """

    __slots__ = ("_capacity", "_first", "_limit", "_several", "_size")

    def __init__(self) -> None:
        # The first value of each key. Most have no other, and their order is no question; the
        # values of others are oldest first at an even number of flips since a capacity.
        self._first: dict[object, int] = {}
        self._several: dict[object, tuple[list[int], int]] = {}
        self._capacity = 0
        self._limit = 0  # how many values fit before it grows
        self._size = 0

    def count_only(self, number: int = 1) -> None:
        """Make the table as full as ``number`` appends would, without a value."""
        self._size += number
        if self._size > self._limit:
            self._grow()

    def _grow(self) -> None:
        while self._size * 4 // 3 > self._capacity:
            self._capacity = max(4, self._capacity * 2)
        self._limit = (self._capacity * 3 + 2) // 4

    def append(self, key: object, value: int) -> None:
        """Add a value to those of ``key``."""
        self._size += 1
        if self._size > self._limit:
            self._grow()
        first = self._first
        keys = len(first)
        first.setdefault(key, value)
        if len(first) == keys:
            # The newest comes first, so that in memory it comes last.
            self._current(key).append(value)

    def _current(self, key: object) -> list[int]:
        """The values of a key, brought to the order of the present capacity."""
        values, then = self._several.get(key) or ([self._first[key]], self._capacity)
        if (self._capacity.bit_length() - then.bit_length()) % 2:
            values.reverse()
        self._several[key] = values, self._capacity
        return values

    def get(self, key: object) -> list[int]:
        """The values of ``key`` in the order of the C iteration (empty if there are none)."""
        first = self._first.get(key)
        if first is None:
            return []
        return self._current(key)[::-1] if key in self._several else [first]

    def first_or_append(self, key: object, value: int) -> int:
        """The first value that :meth:`get` would give; a key without any gets this new one."""
        first = self._first.setdefault(key, value)
        if first == value:
            self.count_only()
        elif key in self._several:
            return self._current(key)[-1]
        return first
