"""The types of several BTF objects one after the other, under new numbers and names."""

from __future__ import annotations

from pybpftool.btf.encode import own_types, renumber_all
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.btf.names import Names, Strings
    from pybpftool.btf.table import Btf


class _Pool:
    """The strings of the base, and behind them those of each object as they come.

    Of equal ones the first counts. ``by_name`` has the offsets of those that are asked for;
    of the base's at first those that the objects have themselves, which are few of them.
    """

    __slots__ = ("_bases", "by_name", "end", "strings")

    def __init__(self, base: Btf, wanted: set[str]) -> None:
        # The innermost base comes first and counts; of equal strings in it, the first.
        self._bases = [section.names for section in reversed(base.parts())]
        self.by_name: dict[str, int] = {"": 0}
        for names in self._bases:
            self.by_name = {**names.offsets_of(wanted), **self.by_name}
        self.strings: list[bytes] = []
        self.end = base.string_end

    def append(self, names: Names, own: Strings) -> _Offsets:
        """Append an object's strings, with their offsets in ``own``; returns where they are."""
        shift = self.end - names.start
        self.strings.append(names.raw)
        self.end += len(self.strings[-1])
        return _Offsets(self, names, own, shift)

    def place(self, name: str, otherwise: int) -> int:
        """Where a name is that may be the end of a longer one, put at ``otherwise`` if nowhere."""
        if name not in self.by_name:
            raw = name.encode("utf-8", "surrogateescape")
            found = (at for names in self._bases for at in names.places_of(raw))
            self.by_name[name] = next(found, otherwise)
        return self.by_name[name]


class _Offsets(dict[int, int]):
    """Where the strings of one object are in the pool, by their offset in the object."""

    __slots__ = ("_names", "_pool", "_shift")

    def __init__(self, pool: _Pool, names: Names, own: Strings, shift: int) -> None:
        super().__init__()
        self._pool = pool
        self._names = names
        self._shift = shift
        offsets, texts = [*own[0]], own[1]
        places = map(shift.__add__, offsets)
        self.update(zip(offsets, map(pool.by_name.setdefault, texts, places)))

    def __missing__(self, offset: int) -> int:
        """Of a base's string, and of one that is the end of another."""
        found = offset
        if offset >= self._names.start:
            found = self._pool.place(self._names[offset], offset + self._shift)
        self[offset] = found
        return found


def concatenated(parts: Sequence[tuple[str, Btf]], base: Btf) -> tuple[list[list[int]], bytes]:
    """All types, each as the list of its words, and the strings behind the base's.

    Equal strings have one offset, though they may be there several times.

    :param parts: (name for errors, BTF on ``base``) of each.
    """
    strings = []
    for path, btf in parts:
        if btf.base is not base:
            raise FormatError(f"'{path}' has a base of its own and cannot be merged")
        strings.append(btf.names.own_strings())
    wanted = {text for _, texts in strings for text in texts}
    wanted.discard("")
    pool = _Pool(base, wanted)
    types: list[list[int]] = []
    for _, btf in parts:
        offsets = pool.append(btf.names, strings.pop(0))
        own = own_types(btf)
        renumber_all(own, _shifted(btf.start_id, len(types)), offsets.__getitem__)
        types += own
    return types, b"".join(pool.strings)


def _shifted(start_id: int, shift: int) -> Callable[[int], int] | None:
    if not shift:
        return None

    def new_id(type_id: int) -> int:
        return type_id if type_id < start_id else type_id + shift

    return new_id
