"""Whether types lead to the same graph: the comparison that ``btf__dedup()`` makes.

Two graphs are walked side by side (``btf_dedup_is_equiv()`` of libbpf). Each pair of types
that is met is assumed to be equal, so that circles come to an end; a type of theirs that
has been paired with one of ours and is met with another contradicts that.

Types with some difference deep down are led to by thousands of others, each of which would
be compared as far as there. What a failure proves is therefore kept: see :class:`Graphs`.
"""

from __future__ import annotations

from _operator import add  # without the Python of operator
from array import array

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    DECL_TAG,
    ENUMS,
    FUNC_PROTO,
    FWD,
    NUMBERS,
    REFERRING,
    STRUCT,
    UNION,
    UNKN,
    VAR,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pybpftool.btf.table import Btf

UNSEEN = -1  # where a type goes that has not been looked at
ONE_TARGET = REFERRING - {FWD, FUNC_PROTO, VAR, DECL_TAG}
PRIMITIVE = NUMBERS | ENUMS | {FWD}
_MANY = 16  # assumptions of a comparison whose failure is worth being kept
_IDENTITY_DEPTH = 16  # how deep libbpf compares types that it met twice


def _same_struct(one: Sequence[int], two: Sequence[int]) -> bool:
    """Whether structs agree in all but the types of their members."""
    return one[:3] == two[:3] and one[3::3] == two[3::3] and one[5::3] == two[5::3]


def same_enum(one: Sequence[int], two: Sequence[int]) -> bool:
    """Whether enums are equal, or one is a declaration of the other."""
    if one[1] & 0xFFFFFF and two[1] & 0xFFFFFF:
        return one == two
    kinds = {one[1] >> 24 & 0x7F, two[1] >> 24 & 0x7F}
    return one[0] == two[0] and kinds <= ENUMS


class Graphs:
    """Types on a base, as lists of words, and which of them are known to be one.

    A comparison that fails does so for two types that cannot be equal, or for two assumptions
    that contradict each other. Whatever else is assumed, it fails again for each pair around
    it within which both assumptions were made, as long as no more types are found to be one.
    Such pairs are kept in :attr:`unequal`, but for those with an array between them and it:
    :meth:`identical` may lead another comparison past what arrays hold.
    """

    def __init__(self, base: Btf, types: list[list[int]]) -> None:
        self.base = base
        self.start = base.count
        self.types = types
        self.total = self.start + len(types)
        # Where each type went: another's id, its own, or not known yet.
        self.map = array("i", range(self.start))
        self.map += array("i", [UNSEEN]) * len(types)
        self.base_types: dict[int, list[int]] = {0: [0, 0, 0]}
        # Of one comparison: what is assumed, theirs and ours, and for each assumption, in
        # their order, the number of the one about the array around it; -1 for none.
        self.hypothesis: dict[int, int] = {}
        self.arrays: list[int] = []
        self.array = -1
        self.needs_base_changed = False
        # Of all comparisons since types were found to be one: pairs that cannot be equal.
        self.unequal: set[int] = set()
        # Of the last failure: after and until which assumption the two were made.
        self.since, self.until = -1, 0
        self._has_plain_enums: bool | None = None

    def forget(self) -> None:
        """Let go of what comparisons need."""
        self.hypothesis = {}
        self.arrays = []
        self.unequal = set()
        self.base_types = {0: [0, 0, 0]}

    def type(self, type_id: int) -> list[int]:
        """A type's words."""
        if type_id >= self.start:
            return self.types[type_id - self.start]
        words = self.base_types.get(type_id)
        if words is None:
            section, at = self.base.at(type_id)
            size = 3 if not type_id else self.base.sizes[section[at]]
            words = self.base_types[type_id] = list(section[at - 1 : at - 1 + size])
        return words

    def resolve(self, type_id: int) -> int:
        """Follow the map as far as it is known."""
        for _ in range(self.total):
            target = self.map[type_id]
            if target < 0 or target == type_id:
                return type_id
            type_id = target
        raise FormatError("the types to be merged refer to each other in a circle")

    def are_equal(self, mine: int, theirs: int) -> bool:
        """Whether two types lead to the same graph; :attr:`hypothesis` has what was paired."""
        self.hypothesis = {}
        self.arrays = []
        self.array = -1
        self.needs_base_changed = False
        return self.equal(mine, theirs)

    def equal(self, mine: int, theirs: int) -> bool:
        """As :meth:`are_equal`, given what was assumed on the way."""
        if self._are_one(mine, theirs):
            return True
        two = self.type(theirs)
        if two[1] >> 24 & 0x7F == FWD:
            target = self.resolve(theirs)
            if self.kind(target) != FWD:
                theirs, two = target, self.type(target)
        assumed = self.hypothesis.get(theirs)
        if assumed is not None:
            # Compilers describe one type twice at times: look whether it is so.
            if assumed == mine or self.identical(assumed, mine, _IDENTITY_DEPTH):
                return True
            self.until = [*self.hypothesis].index(theirs)
            self.since = max(self.array, self.arrays[self.until])
            return False
        # The two cannot be equal, unless it is a contradiction that says otherwise within.
        self.since, self.until = self.array, self.total
        pair = mine * self.total + theirs
        if pair in self.unequal:
            return False
        number = len(self.hypothesis)
        self.hypothesis[theirs] = mine
        self.arrays.append(self.array)
        one = self.type(mine)
        kind = one[1] >> 24 & 0x7F
        is_equal = False
        if one[0] != two[0]:
            pass
        elif kind != two[1] >> 24 & 0x7F:
            is_equal = self.declares(one, two, theirs)
        elif kind in COMPOSITE:
            is_equal = _same_struct(one, two) and self.all_equal(one[4::3], two[4::3])
        elif kind in ONE_TARGET:
            is_equal = one[1] == two[1] and self.equal(one[2], two[2])
        elif kind == ARRAY:
            around, self.array = self.array, number
            is_equal = (
                one[:3] == two[:3]
                and one[5] == two[5]
                and self.equal(one[4], two[4])
                and self.equal(one[3], two[3])
            )
            self.array = around
        elif kind == FUNC_PROTO:
            is_equal = (
                one[1] == two[1]
                and one[3::2] == two[3::2]
                and self.equal(one[2], two[2])
                and self.all_equal(one[4::2], two[4::2])
            )
        elif kind in PRIMITIVE:
            is_equal = same_enum(one, two) if kind in ENUMS else one == two
        else:
            raise FormatError(f"types of kind {kind} cannot be merged here")
        if not is_equal and self.since < number <= self.until and self._keeps_failures():
            self.unequal.add(pair)
        return is_equal

    def _are_one(self, mine: int, theirs: int) -> bool:
        """Whether two types are known to be one."""
        known = self.map
        one_id, two_id = known[mine], known[theirs]
        if one_id >= 0 and known[one_id] != one_id:
            one_id = self.resolve(mine)
        if two_id >= 0 and known[two_id] != two_id:
            two_id = self.resolve(theirs)
        return (one_id if one_id >= 0 else mine) == (two_id if two_id >= 0 else theirs)

    def all_equal(self, mine: list[int], theirs: list[int]) -> bool:
        """Whether types are :meth:`equal` one by one; most are known to be."""
        known = self.map
        if self.unequal:
            pairs = map(add, map(self.total.__mul__, mine), theirs)
            if not self.unequal.isdisjoint(pairs):
                self.since, self.until = self.array, self.total
                return False
        for one, two in zip(mine, theirs):
            if one != two:
                target = known[one]
                if (target < 0 or target != known[two]) and not self.equal(one, two):
                    return False
        return True

    def _keeps_failures(self) -> bool:
        """Whether failures are worth being kept, and are sure to be met again.

        An enum without values equals all others of its name: where those are several, a
        comparison may succeed with it that fails without.
        """
        if not self.unequal and len(self.hypothesis) < _MANY:
            return False
        if self._has_plain_enums is None:
            self._has_plain_enums = not self._ambiguous_enums()
        return self._has_plain_enums

    def _ambiguous_enums(self) -> bool:
        """Whether an enum without values stands beside different ones of its name."""
        found: dict[int, set[tuple[int, ...]]] = {}
        for words in self._enums():
            found.setdefault(words[0], set()).add(tuple(words[1:]))
        return any(
            len(enums) > 2 and any(not words[0] & 0xFFFFFF for words in enums)
            for enums in found.values()
        )

    def _enums(self) -> Iterator[Sequence[int]]:
        """The words of all enums, those of the base included."""
        for section in self.base.parts():
            words, sizes = section.words, section.sizes
            infos = {info for info in sizes if info >> 24 & 0x7F in ENUMS}
            for at in section.own_offsets():
                if words[at] in infos:
                    yield words[at - 1 : at - 1 + sizes[words[at]]].tolist()
        yield from (words for words in self.types if words[1] >> 24 & 0x7F in ENUMS)

    def declares(self, one: list[int], two: list[int], theirs: int) -> bool:
        """Whether one of two types of a name is a forward declaration of the other."""
        kind, other_kind = one[1] >> 24 & 0x7F, two[1] >> 24 & 0x7F
        if kind == FWD:
            return other_kind == (UNION if one[1] >> 31 else STRUCT)
        if other_kind != FWD:
            return False
        fits = kind == (UNION if two[1] >> 31 else STRUCT)
        if fits and theirs < self.start:
            self.needs_base_changed = True
        return fits

    def kind(self, type_id: int) -> int:
        return self.type(type_id)[1] >> 24 & 0x7F

    def identical(self, first: int, second: int, depth: int) -> bool:
        """Whether two types read the same, to a limited depth."""
        if depth <= 0:
            return False
        for _ in range(self.total):
            one, two = self.type(first), self.type(second)
            kind = one[1] >> 24 & 0x7F
            if kind != two[1] >> 24 & 0x7F:
                return False
            if kind in ONE_TARGET:
                if one[:2] != two[:2]:
                    return False
                first, second = one[2], two[2]
                continue
            break
        else:
            raise FormatError("the types to be merged refer to each other in a circle")
        if kind == UNKN:
            return True
        if kind in ENUMS:
            return same_enum(one, two)
        if kind in PRIMITIVE:
            return one == two
        if kind == ARRAY:
            # libbpf compares the first array's element with itself.
            return one[:3] == two[:3] and one[5] == two[5]
        if kind in COMPOSITE:
            return _same_struct(one, two) and all(
                a == b or self.identical(a, b, depth - 1) for a, b in zip(one[4::3], two[4::3])
            )
        if kind == FUNC_PROTO:
            if one[:2] != two[:2] or one[3::2] != two[3::2]:
                return False
            pairs = [(one[2], two[2]), *zip(one[4::2], two[4::2])]
            return all(a == b or self.identical(a, b, depth - 1) for a, b in pairs)
        return False
