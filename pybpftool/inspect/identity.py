"""Which object of one kernel is which of another.

Ids and tags say nothing beyond one load, so objects meet by what they are: kind, full name and
type, then where they are attached or pinned, then what they consist of; the rest of several
twins by their order. Whoever was moved, detached or changed meets itself all the same.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pybpftool.inspect.items import Item

    Pair = tuple[Item, Item]


def _of_prog(item: Item) -> tuple[Any, ...]:
    return item.name, item.type


def _of_link(item: Item) -> tuple[Any, ...]:
    return item.type, item.get("prog")


def _values(*fields: str) -> Callable[[Item], Any]:
    return lambda item: tuple([_plain(item.get(field)) for field in fields])


def _plain(value: Any) -> Any:
    """A value that can be looked up; what is hidden is like nothing else."""
    return value if getattr(value, "__hash__", None) is not None else None


def _place_texts(item: Item) -> Any:
    return tuple([place.text() for place in item.get("places")])


BASE: dict[str, Callable[[Item], Any]] = {"prog": _of_prog, "map": _of_prog, "link": _of_link}
"""What twins have in common."""

ROUNDS: dict[str, tuple[Callable[[Item], Any], ...]] = {
    "prog": (
        lambda item: (_place_texts(item), *_values("pinned", "code", "maps")(item)),
        lambda item: (_place_texts(item), *_values("pinned")(item)),
        _place_texts,
        _values("code", "maps"),
        _values("owner"),
    ),
    "map": (
        _values("pinned", "used_by", "bytes_key", "bytes_value", "max_entries", "frozen_content"),
        _values("pinned", "used_by"),
        _values("used_by"),
        _values("owner"),
    ),
    "link": (_values("attached", "detail", "pinned"), _values("attached"), _values("owner")),
}
"""What tells twins apart, the strictest first."""


def match(
    kind: str, old: Iterable[Item], new: Iterable[Item]
) -> tuple[list[Pair], list[Item], list[Item]]:
    """The pairs of equal identity, and the objects that only one of the two sides has."""
    base = BASE[kind]
    before, after = _grouped(old, base), _grouped(new, base)
    pairs: list[Pair] = []
    gone: list[Item] = []
    come: list[Item] = []
    for key, some in before.items():
        others = after.pop(key, [])
        if len(some) == len(others) == 1:
            pairs.append((some[0], others[0]))
            continue
        for tell_apart in ROUNDS[kind]:
            if not some or not others:
                break
            some, others = _paired(tell_apart, some, others, pairs)
        pairs += zip(some, others)
        gone += some[len(others) :]
        come += others[len(some) :]
    for others in after.values():
        come += others
    return pairs, gone, come


def _grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _paired(
    key: Callable[[Item], Any], old: list[Item], new: list[Item], pairs: list[Pair]
) -> tuple[list[Item], list[Item]]:
    """Pair twins of an equal key in their order; those that are left over."""
    waiting = _grouped(new, key)
    for some in waiting.values():
        some.reverse()
    left = []
    met = set()
    for item in old:
        some = waiting.get(key(item), [])
        if some:
            other = some.pop()
            met.add(other.id)
            pairs.append((item, other))
        else:
            left.append(item)
    return left, [item for item in new if item.id not in met]


def ordinals(items: Iterable[Item]) -> dict[int, int]:
    """id -> number, from 1, of each object that has a twin among them."""
    found: dict[int, int] = {}
    for group in _grouped(items, lambda item: (item.kind, BASE[item.kind](item))).values():
        if len(group) > 1:
            found.update((item.id, number) for number, item in enumerate(group, 1))
    return found
