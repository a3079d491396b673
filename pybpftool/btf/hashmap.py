"""The order in which libbpf's hash map gives back several values of one key."""

from __future__ import annotations


class AppendMap:
    """A map from keys to several values each, as ``hashmap__append()`` keeps them.

    A value is put before the earlier ones of its key, and whenever the table grows,
    which it does at three quarters of a power of two, all keys' values change to
    the reverse order. That order shows: it is the order of ids in ``btf show`` and
    that of candidates in deduplication.
    """

    __slots__ = ("_capacity", "_flips", "_lists", "_size")

    def __init__(self) -> None:
        self._lists: dict[object, list[int]] = {}  # oldest first at an even number of flips
        self._flips: dict[object, int] = {}
        self._capacity = 0
        self._size = 0

    def count_only(self, number: int = 1) -> None:
        """Make the table as full as ``number`` appends would, without a value."""
        self._size += number
        if self._size * 4 // 3 > self._capacity:
            self._grow()

    def _grow(self) -> None:
        while self._size * 4 // 3 > self._capacity:
            self._capacity = max(4, self._capacity * 2)

    def append(self, key: object, value: int) -> None:
        """Add a value to those of ``key``."""
        self._size += 1
        if self._size * 4 // 3 > self._capacity:
            self._grow()
        values = self._lists.get(key)
        if values is None:
            self._lists[key] = [value]
            self._flips[key] = self._capacity
            return
        # The newest comes first, so that in memory it comes last.
        values = self._current(key, values)
        values.append(value)

    def _current(self, key: object, values: list[int]) -> list[int]:
        """Bring a list to the order of the present capacity."""
        then = self._flips[key]
        if then != self._capacity:
            self._flips[key] = self._capacity
            if (self._capacity.bit_length() - then.bit_length()) % 2:
                values.reverse()
        return values

    def get(self, key: object) -> list[int]:
        """The values of ``key`` in the order of the C iteration (empty if there are none)."""
        values = self._lists.get(key)
        return [] if values is None else self._current(key, values)[::-1]
