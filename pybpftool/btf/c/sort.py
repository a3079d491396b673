"""The order of types in a sorted C dump (``sort_btf_c()`` of upstream)."""

from __future__ import annotations

from itertools import compress

from pybpftool.btf.c.order import DEFINING, DONE, MAX_CHAIN, VISITED, Kinds, Order
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    DECL_TAG,
    ENUM,
    ENUMS,
    FUNC_PROTO,
    MODIFIERS,
    NUMBERS,
    PTR,
    TYPE_TAG,
    TYPEDEF,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pybpftool.btf.names import Names

# Kinds, structs aside, that a sorted dump may rank before the last; others lead to
# nothing, or have no name.
_RANKED = NUMBERS | ENUMS | {ARRAY, TYPEDEF, TYPE_TAG}
_FOLLOWED = MODIFIERS | {PTR, TYPEDEF, DECL_TAG}
_MAX_RANK = 10
# After so many links what a chain leads to is noted, for the chains that join it.
_LONG_CHAIN = 8
_U64 = (1 << 64) - 1
# After so many looks for prototypes that lead to what others lead to, all are noted.
_PASSES = 4


class _Sorter:
    """The order of types in a sorted dump (``sort_btf_c()`` of upstream)."""

    def __init__(self, order: Order, names: Names) -> None:
        self.words = order.words
        self.offsets = order.offsets
        self.names = names
        self._ranks: dict[int, int] = {}
        self._names: dict[int, str] = {}

    def rank(self, type_id: int) -> int:
        """Enums first, then numbers, structs, function types; the rest after them."""
        words = self.words
        is_named = False
        for link in range(MAX_CHAIN):
            if not type_id:
                return _MAX_RANK
            if link == _LONG_CHAIN and is_named:
                return self._rank_behind(type_id)
            at = self.offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            is_named = is_named or words[at - 1] != 0
            if kind in ENUMS:
                return 1 if is_named else 0
            if kind in NUMBERS:
                return 2
            if not is_named:
                return _MAX_RANK
            if kind in COMPOSITE:
                return 3
            if kind == FUNC_PROTO:
                return 4
            if kind == ARRAY:
                type_id = words[at + 2]
            elif kind in _FOLLOWED:
                type_id = words[at + 1]
            else:
                return _MAX_RANK
        raise FormatError("the BTF has a chain of types without end")

    def _rank_behind(self, type_id: int) -> int:
        """The rank of what has a name and leads to ``type_id``; noted for all on the way."""
        words = self.words
        chain = []
        rank = _MAX_RANK
        while type_id:
            if type_id in self._ranks:
                rank = self._ranks[type_id]
                break
            chain.append(type_id)
            if len(chain) > MAX_CHAIN:
                raise FormatError("the BTF has a chain of types without end")
            at = self.offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            if kind in _FOLLOWED or kind == ARRAY:
                type_id = words[at + (2 if kind == ARRAY else 1)]
                continue
            if kind in ENUMS:
                rank = 1
            elif kind in NUMBERS:
                rank = 2
            elif kind in COMPOSITE:
                rank = 3
            elif kind == FUNC_PROTO:
                rank = 4
            break
        self._ranks.update(dict.fromkeys(chain, rank))
        return rank

    def _name_behind(self, type_id: int) -> str:
        """As :meth:`sort_name`, noted for all on the way."""
        words = self.words
        chain = []
        name = ""
        while type_id:
            if type_id in self._names:
                name = self._names[type_id]
                break
            chain.append(type_id)
            if len(chain) > MAX_CHAIN:
                raise FormatError("the BTF has a chain of types without end")
            at = self.offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            if kind not in _FOLLOWED and kind != ARRAY:
                offset = words[at - 1]
                name = self.names[offset] if offset else ""
                break
            type_id = words[at + (2 if kind == ARRAY else 1)]
        self._names.update(dict.fromkeys(chain, name))
        return name

    def sort_name(self, type_id: int) -> str:
        """The name that a type is sorted by: of what it leads to, or an enum's first value."""
        words = self.words
        is_first = True
        for link in range(MAX_CHAIN):
            if not type_id:
                return ""
            if link == _LONG_CHAIN:
                return self._name_behind(type_id)
            at = self.offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            if kind in _FOLLOWED:
                type_id = words[at + 1]
            elif kind == ARRAY:
                type_id = words[at + 2]
            else:
                offset = words[at - 1]
                if not offset and is_first and kind in ENUMS and words[at] & 0xFFFFFF:
                    offset = words[at + 2]
                return self.names[offset] if offset else ""
            is_first = False
        raise FormatError("the BTF has a chain of types without end")

    def own_name(self, type_id: int) -> str:
        offset = self.words[self.offsets[type_id] - 1] if type_id else 0
        return self.names[offset] if offset else ""

    def hash(self, type_id: int, with_members: bool, depth: int = 0) -> int:
        """A number that tells types of the same name apart by what they are made of."""
        if not type_id:
            return 0
        if depth > 400:
            raise FormatError("the BTF has a chain of types without end")
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        vlen = info & 0xFFFFFF
        value = _mix_name(0, self.names, words[at - 1])
        if kind in ENUMS:
            step = 2 if kind == ENUM else 3
            for element in range(at + 2, at + 2 + step * vlen, step):
                value = _mix_name(value, self.names, words[element])
        elif kind in COMPOSITE:
            if with_members:
                for element in range(at + 2, at + 2 + 3 * vlen, 3):
                    value = _mix_name(value, self.names, words[element])
                    inner = self.hash(words[element + 1], False, depth + 1)
                    value = (value * 31 + inner) & _U64
        elif kind in _FOLLOWED:
            inner = self.hash(words[at + 1], with_members, depth + 1)
            value = (value * 31 + inner) & _U64
        elif kind == ARRAY:
            value = (value * 31 + words[at + 4]) & _U64
            inner = self.hash(words[at + 2], with_members, depth + 1)
            value = (value * 31 + inner) & _U64
        return value

    def sort(self, ids: Sequence[int]) -> list[int]:
        """``ids``, which all are of one rank, in the order of a sorted dump."""
        words = self.words
        offsets = self.offsets
        names = self.names
        keys: dict[str, list[int]] = {}
        for type_id in ids:
            at = offsets[type_id]
            # No name contains the separator, which sorts before all that names contain.
            if words[at - 1] and words[at] >> 24 & 0x7F in COMPOSITE:
                name = names[words[at - 1]]
                key = f"{name}\0{name}"
            else:
                key = f"{self.sort_name(type_id)}\0{self.own_name(type_id)}"
            if key in keys:
                keys[key].append(type_id)
            else:
                keys[key] = [type_id]
        found: list[int] = []
        is_ascii = all(map(str.isascii, keys))
        for key in sorted(keys) if is_ascii else sorted(keys, key=_bytes):
            same = keys[key]
            if len(same) > 1:
                same.sort(key=lambda type_id: (self.hash(type_id, True), type_id))
            found += same
        return found

    def ranked(self, kinds: Kinds) -> dict[int, list[int]]:
        """Types by rank, but for those of the last one and declaration tags."""
        words = self.words
        offsets = self.offsets
        ranks: dict[int, list[int]] = {3: kinds.structs()}
        for type_id in kinds.of(_RANKED):
            at = offsets[type_id]
            if words[at - 1] or words[at] >> 24 & 0x7F != ARRAY:
                ranks.setdefault(self.rank(type_id), []).append(type_id)
        ranks.pop(_MAX_RANK, None)
        return ranks


def _bytes(text: str) -> bytes:
    # Escaped bytes do not sort among characters as the bytes do.
    return text.encode("utf-8", "surrogateescape")


def _mix_name(value: int, names: Names, offset: int) -> int:
    if not offset:
        return value
    name_hash = 0
    for byte in names[offset].encode("utf-8", "surrogateescape"):
        # char is signed where upstream was built.
        name_hash = name_hash * 31 + (byte if byte < 128 else byte - 256)
    return (value * 31 + name_hash) & _U64


def _sorted_ids(order: Order, kinds: Kinds, names: Names) -> Iterator[int]:
    """Ids in sorted order, of types whose visit may write something."""
    words = order.words
    offsets = order.offsets
    sorter = _Sorter(order, names)
    for _, ids in sorted(sorter.ranked(kinds).items()):
        yield from sorter.sort(ids)
    # The others matter only as far as they are the first to reach a definition that
    # the above has left: forward declarations, typedefs of void and the like.
    visited = order.visited
    left = {
        type_id
        for type_id in kinds.of(DEFINING)
        if visited[type_id] != DONE and words[offsets[type_id] - 1]
    }
    if left:
        late = _reaching(order, kinds, left)
        yield from sorter.sort(late)
    for type_id in kinds.of(COMPOSITE):
        # Structs that contain themselves are an error, anonymous ones too.
        if visited[type_id] != DONE:
            yield type_id


def _reaching(order: Order, kinds: Kinds, left: set[int]) -> list[int]:
    """The types that a visit would lead to some of ``left`` from, themselves included."""
    visited = order.visited
    words = order.words
    offsets = order.offsets
    prototypes = kinds.by_kind[FUNC_PROTO]
    others = [type_id for type_id in kinds.of(VISITED - {FUNC_PROTO}) if visited[type_id] != DONE]
    referrers: dict[int, list[int]] = {}
    _refer(order, others, referrers)
    found = set(left)
    _spread(found, left, referrers)
    # There are more prototypes than all others, and few of them lead anywhere as a rule.
    columns = [(prototypes, [words[offsets[type_id] + 1] for type_id in prototypes])]
    columns += kinds.parameters()
    for _ in range(_PASSES):
        hits = {
            type_id
            for ids, types in columns
            if not found.isdisjoint(types)
            for type_id in compress(ids, map(found.__contains__, types))
            if visited[type_id] != DONE
        }
        if hits <= found:
            break
        _spread(found, hits - found, referrers)
    else:
        _refer(order, [type_id for type_id in prototypes if visited[type_id] != DONE], referrers)
        _spread(found, found, referrers)
    return sorted(found)


def _refer(order: Order, ids: Sequence[int], referrers: dict[int, list[int]]) -> None:
    """Note which of ``ids`` refer to what has not been visited."""
    visited = order.visited
    words = order.words
    offsets = order.offsets
    for type_id in ids:
        at = offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if kind in _FOLLOWED:
            if visited[words[at + 1]] == DONE:
                continue
            targets = [words[at + 1]]
        elif kind == FUNC_PROTO:
            targets = words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist()
            targets.append(words[at + 1])
        elif kind in COMPOSITE:
            targets = words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist()
        elif kind == ARRAY:
            targets = [words[at + 2]]
        else:
            continue
        for target in targets:
            if visited[target] != DONE:
                if target in referrers:
                    referrers[target].append(type_id)
                else:
                    referrers[target] = [type_id]


def _spread(found: set[int], new: Iterable[int], referrers: dict[int, list[int]]) -> None:
    """Add to ``found`` what is ``new`` and what refers to it, however far away."""
    pending = list(new)
    found.update(pending)
    while pending:
        for referrer in referrers.get(pending.pop(), ()):
            if referrer not in found:
                found.add(referrer)
                pending.append(referrer)


def steps(order: Order, kinds: Kinds, sort_by: Names | None) -> Iterator[list[int]]:
    """The steps of a dump of all types, in lists.

    :param sort_by: the names to sort by; None for the order of ids.
    """
    ids = kinds.visited() if sort_by is None else _sorted_ids(order, kinds, sort_by)
    add = order.add
    visited = order.visited
    try:
        for type_id in ids:
            if visited[type_id] != DONE:
                add(type_id)
                if len(order.steps) > 256:
                    yield order.steps
                    order.steps = []
    except (FormatError, IndexError, RecursionError):
        # What comes before a type that cannot be defined is shown all the same.
        yield order.steps
        raise
    yield order.steps
