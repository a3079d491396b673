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
from pybpftool.btf.graphs import ONE_TARGET, PRIMITIVE, Graphs, same_enum
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
    STRUCT,
    TYPEDEF,
    UNION,
    VAR,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

_IN_PROGRESS = -2  # of a type whose references are looked at

_KEPT = frozenset((VAR, DATASEC, LOC_PARAM, LOC_PROTO, LOCSEC))  # never taken for duplicates
# Of which the three words of struct btf_type are all that libbpf hashes.
_BY_HEAD = (ONE_TARGET - {TYPEDEF}) | {FWD, FLOAT}
# Of which it hashes all words.
_BY_WORDS = frozenset((ARRAY, FUNC_PROTO, INT))
_COMPARED = COMPOSITE | {TYPEDEF}
_SIGN_DEPTH = 8  # how many references a type's sign follows


def merge(parts: Sequence[tuple[str, Btf]], base: Btf) -> Btf:
    """The types of ``parts``, (name for errors, BTF on ``base``), as one BTF on ``base``."""
    types, strings = concatenated(parts, base)
    del parts  # their data takes room, where nobody else needs it
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


class _Dedup(Graphs):
    """The state of a deduplication."""

    def __init__(self, base: Btf, types: list[list[int]]) -> None:
        super().__init__(base, types)
        self.table = AppendMap()
        self.kinds = [words[1] >> 24 & 0x7F for words in types]
        for type_id in self.of_kinds(_KEPT):
            self.map[type_id] = type_id
        self.signs: dict[int, int] = {}
        self.sign_numbers: dict[tuple[int, ...], int] = {}

    def of_kinds(self, kinds: Container[int]) -> Iterator[int]:
        """The types to be merged that are of such kinds, in their order."""
        return compress(count(self.start), map(kinds.__contains__, self.kinds))

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
            if kind not in ONE_TARGET:
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
        for type_id in self.of_kinds(PRIMITIVE):
            self.primitive(type_id)
        for type_id in self.of_kinds(_COMPARED):
            self.composite(type_id)
        self.forwards()
        # What has been worked out for structs takes room that the rest needs.
        self.signs, self.sign_numbers = {}, {}
        self.forget()
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
            if same_enum(words, other):
                if not words[1] & 0xFFFFFF:
                    new_id = candidate
                    break
                self.map[candidate] = type_id
        self.settle(type_id, new_id, key)

    def composite(self, type_id: int) -> None:
        """Structs, unions and typedefs, compared with all that they lead to."""
        if self.map[type_id] >= 0:
            return
        key = self.key(self.types[type_id - self.start])
        new_id = type_id
        for candidate in self.table.get(key):
            if not self.are_equal(type_id, candidate):
                continue
            self.accept()
            if self.needs_base_changed:
                continue
            new_id = candidate
            break
        self.settle(type_id, new_id, key)

    def accept(self) -> None:
        """Keep what two equal graphs tell about the types in them."""
        self.unequal.clear()
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
        if kind in ONE_TARGET or kind == DECL_TAG:
            target = words[2]
            if self.map[target] != target:
                words[2] = self.reference(target)
        elif kind == ARRAY:
            words[3:5] = self.references(words[3:5])
        elif kind == FUNC_PROTO:
            words[2::2] = self.references(words[2::2])
        else:
            raise FormatError(f"types of kind {kind} cannot be merged here")
        new_id = self.map[type_id] = self.table.first_or_append(self.key(words), type_id)
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
