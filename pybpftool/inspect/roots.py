"""What objects hang by in the end, for thousands of them that hang together.

Programs, maps and links may hold one another in circles (a program that jumps through an array
which holds it), so what reaches one another is found as a strongly connected component, and each
component is asked once: R. Tarjan, "Depth-first search and linear graph algorithms", 1972.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from pybpftool.inspect.edge import Edge, Key

_OBJECTS = ("prog", "map", "link", "btf")


class Roots:
    """The ends of all ways up from objects, each told as ``word`` tells it.

    ``up`` are the edges by what they hold. Where an object has more than ``most`` ends, only so
    many are kept; 0 keeps all.
    """

    __slots__ = ("_found", "_most", "_up", "_word")

    def __init__(
        self, up: Mapping[Key, list[Edge]], word: Callable[[Key], Any], most: int = 0
    ) -> None:
        self._up = up
        self._word = word
        self._most = most
        self._found: dict[Key, frozenset[Any]] = {}

    def of(self, key: Key) -> frozenset[Any]:
        """What an object hangs by; empty for one that nothing holds."""
        if key not in self._found:
            self._find(key)
        return self._found[key]

    def _holders(self, key: Key) -> Iterator[Key]:
        return iter([edge.holder for edge in self._up.get(key, ())])

    def _find(self, start: Key) -> None:
        found = self._found
        numbers = {start: 0}  # in the order in which they are met
        lowest = {start: 0}  # the first one that each of them leads to
        gathered: dict[Key, set[Any]] = {start: set()}
        path = [start]
        work = [(start, self._holders(start))]
        while work:
            key, holders = work[-1]
            for holder in holders:
                if holder[0] not in _OBJECTS:
                    gathered[key].add(self._word(holder))
                elif holder in found:
                    gathered[key] |= found[holder]
                elif holder in numbers:
                    lowest[key] = min(lowest[key], numbers[holder])
                else:
                    numbers[holder] = lowest[holder] = len(numbers)
                    gathered[holder] = set()
                    path.append(holder)
                    work.append((holder, self._holders(holder)))
                    break
            else:
                work.pop()
                if lowest[key] == numbers[key]:
                    self._close(path, key, gathered)
                if work:
                    below = work[-1][0]
                    lowest[below] = min(lowest[below], lowest[key])
                    gathered[below] |= found.get(key, frozenset())

    def _close(self, path: list[Key], first: Key, gathered: dict[Key, set[Any]]) -> None:
        """All from ``first`` on reach one another, and so the same ends."""
        at = path.index(first)
        members = path[at:]
        del path[at:]
        ends: set[Any] = set().union(*[gathered.pop(key) for key in members])
        if self._most and len(ends) > self._most:
            ends = set(list(ends)[: self._most])
        kept = frozenset(ends)
        for key in members:
            self._found[key] = kept
