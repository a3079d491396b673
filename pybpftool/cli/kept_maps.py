"""Maps that commands of a batch leave open for those that follow."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SAME = 4  # words of a command that tell its map, as in: map update id 1
_MOST = 64


class KeptMap:
    """An open map; ``again`` runs a command on it, from the command's third word on."""

    __slots__ = ("again",)

    def __init__(self, again: Callable[..., None]) -> None:
        self.again = again

    def close(self) -> None:
        """Give back the map."""
        raise NotImplementedError


class KeptMaps:
    """Maps that stay open while commands on elements follow each other, by their first words.

    They do so as long as the commands are there already: whatever happens to the id or the pin of a
    map meanwhile might as well happen behind them. Other commands find none of them open.
    """

    __slots__ = ("_key", "_maps", "_verbs")

    def __init__(self) -> None:
        self._maps: dict[tuple[str, ...], KeptMap] = {}
        self._verbs: set[tuple[str, ...]] = set()  # words of commands that have kept maps
        self._key: tuple[str, ...] = ()

    def begin(self, words: list[str]) -> bool:
        """Whether a command is one on elements, as far as known."""
        self._key = tuple(words[:_SAME])
        return self._key[:2] in self._verbs

    def current(self) -> KeptMap | None:
        """The map that the command means, if it is kept."""
        return self._maps.get(self._key)

    def keep(self, map: KeptMap) -> None:
        """Leave the command's map open."""
        if len(self._maps) >= _MOST:
            self.release()
        self._maps[self._key] = map
        self._verbs.add(self._key[:2])

    def release(self) -> None:
        """Close all maps."""
        maps = [*self._maps.values()]
        self._maps.clear()
        for map in maps:
            map.close()
