"""Structs and unions that upstream's form would give another layout in C.

A C compiler puts members where their order and alignments lead. What lies elsewhere is written
packed, with its gaps in full: members in the order of their places, and those that overlap side
by side in an unnamed union. The alignment stays the one that libbpf reckons with, so that what
contains such a type is written as ever.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import compress

from pybpftool.btf.c.declare import bounded
from pybpftool.btf.c.enums import NEWLINES, EnumTexts
from pybpftool.btf.c.sizes import MAX_NESTING, MAX_PADDING, Aligns, Sizes, padding
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import ARRAY, COMPOSITE, MODIFIERS, NUMBERS, STRUCT, TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.c.identifiers import Identifiers
    from pybpftool.btf.c.order import Kinds
    from pybpftool.btf.table import Btf

_WIDE = 128
"""Bits of a number whose alignment in C is twice that of a pointer, which libbpf does not know."""
_PADS = (("char", 8), ("short", 16), ("int", 32), ("long", 64))
# A member's place and bits, its width if it is a bit-field, its type's id and its name.
_Member = tuple[int, int, int, int, str]


class Wide(set[int]):
    """The ids of types that are or contain a number of 128 bits."""

    __slots__ = ("_found", "_texts")

    def __init__(self, texts: ExactTexts) -> None:
        super().__init__()
        self._texts = texts
        self._found: dict[int, bool] = {0: False}

    def find(self, kinds: Kinds) -> None:
        """Fill the set, for a dump of everything."""
        words, offsets = kinds.words, kinds.offsets
        self.update(id for id in kinds.of(NUMBERS) if words[offsets[id] + 1] == _WIDE // 8)
        if not self:
            return
        ids = kinds.of(MODIFIERS | {TYPEDEF})
        targets = [words[offsets[id] + 1] for id in ids]
        arrays = kinds.of((ARRAY,))
        targets += [words[offsets[id] + 2] for id in arrays]
        ids += arrays
        # Members stand behind them, those of a struct in a row.
        structs = kinds.of(COMPOSITE)
        ends = []
        for at in map(offsets.__getitem__, structs):
            targets += words[at + 3 : at + 2 + 3 * (words[at] & 0xFFFFFF) : 3].tolist()
            ends.append(len(targets))
        new = set(self)
        while new:
            places = [*compress(range(len(targets)), map(new.__contains__, targets))]
            alone = bisect_left(places, len(ids))
            found = {ids[place] for place in places[:alone]}
            found.update([structs[bisect_right(ends, place)] for place in places[alone:]])
            new = found - self
            self.update(new)

    def is_aligned(self, type_id: int, depth: int = 0) -> bool:
        """Whether C aligns a type to 128 bits."""
        found = self._found.get(type_id)
        if found is not None:
            return found
        if depth > MAX_NESTING:
            raise FormatError(f"the BTF's type [{type_id}] contains itself")
        words = self._texts.words
        at = self._texts.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        found = False
        if kind in NUMBERS:
            found = words[at + 1] == _WIDE // 8
        elif kind in MODIFIERS or kind == TYPEDEF:
            found = self.is_aligned(words[at + 1], depth + 1)
        elif kind == ARRAY:
            found = self.is_aligned(words[at + 2], depth + 1)
        elif kind in COMPOSITE:
            flat = words[at + 2 : at + 2 + 3 * (info & 0xFFFFFF)].tolist()
            wide = [
                place & 0xFFFFFF if info >> 31 else place
                for member, place in zip(flat[1::3], flat[2::3])
                if self.is_aligned(member, depth + 1)
            ]
            found = bool(wide) and not (any(p % _WIDE for p in wide) or words[at + 1] * 8 % _WIDE)
            # Misplaced by libbpf's reckoning, too: then it is packed.
            found = found and self._texts.aligns[type_id] > 8
        self._found[type_id] = found
        return found


class ExactTexts(EnumTexts):
    """Declarations that know where the members of structs lie."""

    def __init__(
        self, btf: Btf, words: memoryview, offsets: Sequence[int], names: Identifiers
    ) -> None:
        super().__init__(words, offsets, names)
        self.sizes = Sizes(btf)
        self.aligns = Aligns(btf, words, offsets)
        self.wide = Wide(self)
        pointer_bits = (btf.declared_pointer_size or 8) * 8
        self.pads = (("long", pointer_bits), ("int", 32), ("short", 16), ("char", 8))


def is_kept(
    texts: ExactTexts,
    types: Sequence[int],
    places: Sequence[int],
    widths: Sequence[int],
    whole: int,
    packed: bool,
    is_struct: bool,
) -> bool:
    """Whether upstream's form has the layout that the BTF has; places and sizes are in bits."""
    aligns = [texts.aligns[member] for member in types]
    if 0 in aligns:
        return True  # a member without a size, of which C has none
    wide = [*map(texts.wide.is_aligned, types)]
    if any(wide) and not packed:
        if any(is_wide and place % _WIDE for is_wide, place in zip(wide, places)):
            return False
        if whole % _WIDE:
            return False
    sizes = [texts.sizes[member] for member in types]
    widths = widths or [0] * len(types)
    if not is_struct:
        ends = [width or size for width, size in zip(widths, sizes)]
        align = 8 if packed else max(aligns, default=8)
        return not (any(places) or packed or whole - max(ends, default=0) >= align)
    end = 0
    last_width = 0
    for place, width, size, align in zip(places, widths, sizes, aligns):
        if place < end:
            return False
        if packed:
            is_inside = last_width != 0 and width != 0
            if end < place and not _is_filled(texts, end, place, is_inside, bool(width)):
                return False
        elif width and place % align + width > size:
            return False
        end = place + (width or size)
        last_width = width
    if packed and end < whole:
        return _is_filled(texts, end, whole, False, False)
    return True


def _is_filled(texts: ExactTexts, start: int, end: int, is_inside: bool, is_bits: bool) -> bool:
    """Whether upstream's padding leads to ``end`` in something packed, where nothing aligns."""
    pads = padding(texts.pads, start, end, 8, is_inside, "").split(";")
    start += sum(int(pad.rpartition(" ")[2]) for pad in pads if pad)
    return start == end or (not is_bits and (start + 7) // 8 * 8 == end)


def body(texts: ExactTexts, type_id: int, level: int) -> str:
    """What follows the name of a struct or union: its members in braces, and its attributes."""
    words = texts.words
    at = texts.offsets[type_id]
    info = words[at]
    whole = words[at + 1] * 8
    members = _members(texts, at)
    inner = level + 1
    newline = NEWLINES[min(inner, 13)]
    if info >> 24 & 0x7F == STRUCT:
        lanes = _lanes(members)
        if len(lanes) == 1:
            text, end = _lane(texts, lanes[0], inner)
        else:
            text = f"{newline}union {{"
            for lane in lanes:
                text += _wrapped(texts, lane, inner + 1)
                bounded(text)
            text += f"{newline}}};"
            end = max(_end(lane) for lane in lanes)
        if end < whole:
            text += _gap(end, whole, newline)
    else:
        text = ""
        for member in members:
            if member[0]:
                text += _wrapped(texts, [member], inner)
                bounded(text)
            else:
                text += _line(texts, member, inner, newline)
        widest = _end(members)
        if widest < whole:
            text += _union_padding(whole, newline)
    close = newline[:-1] if level < 13 else newline
    align = texts.aligns[type_id] // 8
    mark = f"packed, aligned({align})" if align > 1 else "packed"
    return f" {{{text}{close}}} __attribute__(({mark}))"


def _members(texts: ExactTexts, at: int) -> list[_Member]:
    words = texts.words
    info = words[at]
    flat = words[at + 2 : at + 2 + 3 * (info & 0xFFFFFF)].tolist()
    members = []
    for name, member, place in zip(flat[::3], flat[1::3], flat[2::3]):
        width = place >> 24 if info >> 31 else 0
        place = place & 0xFFFFFF if info >> 31 else place
        bits = width or texts.sizes[member]
        members.append((place, bits, width, member, texts.names[name] if name else ""))
    return members


def _end(members: list[_Member]) -> int:
    return max([member[0] + member[1] for member in members], default=0)


def _lanes(members: list[_Member]) -> list[list[_Member]]:
    """Members in the order of their places, those that overlap apart; one list at least."""
    lanes: list[list[_Member]] = [[]]
    ends = [0]
    for member in sorted(members, key=lambda member: member[0]):
        index = next((i for i, end in enumerate(ends) if end <= member[0]), len(lanes))
        if index == len(lanes):
            lanes.append([])
            ends.append(0)
        lanes[index].append(member)
        ends[index] = member[0] + member[1]
    return lanes


def _lane(texts: ExactTexts, lane: list[_Member], level: int) -> tuple[str, int]:
    """Members one after the other, and where the last of them ends."""
    newline = NEWLINES[min(level, 13)]
    text = ""
    end = 0
    for member in lane:
        if end < member[0]:
            text += _gap(end, member[0], newline)
            bounded(text)
        text += _line(texts, member, level, newline)
        end = member[0] + member[1]
    return text, end


def _wrapped(texts: ExactTexts, lane: list[_Member], level: int) -> str:
    newline = NEWLINES[min(level, 13)]
    text, _ = _lane(texts, lane, level + 1)
    return f"{newline}struct {{{text}{newline}}} __attribute__((packed));"


def _line(texts: ExactTexts, member: _Member, level: int, newline: str) -> str:
    _, _, width, type_id, name = member
    line = texts.declaration(type_id, name, level)
    return f"{newline}{line}: {width};" if width else f"{newline}{line};"


def _gap(start: int, end: int, newline: str) -> str:
    """Unnamed bit-fields that fill a gap of something packed bit by bit."""
    count, rest = divmod(end - start, 64)
    if count > MAX_PADDING:
        raise FormatError(f"a struct has a gap of {(end - start) // 8} bytes")
    text = f"{newline}long: 64;" * count
    if rest:
        name = next(name for name, bits in _PADS if bits >= rest)
        text += f"{newline}{name}: {rest};"
    return text


def _union_padding(whole: int, newline: str) -> str:
    if whole <= 64:
        return _gap(0, whole, newline)
    return f"{newline}struct {{{_gap(0, whole, newline + chr(9))}{newline}}};"
