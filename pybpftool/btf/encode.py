"""Writing BTF: types as words, with their references renumbered."""

from __future__ import annotations

import struct
from array import array

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import KIND_MAX, KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.btf.table import Btf


def renumber(
    words: list[int], new_id: Callable[[int], int], new_name: Callable[[int], int]
) -> None:
    """Change the references in one type, given as its words."""
    kind = words[1] >> 24 & 0x7F
    if not 0 < kind <= KIND_MAX:
        raise FormatError(f"the BTF has a type of unknown kind {kind}")
    words[0] = new_name(words[0])
    row = KINDS[kind]
    for place in row.ids:
        words[place] = new_id(words[place])
    if row.element_words:
        size, name = row.element_words, row.element_name
        if name is not None:
            words[3 + name :: size] = map(new_name, words[3 + name :: size])
        for ref in row.element_ids:
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
