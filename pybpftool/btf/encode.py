"""Writing BTF: types as words, with their references renumbered."""

from __future__ import annotations

import struct
from itertools import chain

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import KIND_MAX, KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pybpftool.btf.table import Btf

HEADER = 24
"""Bytes of ``struct btf_header``."""
HEADER_WITH_LAYOUT = 32
"""Those with the place of a layout, which libbpf 1.8 brought."""
_TOGETHER = 4096  # types that become bytes at once

_Shape = tuple[tuple[int, ...], "slice | None", tuple[slice, ...]]


class _Shapes(dict[int, "_Shape"]):
    """By kind: where a type's words have ids, its elements have names, and ids."""

    __slots__ = ()

    def __missing__(self, kind: int) -> _Shape:
        row = KINDS[kind]
        size, name = row.element_words, row.element_name
        found: _Shape = (row.ids, None, ())
        if size:
            names = None if name is None else slice(3 + name, None, size)
            refs = tuple([slice(3 + ref, None, size) for ref in row.element_ids])
            found = (row.ids, names, refs)
        self[kind] = found
        return found


_SHAPES = _Shapes()


def renumber_all(
    types: Iterable[list[int]],
    new_id: Callable[[int], int] | None,
    new_name: Callable[[int], int] | None,
) -> None:
    """Change the references in types, given as their words; None changes nothing."""
    shapes = _SHAPES
    for words in types:
        kind = words[1] >> 24 & 0x7F
        if not 0 < kind <= KIND_MAX:
            raise FormatError(f"the BTF has a type of unknown kind {kind}")
        places, names, refs = shapes[kind]
        if new_name is not None:
            words[0] = new_name(words[0])
            if names is not None:
                words[names] = map(new_name, words[names])
        if new_id is not None:
            for place in places:
                words[place] = new_id(words[place])
            for ref in refs:
                words[ref] = map(new_id, words[ref])


def renumber(
    words: list[int], new_id: Callable[[int], int], new_name: Callable[[int], int]
) -> None:
    """Change the references in one type, given as its words."""
    renumber_all((words,), new_id, new_name)


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
    flat = btf.words.tolist()
    starts = [at - 1 for at in btf.own_offsets()]
    return [*map(flat.__getitem__, map(slice, starts, [*starts[1:], len(flat)]))]


def encode(types: list[list[int]], strings: bytes, header_bytes: int = HEADER) -> bytes:
    """Raw BTF in this machine's byte order; a longer header has nothing in it."""
    blocks = []
    for first in range(0, len(types), _TOGETHER):
        flat = [*chain.from_iterable(types[first : first + _TOGETHER])]
        blocks.append(struct.pack(f"={len(flat)}I", *flat))
    size = sum(map(len, blocks))
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, header_bytes, 0, size, size, len(strings))
    return b"".join((header.ljust(header_bytes, b"\0"), *blocks, strings))
