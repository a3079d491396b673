"""The types of several BTF objects one after the other, under new numbers and names."""

from __future__ import annotations

from pybpftool.btf.encode import own_types, renumber_all
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.btf.table import Btf


class _Pool:
    """Strings by name: those of the base, and behind them what it lacks."""

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

    def add(self, name: str) -> int:
        """The offset of a string that the pool does not have yet."""
        offset = self.by_name[name] = self.end
        self.strings.append(name.encode("utf-8", "surrogateescape") + b"\0")
        self.end += len(self.strings[-1])
        return offset


class _Offsets(dict[int, int]):
    """Where the strings of one object are in the pool, by their offset in the object."""

    __slots__ = ("_btf", "_pool", "_start")

    def __init__(self, btf: Btf, base: Btf, pool: _Pool) -> None:
        super().__init__()
        self._btf = btf
        self._pool = pool
        self._start = base.string_end
        find, add = pool.by_name.get, pool.add
        for offset, name in btf.names.fresh().items():
            found = find(name)
            self[offset] = add(name) if found is None else found

    def __missing__(self, offset: int) -> int:
        """Of a base's string, and of one that is the end of another."""
        found: int | None = offset
        if offset >= self._start:
            name = self._btf.names[offset]
            found = self._pool.by_name.get(name)
            if found is None:
                found = self._pool.add(name)
        assert found is not None
        self[offset] = found
        return found


def concatenated(parts: Sequence[tuple[str, Btf]], base: Btf) -> tuple[list[list[int]], bytes]:
    """All types, each as the list of its words, and the strings that the base lacks.

    :param parts: (name for errors, BTF on ``base``) of each.
    """
    pool = _Pool(base)
    types: list[list[int]] = []
    for path, btf in parts:
        if btf.base is not base:
            raise FormatError(f"'{path}' has a base of its own and cannot be merged")
        own = own_types(btf)
        renumber_all(own, _shifted(btf.start_id, len(types)), _Offsets(btf, base, pool).__getitem__)
        types += own
    return types, b"".join(pool.strings)


def _shifted(start_id: int, shift: int) -> Callable[[int], int] | None:
    if not shift:
        return None

    def new_id(type_id: int) -> int:
        return type_id if type_id < start_id else type_id + shift

    return new_id
