"""Writing BTF: types as words, with their references renumbered."""

from __future__ import annotations

import struct
from array import array

from pybpftool.btf import parser
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.btf.parser import Btf

# By kind: words per element, where in an element a name and a type id are.
ELEMENTS: dict[int, tuple[int, int | None, int | None]] = {
    parser.STRUCT: (3, 0, 1),
    parser.UNION: (3, 0, 1),
    parser.ENUM: (2, 0, None),
    parser.ENUM64: (3, 0, None),
    parser.FUNC_PROTO: (2, 0, 1),
    parser.DATASEC: (3, None, 0),
}
# Kinds whose third word is a type id.
REFERRING = frozenset(
    (
        parser.FWD, parser.CONST, parser.VOLATILE, parser.RESTRICT, parser.PTR, parser.TYPEDEF,
        parser.FUNC, parser.VAR, parser.DECL_TAG, parser.TYPE_TAG, parser.FUNC_PROTO,
    )
)  # fmt: skip


def renumber(
    words: list[int], new_id: Callable[[int], int], new_name: Callable[[int], int]
) -> None:
    """Change the references in one type, given as its words."""
    kind = words[1] >> 24 & 0x7F
    if not 0 < kind <= parser.KIND_MAX:
        raise FormatError(f"the BTF has a type of unknown kind {kind}")
    words[0] = new_name(words[0])
    if kind in REFERRING:
        words[2] = new_id(words[2])
    elif kind == parser.ARRAY:
        words[3] = new_id(words[3])
        words[4] = new_id(words[4])
    if kind in ELEMENTS:
        size, name, ref = ELEMENTS[kind]
        if name is not None:
            words[3 + name :: size] = map(new_name, words[3 + name :: size])
        if ref is not None:
            words[3 + ref :: size] = map(new_id, words[3 + ref :: size])


def map_references(
    btf: Btf, new_id: Callable[[int], int], new_name: Callable[[int], int], count: int
) -> list[list[int]]:
    """The object's own types as words, with references changed; ids end before ``count``."""

    def checked(type_id: int) -> int:
        if type_id >= count:
            raise FormatError(f"the BTF has no type [{type_id}]")
        return new_id(type_id)

    found = []
    for words in own_types(btf):
        renumber(words, checked, new_name)
        found.append(words)
    return found


def own_types(btf: Btf) -> list[list[int]]:
    """The object's own types, each as the list of its words."""
    words = btf.words
    sizes = btf.sizes
    return [words[at - 1 : at - 1 + sizes[words[at]]].tolist() for at in btf.own_offsets()]


def encode(types: list[list[int]], strings: bytes) -> bytes:
    """Raw BTF in this machine's byte order."""
    flat = array("I")
    for words in types:
        flat.extend(words)
    body = flat.tobytes()
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    return header + body + strings
