"""Definitions of ordinary structs, hundreds at a time.

A kernel's structs are ordinary for the most part: named members without bit-fields, each
declared in a line, where a compiler puts them by itself. Such structs are told from others
and written with a few calls for all of them; the others are the work of
:meth:`pybpftool.btf.c.text.Texts.struct`, which would write these the same.
"""

from __future__ import annotations

from _bisect import bisect_right  # without the Python of bisect
from _operator import add, floordiv, mod, not_, sub  # and of operator
from itertools import compress, count

from pybpftool.btf.c.declare import MAX_TEXT, Inline
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pybpftool.btf.c.wide import ExactTexts

_GROUP = 2048  # structs that are looked at together
_MAX_BITS = 1 << 31
# What members of a dump's BTF fail with: the structs that have them are not ordinary.
_FAILURES = (FormatError, IndexError, RecursionError)
_END = "\1"  # after each struct; no C name has it, nor a gap


def definitions(texts: ExactTexts, structs: Sequence[int]) -> dict[int, str]:
    """The definitions, without what ends them, of those structs that are ordinary."""
    found = _empty(texts, structs)
    for begin in range(0, len(structs), _GROUP):
        try:
            found.update(_Group(texts, structs[begin : begin + _GROUP]).written())
        except _FAILURES:
            pass
    return found


def _empty(texts: ExactTexts, structs: Sequence[int]) -> dict[int, str]:
    """The definitions of structs without members."""
    words, offsets = texts.words, texts.offsets
    info = STRUCT << 24
    ids = [type_id for type_id in structs if words[offsets[type_id]] == info]
    return {
        type_id: f"{texts.struct_head(type_id)} {{}}"
        for type_id in ids
        if not words[offsets[type_id] + 1] and words[offsets[type_id] - 1]
    }


class _Group:
    """The members of some structs one after the other."""

    def __init__(self, texts: ExactTexts, structs: Sequence[int]) -> None:
        words, offsets = texts.words, texts.offsets
        self._texts = texts
        self._ids: list[int] = []
        self._bits: list[int] = []
        """The structs' sizes."""
        self._ends: list[int] = []
        """The number of members up to and including each struct's."""
        flat: list[int] = []
        for type_id in structs:
            at = offsets[type_id]
            info = words[at]
            if info >> 24 == STRUCT and info & 0xFFFFFF and words[at - 1]:
                flat += words[at + 2 : at + 2 + 3 * (info & 0xFFFFFF)].tolist()
                self._ids.append(type_id)
                self._bits.append(words[at + 1] * 8)
                self._ends.append(len(flat) // 3)
        self._names = [*map(texts.names.__getitem__, flat[::3])]
        self._types = flat[1::3]
        self._places = flat[2::3]
        self._find_declarations()
        self._find_places()

    def _find_declarations(self) -> None:
        """Put together what members have in common that have the same type."""
        formats = self._texts.formats
        failing: set[int] = set()
        defining: set[int] = set()
        types = set(self._types)
        for type_id in types.difference(formats):
            try:
                formats[type_id]
            except Inline:
                defining.add(type_id)
            except _FAILURES:
                failing.add(type_id)
        self._unusual_types = failing
        self._defined: dict[int, list[int]] = {}
        """Members that define their types, by the index of their struct."""
        for at in compress(count(), map(defining.__contains__, self._types)):
            self._defined.setdefault(bisect_right(self._ends, at), []).append(at)

    def _find_places(self) -> None:
        """Find which structs have members that need a closer look."""
        types, places, ends = self._types, self._places, self._ends
        texts = self._texts
        unusual = self._unusual_types
        aligns = [*map(texts.aligns.__getitem__, types)]
        if 0 in aligns:
            unusual.update(compress(types, map(not_, aligns)))
            aligns = [align or 8 for align in aligns]
        unusual |= texts.wide
        self._aligns = aligns
        self._member_ends = [*map(add, places, map(texts.sizes.__getitem__, types))]
        # Where each member would stand if nothing were between it and the one before it.
        starts = [0, *self._member_ends]
        for end in ends:
            starts[end] = 0
        found = [*compress(count(), map(unusual.__contains__, types))]
        found += compress(count(), map(mod, places, aligns))
        # A compiler leaves by itself what a member's alignment asks for, and no more.
        found += compress(count(), map(floordiv, map(sub, places, starts), aligns))
        nameless = compress(count(), map(not_, self._names))
        found += set(nameless).difference(*self._defined.values())
        self._unusual = {bisect_right(ends, at) for at in found}

    def written(self) -> Iterator[tuple[int, str]]:
        """The texts of the structs that are ordinary, by their ids."""
        texts = self._texts
        lines = [*map(texts.formats.get, self._types)]
        ids = []
        parts = []
        names: list[str] = []
        for index, type_id, begin, end in self._ordinary():
            for at in self._defined.get(index, ()):
                lines[at] = self._defining(at)
            ids.append(type_id)
            body = ";\n\t".join(lines[begin:end])  # type: ignore[arg-type]  # none is None
            parts.append(f"{texts.struct_head(type_id)} {{\n\t{body};\n}}{_END}")
            names += self._names[begin:end]
        return zip(ids, ("".join(parts) % tuple(names)).split(_END))

    def _defining(self, at: int) -> str:
        """The format of a member that defines its type, which has the name already."""
        text = self._texts.declaration(self._types[at], self._names[at], 1)
        return f"{text.replace('%', '%%')}%.0s"

    def _ordinary(self) -> list[tuple[int, int, int, int]]:
        """The ordinary structs: index and id, where their members begin and end."""
        texts = self._texts
        longest = texts.formats.longest
        pointer_bits = texts.pads[0][1]
        found = []
        begin = 0
        for index, (type_id, bits, end) in enumerate(zip(self._ids, self._bits, self._ends)):
            first, begin = begin, end
            if index in self._unusual:
                continue
            align = max(self._aligns[first:end])
            tail = bits - self._member_ends[end - 1]
            if (
                0 <= tail < align <= pointer_bits
                and bits % align == 0
                and bits < _MAX_BITS
                and longest * (end - first) <= MAX_TEXT
            ):
                texts.aligns[type_id] = align
                found.append((index, type_id, first, end))
        return found
