"""In which order a C dump defines types: the steps of libbpf's ``btf_dump.c``.

The output equals upstream's, so that the order is given: types are visited in id or
sorted order, each puts what it needs before it into a queue (:meth:`Order.visit`),
and the queue is worked off with forward declarations where a pointer needs one
(:meth:`Order.emit`). What comes out are steps, numbers that the texts
of :mod:`text` turn into text: a type's id shifted left by one, with the lowest bit set where only
a forward declaration is wanted.

The visits are remembered: once nothing that a type leads to can change any more,
it is marked and not entered again.
"""

from __future__ import annotations

from _bisect import bisect_left  # without the Python of bisect
from itertools import compress, islice

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
    KIND_MAX,
    LOC_PARAM,
    LOC_PROTO,
    LOCSEC,
    MODIFIERS,
    NUMBERS,
    PTR,
    REFERRING,
    TYPEDEF,
    VAR,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


# Kinds whose visit does nothing at all, and the others.
_IDLE = frozenset((FUNC, VAR, DATASEC, DECL_TAG, LOC_PARAM, LOC_PROTO, LOCSEC))
VISITED = frozenset(range(1, KIND_MAX + 1)) - _IDLE
# Kinds of which a visit may queue a definition.
DEFINING = COMPOSITE | ENUMS | {FWD, TYPEDEF}
# Kinds of which the word after the info word is a type's id, but for functions.
_REFERRING = REFERRING - {FUNC, FUNC_PROTO, FWD}
_PTR_INFO = PTR << 24

# States of a visit.
_NOT, _NOW, DONE = 0, 1, 2
# States of what has been emitted. Settled is what needs nothing more inside other
# definitions, though its own may be still to come.
_SETTLED, _EMITTED = 2, 3

MAX_CHAIN = 1 << 14
# Structs without a name that one definition leads to; each may be met again and again.
_MAX_NAMELESS = 1 << 17


class Kinds:
    """The ids of types by kind, in the order of ids.

    :param by_kind: the list for each kind; functions, of which there are most, have none.
    """

    __slots__ = ("_parameters", "by_kind", "offsets", "words")

    def __init__(self, words: memoryview, offsets: Sequence[int], by_kind: list[list[int]]) -> None:
        self.words = words
        self.offsets = offsets
        self.by_kind = by_kind
        self._parameters: list[tuple[list[int], list[int]]] | None = None

    @classmethod
    def of_types(cls, words: memoryview, offsets: Sequence[int], infos: Iterable[int]) -> Kinds:
        """Of the types whose info words stand at ``offsets`` in ``words``; the first is void.

        ``infos`` has all different info words of those types.
        """
        by_kind: list[list[int]] = [[] for _ in range(KIND_MAX + 1)]
        busy = {info: info >> 24 & 0x7F != FUNC for info in infos}
        own = islice(offsets, 1, None)
        chosen = map(busy.__getitem__, map(words.__getitem__, own))
        for type_id in compress(range(1, len(offsets)), chosen):
            by_kind[words[offsets[type_id]] >> 24 & 0x7F].append(type_id)
        return cls(words, offsets, by_kind)

    def kind(self, type_id: int) -> int:
        return self.words[self.offsets[type_id]] >> 24 & 0x7F if type_id else 0

    def of(self, kinds: Iterable[int]) -> list[int]:
        """Types of these kinds; functions are not to be asked for."""
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

    def parameters(self) -> list[tuple[list[int], list[int]]]:
        """Prototypes beside the types of one parameter each, for every place of one."""
        if self._parameters is None:
            words, offsets = self.words, self.offsets
            by_length: dict[int, tuple[list[int], list[int]]] = {}
            for type_id in self.by_kind[FUNC_PROTO]:
                at = offsets[type_id]
                length = words[at] & 0xFFFFFF
                if length in by_length:
                    ids, places = by_length[length]
                    ids.append(type_id)
                    places.append(at)
                else:
                    by_length[length] = ([type_id], [at])
            self._parameters = [
                (ids, [words[at + place] for at in places])
                for length, (ids, places) in by_length.items()
                for place in range(3, 3 + 2 * length, 2)
            ]
        return self._parameters

    def visited(self) -> list[int]:
        """Types whose visit, in the order of ids, does anything or may fail."""
        found = self.of(VISITED - {FUNC_PROTO})
        # When all is defined that can be, the visit of a prototype comes too late.
        last = max(
            [ids[-1] for kind in DEFINING for ids in (self.by_kind[kind],) if ids], default=0
        )
        prototypes = self.by_kind[FUNC_PROTO]
        found += prototypes[: bisect_left(prototypes, last)]
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
            # What functions return does not count, as upstream has it.
            for _, types in self.parameters():
                remove(types)
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
        self.visited[0] = DONE
        self.emitted[0] = _EMITTED
        self._left = _MAX_NAMELESS
        self.queue: list[int] = []
        self.steps: list[int] = []
        self._unreferenced: set[int] | None = None

    def add(self, type_id: int) -> None:
        """Add the steps of a type's definition after those of all that it needs."""
        if self.visited[type_id] == DONE:
            return
        if self._is_struct_pointer(type_id):
            self.visited[type_id] = DONE
            return
        self.visit(type_id, False)
        if self.queue:
            queue = self.queue
            self.queue = []
            self._left = _MAX_NAMELESS
            for queued in queue:
                self.emit(queued, 0)

    def _is_struct_pointer(self, type_id: int) -> bool:
        """Whether a type is the pointer to a struct with a name, as most are that nothing has."""
        words = self.words
        at = self.offsets[type_id]
        if words[at] != _PTR_INFO:
            return False
        target = words[at + 1]
        at = self.offsets[target]
        return bool(target and words[at - 1] and words[at] >> 24 & 0x7F in COMPOSITE)

    # What a type depends on

    def visit(self, type_id: int, through_pointer: bool, may_be_alone: bool = True) -> bool:
        """Queue what has to be defined before a type, and the type itself.

        ``may_be_alone``: whether it is possible that nothing refers to the type.
        Returns whether a declaration that gets here must see the whole definition;
        a pointer to a named struct can do with less.
        """
        visited = self.visited
        state = visited[type_id]
        if state == DONE:
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
            visited[type_id] = DONE
            return is_strong
        if kind in COMPOSITE:
            is_named = words[at - 1] != 0
            if through_pointer and is_named:
                return False
            visited[type_id] = _NOW
            offsets = self.offsets
            for member in words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist():
                if visited[member] == DONE:
                    continue
                member_at = offsets[member]
                if words[member_at] == _PTR_INFO:
                    # The most frequent case, of a pointer to a named struct.
                    target = words[member_at + 1]
                    target_at = offsets[target]
                    if visited[target] == DONE or (
                        words[target_at - 1]
                        and target
                        and words[target_at] >> 24 & 0x7F in COMPOSITE
                    ):
                        visited[member] = DONE
                        continue
                self.visit(member, False, False)
            if is_named:
                self.queue.append(type_id)
            visited[type_id] = DONE
            return True
        if kind in MODIFIERS:
            target = words[at + 1]
            is_strong = self.visit(target, through_pointer, False)
            if visited[target] == DONE:
                visited[type_id] = DONE
            return is_strong
        if kind == TYPEDEF:
            is_strong = self.visit(words[at + 1], through_pointer, False)
            if through_pointer and not is_strong:
                return False
            self.queue.append(type_id)
            visited[type_id] = DONE
            return True
        if kind == ARRAY:
            target = words[at + 2]
            is_strong = self.visit(target, False, False)
            if visited[target] == DONE:
                visited[type_id] = DONE
            return is_strong
        if kind == FUNC_PROTO:
            is_strong = self.visit(words[at + 1], through_pointer)
            is_done = visited[words[at + 1]] == DONE
            for param in words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist():
                if self.visit(param, through_pointer, False):
                    is_strong = True
                if visited[param] != DONE:
                    is_done = False
            if is_done:
                visited[type_id] = DONE
            return is_strong
        visited[type_id] = DONE
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
        elif kind in NUMBERS:
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
