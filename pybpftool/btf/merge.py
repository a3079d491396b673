"""Several BTF objects on one base as one, without duplicate types.

The result is the one of libbpf's ``btf__add_btf()`` and ``btf__dedup()``: which of
several equal types stays, and under which number, follows from the order in which
candidates are tried, so that the steps and that order are kept.

Types are lists of words (``struct btf_type`` and what follows it); a name is its
offset in the base's strings, or an offset behind them for a new string.
"""

from __future__ import annotations

import sys
from array import array
from itertools import compress, count

from pybpftool.btf.concat import concatenated
from pybpftool.btf.encode import encode, renumber_all
from pybpftool.btf.hashmap import AppendMap
from pybpftool.btf.table import Btf
from pybpftool.depth import recursion_limit
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUMS,
    FLOAT,
    FUNC_PROTO,
    FWD,
    INT,
    LOC_PARAM,
    LOC_PROTO,
    LOCSEC,
    NUMBERS,
    REFERRING,
    STRUCT,
    TYPEDEF,
    UNION,
    UNKN,
    VAR,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

_UNSEEN, _IN_PROGRESS = -1, -2

_KEPT = frozenset((VAR, DATASEC, LOC_PARAM, LOC_PROTO, LOCSEC))  # never taken for duplicates
_ONE_TARGET = REFERRING - {FWD, FUNC_PROTO, VAR, DECL_TAG}
# Of which the three words of struct btf_type are all that libbpf hashes.
_BY_HEAD = (_ONE_TARGET - {TYPEDEF}) | {FWD, FLOAT}
# Of which it hashes all words.
_BY_WORDS = frozenset((ARRAY, FUNC_PROTO, INT))
_PRIMITIVE = NUMBERS | ENUMS | {FWD}
_COMPARED = COMPOSITE | {TYPEDEF}
_SIGN_DEPTH = 8  # how many references a type's sign follows
_IDENTITY_DEPTH = 16  # how deep libbpf compares types that it met twice


def merge(parts: Sequence[tuple[str, Btf]], base: Btf) -> Btf:
    """The types of ``parts``, (name for errors, BTF on ``base``), as one BTF on ``base``."""
    types, strings = concatenated(parts, base)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(recursion_limit())
    try:
        kept = _Dedup(base, types).run()
    except RecursionError:
        raise FormatError("the types to be merged are nested too deeply") from None
    except IndexError:
        raise FormatError("the types to be merged refer to types that are not there") from None
    finally:
        sys.setrecursionlimit(limit)
    merged = Btf.from_bytes(encode(kept, strings), base, True)
    merged.pointer_size = 8
    return merged


def _same_struct(one: Sequence[int], two: Sequence[int]) -> bool:
    """Whether structs agree in all but the types of their members."""
    return one[:3] == two[:3] and one[3::3] == two[3::3] and one[5::3] == two[5::3]


def _same_enum(one: Sequence[int], two: Sequence[int]) -> bool:
    """Whether enums are equal, or one is a declaration of the other."""
    if one[1] & 0xFFFFFF and two[1] & 0xFFFFFF:
        return one == two
    kinds = {one[1] >> 24 & 0x7F, two[1] >> 24 & 0x7F}
    return one[0] == two[0] and kinds <= ENUMS


class _Dedup:
    """The state of a deduplication."""

    def __init__(self, base: Btf, types: list[list[int]]) -> None:
        self.base = base
        self.start = base.count
        self.types = types
        self.total = self.start + len(types)
        self.table = AppendMap()
        self.kinds = [words[1] >> 24 & 0x7F for words in types]
        # Where each type went: another's id, its own, or not known yet.
        self.map = array("i", range(self.start))
        self.map += array("i", [_UNSEEN]) * len(types)
        for type_id in self.of_kinds(_KEPT):
            self.map[type_id] = type_id
        self.hypothesis: dict[int, int] = {}
        self.needs_base_changed = False
        self.base_types: dict[int, list[int]] = {0: [0, 0, 0]}
        self.signs: dict[int, int] = {}
        self.sign_numbers: dict[tuple[int, ...], int] = {}

    def of_kinds(self, kinds: Container[int]) -> Iterator[int]:
        """The types to be merged that are of such kinds, in their order."""
        return compress(count(self.start), map(kinds.__contains__, self.kinds))

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

    def key(self, words: Sequence[int]) -> tuple[int, ...]:
        """What types must share to be candidates for being the same.

        libbpf's hashes, but for structs: the signs of the members' types tell most of those
        apart that libbpf compares, one with each other, and finds different.
        """
        kind = words[1] >> 24 & 0x7F
        if kind in _BY_HEAD:
            return (words[0], words[1], words[2])
        if kind == TYPEDEF:
            return (words[0], words[1])
        if kind in ENUMS:
            return (words[0],)
        if kind in COMPOSITE:
            signs = self.signs
            missing = [ref for ref in words[4::3] if ref not in signs]
            for ref in missing:
                signs[ref] = self.sign(ref)
            refs = map(signs.__getitem__, words[4::3])
            return (*words[:3], *words[3::3], *words[5::3], *refs)
        return tuple(words)

    def sign(self, type_id: int) -> int:
        """A number that types have in common if :meth:`equal` can hold for them."""
        found: list[int] = []
        words = self.type(type_id)
        for _ in range(_SIGN_DEPTH):
            kind = words[1] >> 24 & 0x7F
            if kind not in _ONE_TARGET:
                break
            found += words[:2]
            words = self.type(words[2])
        found.append(-1 - kind)
        if kind in COMPOSITE or kind == FWD:
            found[-1] = -1 - FWD  # one may be a declaration of the other
            found.append(words[0])
        elif kind in ENUMS:
            found[-1] = -1 - ENUM
            found.append(words[0])
        elif kind in NUMBERS:
            found += words
        elif kind == FUNC_PROTO:
            found += (*words[:2], *words[3::2])
        elif kind == ARRAY:
            # Not the element's type, at which identical() does not look.
            found += (*words[:3], words[5])
        return self.sign_numbers.setdefault(tuple(found), len(self.sign_numbers))

    def run(self) -> list[list[int]]:
        """Deduplicate; returns the types that stay, their references renumbered."""
        self.add_base()
        for type_id in self.of_kinds(_PRIMITIVE):
            self.primitive(type_id)
        for type_id in self.of_kinds(_COMPARED):
            self.composite(type_id)
        self.forwards()
        # What has been worked out for structs takes room that the rest needs.
        self.signs, self.sign_numbers, self.hypothesis = {}, {}, {}
        for type_id in range(self.start, self.total):
            if self.map[type_id] < 0:
                self.reference(type_id)
        self.table = AppendMap()
        return self.compact()

    def add_base(self) -> None:
        """Enter the base's types as candidates, as far as any of ours could be one of them."""
        wanted = {words[0] for words in self.types}
        wanted.add(0)
        # Prototypes, which have no names, are told apart by those of their parameters.
        prototypes = {
            tuple(self.types[id - self.start][1:4:2]) for id in self.of_kinds((FUNC_PROTO,))
        }
        append = self.table.append
        unlike = 0
        for section in reversed(self.base.parts()):
            words, sizes = section.words, section.sizes
            for type_id, at in enumerate(section.own_offsets(), section.start_id):
                info = words[at]
                kind = info >> 24 & 0x7F
                if words[at - 1] not in wanted:
                    unlike += kind not in _KEPT
                    continue
                if kind in _KEPT:
                    continue
                if kind == FUNC_PROTO:
                    first = (info, words[at + 2]) if info & 0xFFFFFF else (info,)
                    if first not in prototypes:
                        unlike += 1
                        continue
                if unlike:
                    self.table.count_only(unlike)
                    unlike = 0
                if kind in _BY_HEAD:
                    append((words[at - 1], info, words[at + 1]), type_id)
                elif kind in _BY_WORDS:
                    append(tuple(words[at - 1 : at - 1 + sizes[info]].tolist()), type_id)
                else:
                    append(self.key(self.type(type_id)), type_id)
        self.table.count_only(unlike)

    def settle(self, type_id: int, new_id: int, key: tuple[int, ...]) -> None:
        self.map[type_id] = new_id
        if new_id == type_id:
            self.table.append(key, type_id)

    def primitive(self, type_id: int) -> None:
        """Types that refer to no others."""
        words = self.types[type_id - self.start]
        kind = words[1] >> 24 & 0x7F
        vlen = words[1] & 0xFFFFFF
        key = self.key(words)
        new_id = type_id
        # Enums without a name are compared with all others.
        for candidate in self.table.get(key):
            other = self.type(candidate)
            if kind not in ENUMS:
                # Equal keys are all that numbers and declarations have.
                new_id = candidate
                break
            if other == words:
                new_id = candidate
                break
            if (vlen and other[1] & 0xFFFFFF) or other[1] >> 24 & 0x7F not in ENUMS:
                continue
            if _same_enum(words, other):
                if not words[1] & 0xFFFFFF:
                    new_id = candidate
                    break
                self.map[candidate] = type_id
        self.settle(type_id, new_id, key)

    def resolve(self, type_id: int) -> int:
        """Follow the map as far as it is known."""
        for _ in range(self.total):
            target = self.map[type_id]
            if target < 0 or target == type_id:
                return type_id
            type_id = target
        raise FormatError("the types to be merged refer to each other in a circle")

    def composite(self, type_id: int) -> None:
        """Structs, unions and typedefs, compared with all that they lead to."""
        if self.map[type_id] >= 0:
            return
        key = self.key(self.types[type_id - self.start])
        new_id = type_id
        for candidate in self.table.get(key):
            self.hypothesis = {}
            self.needs_base_changed = False
            if not self.equal(type_id, candidate):
                continue
            self.accept()
            if self.needs_base_changed:
                continue
            new_id = candidate
            break
        self.settle(type_id, new_id, key)

    def equal(self, mine: int, theirs: int) -> bool:
        """Whether two types lead to the same graph, given what was assumed on the way."""
        known = self.map
        start = self.start
        one_id, two_id = known[mine], known[theirs]
        if one_id >= 0 and known[one_id] != one_id:
            one_id = self.resolve(mine)
        if two_id >= 0 and known[two_id] != two_id:
            two_id = self.resolve(theirs)
        if (one_id if one_id >= 0 else mine) == (two_id if two_id >= 0 else theirs):
            return True
        two = self.types[theirs - start] if theirs >= start else self.type(theirs)
        other_kind = two[1] >> 24 & 0x7F
        if other_kind == FWD:
            target = self.resolve(theirs)
            if self.kind(target) != FWD:
                theirs = target
                two = self.type(theirs)
                other_kind = two[1] >> 24 & 0x7F
        assumed = self.hypothesis.get(theirs)
        if assumed is not None:
            # Compilers describe one type twice at times: look whether it is so.
            return assumed == mine or self.identical(assumed, mine, _IDENTITY_DEPTH)
        self.hypothesis[theirs] = mine
        one = self.types[mine - start] if mine >= start else self.type(mine)
        if one[0] != two[0]:
            return False
        kind = one[1] >> 24 & 0x7F
        if kind != other_kind:
            return self.declares(one, two, theirs)
        if kind in COMPOSITE:
            return _same_struct(one, two) and self.all_equal(one[4::3], two[4::3])
        if kind in _ONE_TARGET:
            return one[1] == two[1] and self.equal(one[2], two[2])
        if kind == ARRAY:
            return (
                one[:3] == two[:3]
                and one[5] == two[5]
                and self.equal(one[4], two[4])
                and self.equal(one[3], two[3])
            )
        if kind == FUNC_PROTO:
            return (
                one[1] == two[1]
                and one[3::2] == two[3::2]
                and self.equal(one[2], two[2])
                and self.all_equal(one[4::2], two[4::2])
            )
        if kind in ENUMS:
            return _same_enum(one, two)
        if kind in _PRIMITIVE:
            return one == two
        raise FormatError(f"types of kind {kind} cannot be merged here")

    def all_equal(self, mine: list[int], theirs: list[int]) -> bool:
        """Whether types are :meth:`equal` one by one; most are known to be."""
        known = self.map
        for one, two in zip(mine, theirs):
            if one != two:
                target = known[one]
                if (target < 0 or target != known[two]) and not self.equal(one, two):
                    return False
        return True

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
        while True:
            if depth <= 0:
                return False
            one, two = self.type(first), self.type(second)
            kind = one[1] >> 24 & 0x7F
            if kind != two[1] >> 24 & 0x7F:
                return False
            if kind in _ONE_TARGET:
                if one[:2] != two[:2]:
                    return False
                first, second = one[2], two[2]
                continue
            break
        if kind == UNKN:
            return True
        if kind in ENUMS:
            return _same_enum(one, two)
        if kind in _PRIMITIVE:
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

    def accept(self) -> None:
        """Keep what two equal graphs tell about the types in them."""
        for theirs, mine in self.hypothesis.items():
            target, canonical = self.resolve(mine), self.resolve(theirs)
            kind, other_kind = self.kind(target), self.kind(canonical)
            if kind != FWD and other_kind == FWD:
                self.map[canonical] = target
            if self.needs_base_changed:
                continue
            if kind == FWD and other_kind != FWD:
                self.map[target] = canonical
            if (
                kind in COMPOSITE
                and other_kind != FWD
                and self.map[canonical] >= 0
                and self.map[target] < 0
            ):
                self.map[target] = canonical

    def forwards(self) -> None:
        """Forward declarations of structs of which there is just one of the name."""
        alone = [id for id in self.of_kinds((FWD,)) if self.map[id] == id]
        declared = {self.types[id - self.start][0] for id in alone}
        if not declared:
            return
        named: list[tuple[int, int, int]] = []
        for section in reversed(self.base.parts()):
            places = section.own_offsets()
            base = section.words
            names = map(base.__getitem__, map((-1).__add__, places))
            found = compress(enumerate(places, section.start_id), map(declared.__contains__, names))
            named += [(id, base[at - 1], base[at]) for id, at in found]
        own = [(id, self.types[id - self.start]) for id in self.of_kinds(COMPOSITE)]
        named += [(id, words[0], words[1]) for id, words in own if words[0] in declared]
        by_name: dict[int, int] = {}
        for type_id, name, info in named:
            if info >> 24 & 0x7F in COMPOSITE and self.map[type_id] == type_id:
                by_name[name] = 0 if name in by_name else type_id
        for type_id in alone:
            words = self.types[type_id - self.start]
            target = by_name.get(words[0], 0)
            wanted = UNION if words[1] >> 31 else STRUCT
            if target and self.kind(target) == wanted:
                self.map[type_id] = target

    def reference(self, type_id: int) -> int:
        """Types that refer to others, once those are settled; returns what it became."""
        known = self.map[type_id]
        if known == _IN_PROGRESS:
            raise FormatError("the types to be merged refer to each other in a circle")
        if known >= 0:
            return self.resolve(type_id)
        self.map[type_id] = _IN_PROGRESS
        words = self.types[type_id - self.start]
        kind = words[1] >> 24 & 0x7F
        if kind == ARRAY:
            words[3:5] = self.references(words[3:5])
        elif kind == FUNC_PROTO:
            words[2::2] = self.references(words[2::2])
        elif kind in _ONE_TARGET or kind == DECL_TAG:
            words[2:3] = self.references(words[2:3])
        else:
            raise FormatError(f"types of kind {kind} cannot be merged here")
        key = self.key(words)
        new_id = self.table.first(key, type_id)
        self.settle(type_id, new_id, key)
        return new_id

    def references(self, type_ids: list[int]) -> list[int]:
        """What types became; most of them stand for themselves."""
        known = self.map
        return [id if known[id] == id else self.reference(id) for id in type_ids]

    def compact(self) -> list[list[int]]:
        """The types that stand for themselves, numbered without gaps."""
        start = self.start
        stays = [id for id in range(start, self.total) if self.map[id] == id]
        final = array("i", range(self.total))
        for new, old in enumerate(stays, start):
            final[old] = new
        for type_id, target in enumerate(self.map):
            if target != type_id:
                target = self.resolve(target)
                if self.map[target] != target:
                    raise FormatError("a merged type refers to one that was left out")
                final[type_id] = final[target]
        found = [self.types[type_id - start] for type_id in stays]
        renumber_all(found, final.__getitem__, None)
        return found
