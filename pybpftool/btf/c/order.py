"""In which order a C dump defines types: the steps of libbpf's ``btf_dump.c``.

The output equals upstream's, so that the order is given: types are visited in id or
sorted order, each puts what it needs before it into a queue (:meth:`Order.visit`),
and the queue is worked off with forward declarations where a pointer needs one
(:meth:`Order.emit`). What comes out are steps, numbers that :class:`ctext.Texts`
turns into text: a type's id shifted left by one, with the lowest bit set where only
a forward declaration is wanted.

The visits are remembered: once nothing that a type leads to can change any more,
it is marked and not entered again.
"""

from __future__ import annotations

from itertools import compress

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    ENUMS,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    KIND_MAX,
    MODIFIERS,
    NUMBERS,
    PTR,
    REFERRING,
    TYPE_TAG,
    TYPEDEF,
    VAR,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pybpftool.btf.names import Names

# Kinds whose visit does nothing at all.
_IDLE = frozenset((FUNC, VAR, DATASEC, DECL_TAG))
# Kinds that a sorted dump may rank before the last; others lead to nothing, or have no name.
_RANKED = NUMBERS | COMPOSITE | ENUMS | {ARRAY, TYPEDEF, TYPE_TAG}
_VISITED = frozenset(range(1, KIND_MAX + 1)) - _IDLE
_FREQUENT = frozenset((FUNC, FUNC_PROTO))
# Kinds of which a visit may queue a definition.
_DEFINING = COMPOSITE | ENUMS | {FWD, TYPEDEF}
# Kinds of which the word after the info word is a type's id, but for functions.
_REFERRING = REFERRING - {FUNC, FUNC_PROTO, FWD}
_UNREFERRING = NUMBERS | ENUMS | {FWD}
_FOLLOWED = MODIFIERS | {PTR, TYPEDEF, DECL_TAG}
_MAX_RANK = 10
_PTR_INFO = PTR << 24
_KIND_MASK = 0x7F000000
_PROTO_KIND = FUNC_PROTO << 24

# States of a visit.
_NOT, _NOW, _DONE = 0, 1, 2
# States of what has been emitted. Settled is what needs nothing more inside other
# definitions, though its own may be still to come.
_SETTLED, _EMITTED = 2, 3

_MAX_CHAIN = 1 << 14
# Structs without a name that one definition leads to; each may be met again and again.
_MAX_NAMELESS = 1 << 19
_U64 = (1 << 64) - 1


class Kinds:
    """The ids of types by kind, in the order of ids.

    :param by_kind: the list for each kind; functions and their prototypes have none.
    """

    __slots__ = ("_prototypes", "by_kind", "offsets", "words")

    def __init__(self, words: memoryview, offsets: Sequence[int], by_kind: list[list[int]]) -> None:
        self.words = words
        self.offsets = offsets
        self.by_kind = by_kind
        self._prototypes: list[int] | None = None

    @classmethod
    def of_types(cls, words: memoryview, offsets: Sequence[int], infos: Iterable[int]) -> Kinds:
        """Of the types whose info words stand at ``offsets`` in ``words``; the first is void.

        ``infos`` has all different info words of those types.
        """
        by_kind: list[list[int]] = [[] for _ in range(KIND_MAX + 1)]
        # What a program has most of is asked for least.
        busy = {info: info >> 24 & 0x7F not in _FREQUENT for info in infos}
        busy.setdefault(words[0] if len(words) else 0, False)
        chosen = map(busy.__getitem__, map(words.__getitem__, offsets))
        next(chosen, None)  # void
        for type_id in compress(range(1, len(offsets)), chosen):
            by_kind[words[offsets[type_id]] >> 24 & 0x7F].append(type_id)
        return cls(words, offsets, by_kind)

    def kind(self, type_id: int) -> int:
        return self.words[self.offsets[type_id]] >> 24 & 0x7F if type_id else 0

    def of(self, kinds: Iterable[int]) -> list[int]:
        """Types of these kinds; functions and their prototypes are not to be asked for."""
        found: list[int] = []
        for kind in kinds:
            found += self.by_kind[kind]
        found.sort()
        return found

    def structs(self) -> list[int]:
        """All structs and unions with names."""
        words, offsets = self.words, self.offsets
        return [type_id for type_id in self.of(COMPOSITE) if words[offsets[type_id] - 1]]

    def tags(self) -> list[int]:
        """All declaration tags."""
        return self.by_kind[DECL_TAG]

    def prototypes(self) -> list[int]:
        """All function prototypes; looked for when they are first asked for."""
        if self._prototypes is None:
            words = self.words
            self._prototypes = [
                type_id
                for type_id, at in enumerate(self.offsets)
                if words[at] & _KIND_MASK == _PROTO_KIND and type_id
            ]
        return self._prototypes

    def visited(self, known: bytearray) -> list[int]:
        """Types whose visit does anything, but for those that are ``known`` as visited."""
        found = [type_id for type_id in self.prototypes() if known[type_id] != _DONE]
        for kind in _VISITED - _FREQUENT:
            found += [type_id for type_id in self.by_kind[kind] if known[type_id] != _DONE]
        found.sort()
        return found

    def unreferenced_enums(self) -> set[int]:
        """Enums without a name that no type refers to."""
        words = self.words
        offsets = self.offsets
        enums = self.of(ENUMS)
        left = {type_id for type_id in enums if not words[offsets[type_id] - 1]}
        remove = left.difference_update
        # Functions refer to prototypes only.
        for kind in _REFERRING:
            remove([words[offsets[type_id] + 1] for type_id in self.by_kind[kind]])
        arrays = [offsets[type_id] for type_id in self.by_kind[ARRAY]]
        remove([words[at + 2] for at in arrays])
        remove([words[at + 3] for at in arrays])
        for kind in (*COMPOSITE, DATASEC):
            first = 2 if kind == DATASEC else 3
            for type_id in self.by_kind[kind]:
                at = offsets[type_id]
                remove(words[at + first : at + 2 + 3 * (words[at] & 0xFFFFFF) : 3].tolist())
        if left:
            by_length: dict[int, list[int]] = {}
            for type_id in self.prototypes():
                at = offsets[type_id]
                length = words[at] & 0xFFFFFF
                if length in by_length:
                    by_length[length].append(at)
                else:
                    by_length[length] = [at]
            # What functions return does not count, as upstream has it.
            for length, group in by_length.items():
                for param in range(3, 3 + 2 * length, 2):
                    remove([words[at + param] for at in group])
        return left


class Order:
    """Works out the steps of a dump; ``steps`` collects them.

    :param words: a type section, as native 32-bit words.
    :param offsets: where each type's info word is, by type id.
    :param kinds: gives the kinds of all types, of which ``offsets`` may have but the first.
    """

    def __init__(
        self,
        words: memoryview,
        offsets: Sequence[int],
        kinds: Callable[[], Kinds],
    ) -> None:
        self.words = words
        self.offsets = offsets
        self._kinds = kinds
        count = len(offsets)
        self.visited = bytearray(count)
        self.emitted = bytearray(count)
        self.forward = bytearray(count)
        self.visited[0] = _DONE
        self.emitted[0] = _EMITTED
        self._left = _MAX_NAMELESS
        self.queue: list[int] = []
        self.steps: list[int] = []
        self._unreferenced: set[int] | None = None

    def add(self, type_id: int) -> None:
        """Add the steps of a type's definition after those of all that it needs."""
        if self.visited[type_id] == _DONE:
            return
        self.visit(type_id, False)
        if self.queue:
            queue = self.queue
            self.queue = []
            self._left = _MAX_NAMELESS
            for queued in queue:
                self.emit(queued, 0)

    # What a type depends on

    def visit(self, type_id: int, through_pointer: bool, may_be_alone: bool = True) -> bool:
        """Queue what has to be defined before a type, and the type itself.

        ``may_be_alone``: whether it is possible that nothing refers to the type.
        Returns whether a declaration that gets here must see the whole definition;
        a pointer to a named struct can do with less.
        """
        visited = self.visited
        state = visited[type_id]
        if state == _DONE:
            return True
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if state == _NOW:
            if through_pointer and words[at - 1] and kind in COMPOSITE:
                return False
            raise FormatError(f"type [{type_id}] contains itself, which C cannot express")
        if kind == PTR:
            is_strong = self.visit(words[at + 1], True, False)
            visited[type_id] = _DONE
            return is_strong
        if kind in COMPOSITE:
            is_named = words[at - 1] != 0
            if through_pointer and is_named:
                return False
            visited[type_id] = _NOW
            offsets = self.offsets
            for member in words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist():
                if visited[member] == _DONE:
                    continue
                member_at = offsets[member]
                if words[member_at] == _PTR_INFO:
                    # The most frequent case, of a pointer to a named struct.
                    target = words[member_at + 1]
                    target_at = offsets[target]
                    if visited[target] == _DONE or (
                        words[target_at - 1]
                        and target
                        and words[target_at] >> 24 & 0x7F in COMPOSITE
                    ):
                        visited[member] = _DONE
                        continue
                self.visit(member, False, False)
            if is_named:
                self.queue.append(type_id)
            visited[type_id] = _DONE
            return True
        if kind in MODIFIERS:
            target = words[at + 1]
            is_strong = self.visit(target, through_pointer, False)
            if visited[target] == _DONE:
                visited[type_id] = _DONE
            return is_strong
        if kind == TYPEDEF:
            is_strong = self.visit(words[at + 1], through_pointer, False)
            if through_pointer and not is_strong:
                return False
            self.queue.append(type_id)
            visited[type_id] = _DONE
            return True
        if kind == ARRAY:
            target = words[at + 2]
            is_strong = self.visit(target, False, False)
            if visited[target] == _DONE:
                visited[type_id] = _DONE
            return is_strong
        if kind == FUNC_PROTO:
            is_strong = self.visit(words[at + 1], through_pointer)
            is_done = visited[words[at + 1]] == _DONE
            for param in words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist():
                if self.visit(param, through_pointer, False):
                    is_strong = True
                if visited[param] != _DONE:
                    is_done = False
            if is_done:
                visited[type_id] = _DONE
            return is_strong
        visited[type_id] = _DONE
        if kind in NUMBERS:
            return False
        if kind in (ENUM, ENUM64, FWD):
            # An enum without a name stands on its own only if nothing has its type.
            if words[at - 1] or (may_be_alone and type_id in self.unreferenced):
                self.queue.append(type_id)
            return True
        return False

    @property
    def unreferenced(self) -> set[int]:
        """Enums without a name that no type refers to."""
        if self._unreferenced is None:
            self._unreferenced = self._kinds().unreferenced_enums()
        return self._unreferenced

    # Definitions in the order found

    def emit(self, type_id: int, container: int) -> None:
        """Add the steps of a definition (``container`` 0) or of what a member needs."""
        emitted = self.emitted
        state = emitted[type_id]
        if state == _EMITTED or (container and state == _SETTLED):
            return
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if state == _NOW:
            self._emit_again(type_id, container, kind)
        elif kind == PTR or kind in MODIFIERS:
            target = words[at + 1]
            self.emit(target, container)
            if emitted[target] >= _SETTLED:
                emitted[type_id] = _SETTLED
        elif kind in COMPOSITE:
            self._emit_struct(type_id, at, info, container)
        elif kind == TYPEDEF:
            emitted[type_id] = _NOW
            self.emit(words[at + 1], type_id)
            if not self.forward[type_id]:
                self.steps.append(type_id << 1)
            emitted[type_id] = _EMITTED
        elif kind == ARRAY:
            target = words[at + 2]
            self.emit(target, container)
            if emitted[target] >= _SETTLED:
                emitted[type_id] = _SETTLED
        elif kind == INT:
            # Few of them need a definition, which their names decide.
            self.steps.append(type_id << 1)
            emitted[type_id] = _EMITTED
        elif kind in ENUMS:
            if not container:
                self.steps.append(type_id << 1)
            emitted[type_id] = _EMITTED
        elif kind == FWD:
            self.steps.append(type_id << 1)
            emitted[type_id] = _EMITTED
        elif kind == FUNC_PROTO:
            parts = [words[at + 1]]
            parts += words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist()
            if self._emit_parts(parts, container):
                emitted[type_id] = _SETTLED
        else:
            emitted[type_id] = _SETTLED

    def _emit_parts(self, parts: list[int], container: int) -> bool:
        """What a definition's members need; whether none will ever need more."""
        emitted = self.emitted
        words = self.words
        offsets = self.offsets
        is_settled = True
        for part in parts:
            if emitted[part] >= _SETTLED:
                continue
            at = offsets[part]
            if words[at] == _PTR_INFO:
                # Mostly a pointer to a struct that is not there yet.
                target = words[at + 1]
                at = offsets[target]
                if (
                    not emitted[target]
                    and target != container
                    and words[at - 1]
                    and words[at] >> 24 & 0x7F in COMPOSITE
                ):
                    self.steps.append(target << 1 | 1)
                    self.forward[target] = 1
                    emitted[target] = emitted[part] = _SETTLED
                    continue
            self.emit(part, container)
            if emitted[part] < _SETTLED:
                is_settled = False
        return is_settled

    def _emit_struct(self, type_id: int, at: int, info: int, container: int) -> None:
        emitted = self.emitted
        words = self.words
        if not words[at - 1]:
            self._left -= 1
            if self._left < 0:
                raise FormatError("the BTF's types nest to a definition of endless length")
            members = words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist()
            emitted[type_id] = _NOW
            is_settled = self._emit_parts(members, container)
            if container:
                emitted[type_id] = _SETTLED if is_settled else _NOT
                return
        elif container:
            if not self.forward[type_id] and type_id != container:
                self._emit_forward(type_id)
                emitted[type_id] = _SETTLED
            return
        else:
            members = words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist()
            emitted[type_id] = _NOW
            self._emit_parts(members, type_id)
        self.steps.append(type_id << 1)
        emitted[type_id] = _EMITTED

    def _emit_forward(self, type_id: int) -> None:
        self.steps.append(type_id << 1 | 1)
        self.forward[type_id] = 1

    def _emit_again(self, type_id: int, container: int, kind: int) -> None:
        """Meet a type whose definition is under way."""
        if self.forward[type_id]:
            return
        if kind in COMPOSITE:
            if type_id != container and self.words[self.offsets[type_id] - 1]:
                self._emit_forward(type_id)
        elif kind == TYPEDEF:
            self.steps.append(type_id << 1)
            self.forward[type_id] = 1


class _Sorter:
    """The order of types in a sorted dump (``sort_btf_c()`` of upstream)."""

    def __init__(self, order: Order, names: Names) -> None:
        self.words = order.words
        self.offsets = order.offsets
        self.names = names

    def rank(self, type_id: int) -> int:
        """Enums first, then numbers, structs, function types; the rest after them."""
        words = self.words
        is_named = False
        for _ in range(_MAX_CHAIN):
            if not type_id:
                return _MAX_RANK
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

    def sort_name(self, type_id: int) -> str:
        """The name that a type is sorted by: of what it leads to, or an enum's first value."""
        words = self.words
        is_first = True
        for _ in range(_MAX_CHAIN):
            if not type_id:
                return ""
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

    def sort(self, ids: Sequence[int], rank: int | None = None) -> list[int]:
        """``ids`` in the order of a sorted dump; all of one ``rank`` if that is given."""
        ranks: dict[int, dict[str, list[int]]] = {}
        words = self.words
        offsets = self.offsets
        names = self.names
        structs = ranks.setdefault(3, {})
        for type_id in ids:
            at = offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            offset = words[at - 1]
            # No name contains the separator, which sorts before all that names contain.
            if rank is None and offset and kind in COMPOSITE:
                keys = structs
                name = names[offset]
                key = f"{name}\0{name}"
            else:
                keys = ranks.setdefault(self.rank(type_id) if rank is None else rank, {})
                key = f"{self.sort_name(type_id)}\0{self.own_name(type_id)}"
            if key in keys:
                keys[key].append(type_id)
            else:
                keys[key] = [type_id]
        found: list[int] = []
        for _, keys in sorted(ranks.items()):
            is_ascii = all(map(str.isascii, keys))
            for key in sorted(keys) if is_ascii else sorted(keys, key=_bytes):
                same = keys[key]
                if len(same) > 1:
                    same.sort(key=lambda type_id: (self.hash(type_id, True), type_id))
                found += same
        return found

    def ranked(self, kinds: Kinds) -> list[int]:
        """Types that sort before those of the last rank, but for declaration tags."""
        words = self.words
        offsets = self.offsets
        found = []
        for type_id in kinds.of(_RANKED):
            at = offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            is_struct = kind in COMPOSITE
            if not words[at - 1] and (is_struct or kind == ARRAY):
                continue
            if is_struct or self.rank(type_id) != _MAX_RANK:
                found.append(type_id)
        return found


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
    """Ids in sorted order, of types whose visit may write something.

    Upstream's loop leaves out whatever sorts first of all types, void included.
    """
    words = order.words
    offsets = order.offsets
    sorter = _Sorter(order, names)
    first = sorter.sort(sorter.ranked(kinds))
    if first:
        # Only a tag could come before all of them.
        skipped = sorter.sort([first[0], *kinds.tags()])[0]
    else:
        skipped = sorter.sort(range(len(offsets)))[0]
    for type_id in first:
        if type_id != skipped:
            yield type_id
    # The others matter only as far as they are the first to reach a definition that
    # the above has left: forward declarations, typedefs of void and the like.
    visited = order.visited
    left = {
        type_id
        for type_id in kinds.of(_DEFINING)
        if visited[type_id] != _DONE and words[offsets[type_id] - 1]
    }
    if kinds.kind(skipped) in ENUMS and visited[skipped] != _DONE:
        left.add(skipped)
    if left:
        late = _reaching(order, kinds.visited(visited), left)
        for type_id in sorter.sort(late, _MAX_RANK):
            if type_id != skipped:
                yield type_id
    for type_id in kinds.of(COMPOSITE):
        # Structs that contain themselves are an error, anonymous ones too.
        if visited[type_id] != _DONE and type_id != skipped:
            yield type_id


def _reaching(order: Order, ids: Sequence[int], left: set[int]) -> list[int]:
    """Those of ``ids`` that a visit would lead to some of ``left`` from, themselves included."""
    visited = order.visited
    words = order.words
    offsets = order.offsets
    referrers: dict[int, list[int]] = {}
    for type_id in ids:
        at = offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if kind == FUNC_PROTO:
            targets = words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist()
            targets.append(words[at + 1])
        elif kind in COMPOSITE:
            targets = words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist()
        elif kind == ARRAY:
            targets = [words[at + 2]]
        elif kind in _UNREFERRING:
            continue
        else:
            targets = [words[at + 1]]
        for target in targets:
            if visited[target] != _DONE:
                if target in referrers:
                    referrers[target].append(type_id)
                else:
                    referrers[target] = [type_id]
    found = set(left)
    pending = list(left)
    while pending:
        for referrer in referrers.get(pending.pop(), ()):
            if referrer not in found:
                found.add(referrer)
                pending.append(referrer)
    return [type_id for type_id in ids if type_id in found]


def steps(order: Order, kinds: Kinds, sort_by: Names | None) -> Iterator[list[int]]:
    """The steps of a dump of all types, in lists.

    :param sort_by: the names to sort by; None for the order of ids.
    """
    ids = kinds.visited(order.visited) if sort_by is None else _sorted_ids(order, kinds, sort_by)
    add = order.add
    visited = order.visited
    try:
        for type_id in ids:
            if visited[type_id] != _DONE:
                add(type_id)
                if len(order.steps) > 256:
                    yield order.steps
                    order.steps = []
    except (FormatError, IndexError, RecursionError):
        # What comes before a type that cannot be defined is shown all the same.
        yield order.steps
        raise
    yield order.steps
