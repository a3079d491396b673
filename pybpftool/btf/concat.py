"""The types of several BTF objects one after the other, under new numbers and names."""

from __future__ import annotations

from pybpftool.btf.encode import own_types, renumber_all
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.btf.table import Btf


class _Pool:
    """The strings of the base, and behind them those of each object as they come.

    Of equal ones the first counts, whose offset ``by_name`` has.
    """

    __slots__ = ("by_name", "end", "strings")

    def __init__(self, base: Btf) -> None:
        self.by_name: dict[str, int] = {}
        for section in base.parts():
            # The innermost base comes last and counts; of equal strings in it, the first.
            names = section.names.fresh()
            self.by_name.update(zip(reversed(names.values()), reversed(names)))
        self.by_name[""] = 0
        self.strings: list[bytes] = []
        self.end = base.string_end

    def offsets(self, btf: Btf, base: Btf) -> _Offsets:
        """Append an object's strings; returns where they are."""
        shift = self.end - base.string_end
        self.strings.append(btf.names.raw)
        self.end += len(self.strings[-1])
        return _Offsets(btf, base.string_end, self.by_name, shift)


class _Offsets(dict[int, int]):
    """Where the strings of one object are in the pool, by their offset in the object."""

    __slots__ = ("_btf", "_by_name", "_shift", "_start")

    def __init__(self, btf: Btf, start: int, by_name: dict[str, int], shift: int) -> None:
        super().__init__()
        self._btf = btf
        self._start = start
        self._by_name = by_name
        self._shift = shift
        names = btf.names.fresh()
        places = map(shift.__add__, names)
        self.update(zip(names, map(by_name.setdefault, names.values(), places)))

    def __missing__(self, offset: int) -> int:
        """Of a base's string, and of one that is the end of another."""
        found = offset
        if offset >= self._start:
            found = self._by_name.setdefault(self._btf.names[offset], offset + self._shift)
        self[offset] = found
        return found


def concatenated(parts: Sequence[tuple[str, Btf]], base: Btf) -> tuple[list[list[int]], bytes]:
    """All types, each as the list of its words, and the strings behind the base's.

    Equal strings have one offset, though they may be there several times.

    :param parts: (name for errors, BTF on ``base``) of each.
    """
    pool = _Pool(base)
    types: list[list[int]] = []
    for path, btf in parts:
        if btf.base is not base:
            raise FormatError(f"'{path}' has a base of its own and cannot be merged")
        own = own_types(btf)
        renumber_all(own, _shifted(btf.start_id, len(types)), pool.offsets(btf, base).__getitem__)
        types += own
    return types, b"".join(pool.strings)


def _shifted(start_id: int, shift: int) -> Callable[[int], int] | None:
    if not shift:
        return None

    def new_id(type_id: int) -> int:
        return type_id if type_id < start_id else type_id + shift

    return new_id
