"""Moving split BTF from the distilled base in its file onto the kernel's BTF.

A module built apart from its kernel carries in ``.BTF.base`` just the types of the
base that it refers to: named ones, without members. :func:`relocate` finds them by
name and size in the real base (``btf_relocate.c`` of libbpf).
"""

from __future__ import annotations

from pybpftool.btf.encode import encode, map_references
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    ENUM,
    ENUM64,
    ENUMS,
    FLOAT,
    FWD,
    INT,
    MODIFIERS,
    NUMBERS,
    STRUCT,
    TYPEDEF,
    UNION,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DISTILLED = frozenset((INT, FLOAT, ENUM, STRUCT, UNION, FWD))
_SIZED = NUMBERS | ENUMS
_CHAIN = 1 << 14


class _Distilled:
    """A type of the distilled base and what it was found to be."""

    __slots__ = ("encoding", "flag", "id", "is_embedded", "kind", "name", "name_off", "size", "to")

    def __init__(self, btf: Btf, type_id: int) -> None:
        words, at = btf.at(type_id)
        self.id = type_id
        self.kind = words[at] >> 24 & 0x7F
        self.flag = words[at] >> 31
        self.size = words[at + 1]
        self.name_off = words[at - 1]
        self.name = btf.name(type_id)
        self.encoding = btf.int_info(type_id)[0] if self.kind == INT else 0
        self.is_embedded = False
        self.to = 0
        if self.kind not in _DISTILLED or not self.name_off:
            raise FormatError(f"type [{type_id}] has no place in a distilled base")


def relocate(btf: Btf, distilled: Btf, base: Btf) -> Btf:
    """``btf``, split BTF on ``distilled``, as split BTF on ``base``.

    Raises :class:`FormatError` when a type of the distilled base has no counterpart
    in ``base``, or several.
    """
    count = distilled.count
    types = [_Distilled(distilled, type_id) for type_id in range(1, count)]
    _mark_embedded(btf, types)
    base_names = _match(types, base)
    shift = base.count - count

    def new_id(type_id: int) -> int:
        if not type_id:
            return 0
        return types[type_id - 1].to if type_id < count else type_id + shift

    names = {entry.name_off: base_names[entry.to] for entry in types}
    string_shift = base.string_end - distilled.string_end

    def new_name(offset: int) -> int:
        if not offset:
            return 0
        if offset >= distilled.string_end:
            return offset + string_shift
        if offset not in names:
            raise FormatError(f"the name at {offset} of the distilled base belongs to no type")
        return names[offset]

    total = btf.count
    moved = map_references(btf, new_id, new_name, total)
    return Btf.from_bytes(encode(moved, btf.names.raw), base)


def _mark_embedded(btf: Btf, types: Sequence[_Distilled]) -> None:
    """Find the structs whose size matters because others have them as parts."""
    for type_id in range(btf.start_id, btf.count):
        if btf.kind(type_id) not in COMPOSITE:
            continue
        for member in btf.members(type_id):
            part = member.type_id
            for _ in range(_CHAIN):
                words, at = btf.at(part)
                kind = words[at] >> 24 & 0x7F
                if kind == ARRAY:
                    part = words[at + 2]
                elif kind in MODIFIERS or kind == TYPEDEF:
                    part = words[at + 1]
                else:
                    break
            if kind in COMPOSITE and part < btf.start_id:
                types[part - 1].is_embedded = True


def _match(types: Sequence[_Distilled], base: Btf) -> dict[int, int]:
    """Find each distilled type in the base; returns the name offsets of those found."""
    by_name: dict[str, list[_Distilled]] = {}
    for entry in types:
        by_name.setdefault(entry.name, []).append(entry)
    found: list[tuple[int, int, int, str]] = []
    composites: dict[int, int] = {}
    for type_id in range(1, base.count):
        words, at = base.at(type_id)
        name_off = words[at - 1]
        if not name_off:
            continue
        kind = words[at] >> 24 & 0x7F
        if kind in COMPOSITE:
            composites[name_off] = composites.get(name_off, 0) + 1
        elif kind not in _SIZED and kind != FWD:
            continue
        name = base.names[name_off]
        if name in by_name:
            found.append((type_id, kind, name_off, name))
    name_offsets: dict[int, int] = {}
    for type_id, kind, name_off, name in found:
        words, at = base.at(type_id)
        size = words[at + 1]
        # Structs are told apart by size only where the name alone does not do.
        by_size = kind in _SIZED or (kind in COMPOSITE and composites[name_off] > 1)
        encoding = base.int_info(type_id)[0] if kind == INT else 0
        for entry in by_name[name]:
            if by_size and entry.size != size:
                continue
            if not _fits(entry, kind, words[at] >> 31, size, encoding):
                continue
            if entry.to:
                raise FormatError(
                    f"type '{name}' of the distilled base could be [{entry.to}] or [{type_id}]"
                )
            entry.to = type_id
            name_offsets[type_id] = name_off
    for entry in types:
        if not entry.to:
            raise FormatError(f"the base BTF has no type '{entry.name}' as the file needs it")
    return name_offsets


def _fits(entry: _Distilled, kind: int, flag: int, size: int, encoding: int) -> bool:
    """Whether a base type can be what a distilled one stands for."""
    if entry.kind == FWD:
        if kind == FWD:
            return entry.flag == flag
        return (kind == STRUCT and not flag) or (kind == UNION and bool(flag))
    if entry.kind == INT:
        return kind == INT and encoding == entry.encoding
    if entry.kind == FLOAT:
        return kind == FLOAT
    if entry.kind == ENUM:
        return kind in (ENUM, ENUM64)
    return not entry.is_embedded or size == entry.size
