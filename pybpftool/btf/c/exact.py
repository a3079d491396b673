"""Structs and unions that upstream's form would give another layout in C.

A C compiler puts members where their order and alignments lead. What lies elsewhere is written
packed, with its gaps in full: members in the order of their places, and those that overlap side
by side in an unnamed union. The alignment stays the one that libbpf reckons with, so that what
contains such a type is written as ever.
"""

from __future__ import annotations

from itertools import repeat

from pybpftool.btf.c.declare import bounded
from pybpftool.btf.c.enums import NEWLINES
from pybpftool.btf.c.sizes import MAX_PADDING, fillers
from pybpftool.btf.c.wide import WIDE
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.c.members import Members
    from pybpftool.btf.c.sizes import Pads
    from pybpftool.btf.c.wide import ExactTexts

# A member's place and bits, and its index.
_Member = tuple[int, int, int]


def is_kept(
    texts: ExactTexts,
    types: Sequence[int],
    places: Sequence[int],
    widths: Sequence[int],
    whole: int,
    packed: bool,
    is_struct: bool,
) -> bool:
    """Whether upstream's form has the layout that the BTF has; places and sizes are in bits.

    It is laid out as gcc and clang do: a bit-field that does not fit into what is left of its
    type's unit begins the next, and nothing is aligned in what is packed but by ``: 0``.
    """
    aligns = [texts.aligns[member] for member in types]
    sizes = [texts.sizes[member] for member in types]
    in_c = [
        WIDE if texts.wide.is_aligned(member) else align for member, align in zip(types, aligns)
    ]
    widths = widths or [0] * len(types)
    if not is_struct:
        ends = [width or size for width, size in zip(widths, sizes)]
        end = _round_up(max(ends, default=0), max(in_c, default=8))
        return not (any(places) or packed) and end == whole
    pads = texts.pads
    end = 0
    last_width = 0
    for place, width, size, align, own in zip(places, widths, sizes, aligns, in_c):
        if place < end:
            return False
        at = end
        if end < place:
            is_inside = last_width != 0 and width != 0
            at = _padded(pads, end, place, 8 if packed else align, is_inside, packed)
        if not width:
            at = _round_up(at, 8 if packed else own)
        elif not packed:
            at = _fitting(at, width, size, own)
        if at != place:
            return False
        end = place + (width or size)
        last_width = width
    align = 8 if packed else max(aligns, default=8)
    if end < whole:
        end = _padded(pads, end, whole, align, False, packed)
    return _round_up(end, 8 if packed else max(in_c, default=8)) == whole


def _round_up(place: int, align: int) -> int:
    return (place + align - 1) // align * align


def _fitting(place: int, width: int, size: int, align: int) -> int:
    """Where a bit-field begins that may come at ``place``."""
    return _round_up(place, align) if place % align + width > size else place


def _padded(pads: Pads, start: int, end: int, align: int, in_bits: bool, packed: bool) -> int:
    """Where upstream's padding leads, which is to lead to ``end``."""
    for _, unit, width, count in fillers(pads, start, end, align, in_bits):
        if not width:
            start = _round_up(start, unit)
        elif packed:
            start += width * count
        else:
            start = _fitting(start, width, unit, unit) + width * count
    return start


def body(texts: ExactTexts, type_id: int, level: int, fields: Members) -> str:
    """What follows the name of a struct or union: its members in braces, and its attributes."""
    words = texts.words
    at = texts.offsets[type_id]
    info = words[at]
    whole = words[at + 1] * 8
    members = [
        (place, width or texts.sizes[member], index)
        for index, (member, place, width) in enumerate(
            zip(fields.types, fields.places, fields.widths or repeat(0))
        )
    ]
    inner = level + 1
    newline = NEWLINES[min(inner, 13)]
    if info >> 24 & 0x7F == STRUCT:
        lanes = _lanes(members)
        if len(lanes) == 1:
            text, end = _lane(texts, lanes[0], inner, fields)
        else:
            text = f"{newline}union {{"
            for lane in lanes:
                text += _wrapped(texts, lane, inner + 1, fields)
                bounded(text)
            text += f"{newline}}};"
            end = max(_end(lane) for lane in lanes)
        if end < whole:
            text += _gap(texts.pads, end, whole, newline)
    else:
        text = ""
        for member in members:
            if member[0]:
                text += _wrapped(texts, [member], inner, fields)
                bounded(text)
            else:
                text += f"{newline}{fields.line(texts, member[2], inner)};"
        widest = _end(members)
        if widest < whole:
            text += _union_padding(texts.pads, whole, newline)
    close = newline[:-1] if level < 13 else newline
    align = texts.aligns[type_id] // 8
    mark = f"packed, aligned({align})" if align > 1 else "packed"
    return f" {{{text}{fields.comment(newline)}{close}}} __attribute__(({mark}))"


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


def _lane(texts: ExactTexts, lane: list[_Member], level: int, fields: Members) -> tuple[str, int]:
    """Members one after the other, and where the last of them ends."""
    newline = NEWLINES[min(level, 13)]
    text = ""
    end = 0
    for member in lane:
        if end < member[0]:
            text += _gap(texts.pads, end, member[0], newline)
            bounded(text)
        text += f"{newline}{fields.line(texts, member[2], level)};"
        end = member[0] + member[1]
    return text, end


def _wrapped(texts: ExactTexts, lane: list[_Member], level: int, fields: Members) -> str:
    newline = NEWLINES[min(level, 13)]
    text, _ = _lane(texts, lane, level + 1, fields)
    return f"{newline}struct {{{text}{newline}}} __attribute__((packed));"


def _gap(pads: Pads, start: int, end: int, newline: str) -> str:
    """Unnamed bit-fields that fill a gap of something packed bit by bit."""
    name, bits = pads[0]
    count, rest = divmod(end - start, bits)
    if count > MAX_PADDING:
        raise FormatError(f"a struct has a gap of {(end - start) // 8} bytes")
    text = f"{newline}{name}: {bits};" * count
    if rest:
        name = next(name for name, bits in reversed(pads) if bits >= rest)
        text += f"{newline}{name}: {rest};"
    return text


def _union_padding(pads: Pads, whole: int, newline: str) -> str:
    if whole <= pads[0][1]:
        return _gap(pads, 0, whole, newline)
    return f"{newline}struct {{{_gap(pads, 0, whole, newline + chr(9))}{newline}}};"
