"""All types of a BTF object for people: by name, by id, by pattern.

Looking one type up in a kernel's 126,000 finds its name among the strings and parses
nothing else.
"""

from __future__ import annotations

from pybpftool.btf.declaration import KINDS
from pybpftool.btf.python import Type
from pybpftool.btf.search import named
from pybpftool.errors import NotFoundError
from pybpftool.uapi.btf import (
    DATASEC,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FWD,
    INT,
    STRUCT,
    TYPEDEF,
    UNION,
    VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.btf.table import Btf

# Which of several types with one name is meant: those of data, those of code, the rest.
_RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            *(STRUCT, UNION, ENUM, ENUM64, TYPEDEF),
            *(INT, FLOAT, FUNC, VAR, DATASEC, FWD),
        )
    )
}
_WORDS = {
    "struct": (STRUCT,),
    "union": (UNION,),
    "enum": (ENUM, ENUM64),
}
# Look-ups from which on an index of all names (80 ms for a kernel) pays.
_FEW = 16


class Types:
    """The types of a BTF object: by name, by id, or all of them.

    ``types["task_struct"]`` finds structs, unions and enums before typedefs and functions
    of the same name; ``types["struct task_struct"]`` says which. ``types[42]`` is by id.
    """

    __slots__ = ("_lookups", "btf")

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        """The table behind, for work in bulk."""
        self._lookups = 0

    def __repr__(self) -> str:
        return f"<Types of BTF, {len(self)} types>"

    def __len__(self) -> int:
        return self.btf.count - 1

    def __getitem__(self, name: str | int) -> Type:
        if isinstance(name, int):
            if name < 0 or not self.btf.has(name):
                raise NotFoundError(f"there is no type {name} in this BTF")
            return Type(self.btf, name)
        return self.find(name)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[Type]:
        return (Type(self.btf, id) for id in range(1, self.btf.count))

    def get(self, name: str, kind: str | None = None) -> Type | None:
        """As :meth:`find`; None where there is no such type."""
        word, blank, rest = name.partition(" ")
        if blank and kind is None and word in _WORDS:
            wanted: tuple[int, ...] | None = _WORDS[word]
            name = rest
        else:
            wanted = None if kind is None else (_kind_number(kind),)
        self._lookups += 1
        if self._lookups > _FEW:
            return self._indexed(name, wanted)
        best: tuple[int, int] | None = None
        for id in named(self.btf, name):
            number = self.btf.kind(id)
            if wanted is None or number in wanted:
                rank = (_RANK.get(number, len(_RANK)), id)
                best = rank if best is None else min(best, rank)
        return None if best is None else Type(self.btf, best[1])

    def _indexed(self, name: str, wanted: tuple[int, ...] | None) -> Type | None:
        """As :meth:`get`, out of an index of all names."""
        kinds = sorted(range(1, len(KINDS)), key=lambda number: _RANK.get(number, len(_RANK)))
        for number in kinds if wanted is None else wanted:
            id = self.btf.find(name, number)
            if id is not None:
                return Type(self.btf, id)
        return None

    def find(self, name: str, kind: str | None = None) -> Type:
        """The type of this name (and kind, a word of :data:`KINDS`).

        Raises :class:`pybpftool.errors.NotFoundError`, a LookupError.
        """
        found = self.get(name, kind)
        if found is None:
            what = f"type '{name}'" if kind is None else f"{kind} '{name}'"
            raise NotFoundError(f"there is no {what} in this BTF")
        return found

    def select(self, name: str | None = None, kind: str | None = None) -> Iterator[Type]:
        """The types whose name fits a pattern (``tcp_*``) and that are of a kind."""
        number = None if kind is None else _kind_number(kind)
        fits = _pattern(name)
        for part in reversed(self.btf.parts()):
            words, names = part.words, part.names
            for id, at in enumerate(part.own_offsets(), part.start_id):
                if number is not None and words[at] >> 24 & 0x7F != number:
                    continue
                if fits is None or fits(names[words[at - 1]]):
                    yield Type(self.btf, id)


def _pattern(name: str | None) -> Callable[[str], object] | None:
    if name is None:
        return None
    import re
    from fnmatch import translate

    return re.compile(translate(name)).match


def _kind_number(kind: str) -> int:
    if kind not in KINDS:
        raise NotFoundError(f"there is no kind '{kind}' of BTF types", list(KINDS[1:]))
    return KINDS.index(kind)
