"""Comparing graphs of types: circles, and failures that are kept."""

from __future__ import annotations

import random

import pytest

from pybpftool.btf import graphs
from pybpftool.btf.graphs import Graphs
from pybpftool.btf.merge import merge
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from tests.support.btfbuild import BtfBuilder

KINDS = ("struct", "ptr", "array", "const", "proto", "fwd", "enum")
VALUES: tuple[list[tuple[str, int]], ...] = ([], [("x", 1)], [("x", 1)], [("y", 2)])


def with_int() -> Btf:
    """A base of one type."""
    b = BtfBuilder()
    b.add_int("int", 4)
    return Btf.from_bytes(b.build())


def on_top_of(base: Btf) -> BtfBuilder:
    return BtfBuilder(first_id=base.count, base_strings=base.string_end)


class Plan:
    """Types that refer to each other, of which objects have several copies."""

    def __init__(self, random: random.Random) -> None:
        self.random = random
        self.kinds = random.choices(KINDS, (4, 4, random.randrange(3), 1, 1, 1, 1), k=22)
        self.places = range(len(self.kinds))
        structs = [place for place in self.places if self.kinds[place] == "struct"] or [0]
        self.names = [random.choice(structs) for _ in self.places]
        self.targets = [[random.choice(self.places) for _ in range(3)] for _ in self.places]
        for place, kind in enumerate(self.kinds):
            if kind in ("ptr", "const"):
                self.targets[place][0] = random.choice(structs)

    def add(self, b: BtfBuilder, places: list[int], ids: list[list[int]]) -> None:
        """Add types; each refers to any of the ``ids`` of what it is to refer to."""
        for place in places:
            kind, name = self.kinds[place], f"s{self.names[place]}"
            first, second, third = (self.random.choice(ids[to]) for to in self.targets[place])
            if kind == "struct":
                members = [("a", first, 0), ("b", second, 64), ("c", third, 128)]
                differs = self.random.random() < 0.02
                b.add_struct(f"s{place}", 32 if differs else 24, members)
            elif kind == "ptr":
                b.add_ptr(first)
            elif kind == "const":
                b.add_const(first)
            elif kind == "array":
                b.add_array(first, 1, 2)
            elif kind == "proto":
                b.add_func_proto(first, [("p", second)])
            elif kind == "fwd":
                b.add_fwd(name)
            else:
                b.add_enum("e", self.random.choice(VALUES))

    def objects(self) -> list[tuple[str, Btf]]:
        """Objects on one base."""
        b = BtfBuilder()
        shared: list[list[int]] = [[b.add_int("int", 4)] for _ in self.places]
        chosen = [place for place in self.places if self.random.random() < 0.5]
        for type_id, place in enumerate(chosen, b.next_id):
            shared[place] = [type_id]
        self.add(b, chosen, shared)
        base = Btf.from_bytes(b.build())
        parts = []
        for name in "abc":
            split = on_top_of(base)
            copies = [
                place for place in self.places for _ in range(self.random.choice((0, 1, 1, 2, 3)))
            ]
            self.random.shuffle(copies)
            ids: list[list[int]] = [[] for _ in self.places]
            for type_id, place in enumerate(copies, base.count):
                ids[place].append(type_id)
            self.add(split, copies, [own or ids for own, ids in zip(ids, shared)])
            parts.append((name, Btf.from_bytes(split.build(), base)))
        return parts


def merged(parts: list[tuple[str, Btf]]) -> bytes | str:
    base = parts[0][1].base
    assert base is not None
    try:
        return merge(parts, base).words.tobytes()
    except FormatError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(8))
def test_kept_failures_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_MANY", 0)
    several = [Plan(random.Random(seed * 1000 + case)).objects() for case in range(60)]
    found = [merged(parts) for parts in several]
    monkeypatch.setattr(Graphs, "_keeps_failures", lambda self: False)
    assert found == [merged(parts) for parts in several]
    assert sum(isinstance(each, bytes) for each in found) > 20


def ring(links: int) -> list[tuple[str, Btf]]:
    """Two objects with a ring of structs, which differ in what the last one of them has."""
    base, parts = with_int(), []
    for name in "ab":
        b = on_top_of(base)
        pointers = b.next_id + links
        for link in range(links):
            target = pointers + (link + 1) % links
            members = [("next", target, 0), ("value", target if link else 1, 64)]
            b.add_struct(f"s{link}", 16 if link or name == "a" else 24, members)
        for link in range(links):
            b.add_ptr(base.count + link)
        parts.append((name, Btf.from_bytes(b.build(), base)))
    return parts


def test_a_difference_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    equal = Graphs.equal

    def counted(self: Graphs, mine: int, theirs: int) -> bool:
        compared.append(mine)
        return equal(self, mine, theirs)

    monkeypatch.setattr(Graphs, "equal", counted)
    for links in (100, 200, 400):
        compared.clear()
        parts = ring(links)
        words = merged(parts)
        assert len(words) == sum(len(btf.words) * 4 for _, btf in parts)
        assert len(compared) < 8 * links


def test_enums_that_may_be_any_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for values, is_kept in (([[], [1]], True), ([[1], [2]], True), ([[], [1], [2]], False)):
        b = BtfBuilder()
        for value in values:
            b.add_enum("e", [("x", each) for each in value])
        base = Btf.from_bytes(b.build())
        found = Graphs(base, [])
        monkeypatch.setattr(graphs, "_MANY", 0)
        assert found._keeps_failures() is is_kept


@pytest.mark.parametrize("others", [False, True])
def test_a_circle_of_pointers(others: bool) -> None:
    base, parts = with_int(), []
    for name in "ab":
        b = on_top_of(base)
        first = b.next_id + 1
        b.add_struct("s", 16, [("a", first, 0), ("b", first + 2, 64)])
        for target in (1, 0, 3, 2) if name == "b" or others else (1, 0, 1, 0):
            b.add_ptr(first + target)
        parts.append((name, Btf.from_bytes(b.build(), base)))
    with pytest.raises(FormatError, match="refer to each other in a circle"):
        merge(parts, base)
