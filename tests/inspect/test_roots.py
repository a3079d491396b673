"""What objects hang by in the end, against a walk from each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pybpftool.inspect.edge import Edge
from pybpftool.inspect.roots import Roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from random import Random

    from pybpftool.inspect.edge import Key

_OBJECTS = st.tuples(st.sampled_from(["prog", "map", "link"]), st.integers(1, 4))
_ENDS = st.tuples(st.sampled_from(["pin", "pid"]), st.integers(1, 5))


def walked(up: dict[Key, list[Edge]], key: Key) -> set[Key]:
    seen, ends, waiting = {key}, set(), [key]
    while waiting:
        for edge in up.get(waiting.pop(), ()):
            if edge.holder[0] in ("pin", "pid"):
                ends.add(edge.holder)
            elif edge.holder not in seen:
                seen.add(edge.holder)
                waiting.append(edge.holder)
    return ends


@given(st.lists(st.tuples(st.one_of(_OBJECTS, _ENDS), _OBJECTS), max_size=30), st.randoms())
def test_ends_are_those_of_a_walk(pairs: list[tuple[Key, Key]], random: Random) -> None:
    up: dict[Key, list[Edge]] = {}
    for holder, held in pairs:
        up.setdefault(held, []).append(Edge(holder, held))
    keys = sorted({key for pair in pairs for key in pair if key[0] in ("prog", "map", "link")})
    random.shuffle(keys)
    roots, words, some = (
        Roots(up, lambda end: end),
        Roots(up, lambda end: end[0]),
        Roots(up, lambda end: end, 2),
    )
    for key in keys:
        ends = walked(up, key)
        assert roots.of(key) == ends
        assert words.of(key) == {kind for kind, _ in ends}
        assert some.of(key) <= ends
        assert len(some.of(key)) == min(len(ends), 2)


def test_a_long_chain_is_no_recursion() -> None:
    up: dict[Key, list[Edge]] = {
        ("map", at): [Edge(("map", at + 1), ("map", at))] for at in range(5000)
    }
    up["map", 5000] = [
        Edge(("pin", "/sys/fs/bpf/a"), ("map", 5000)),
        Edge(("map", 0), ("map", 5000)),
    ]
    assert Roots(up, lambda end: end).of(("map", 17)) == {("pin", "/sys/fs/bpf/a")}
    assert Roots({}, lambda end: end).of(("map", 1)) == set()
