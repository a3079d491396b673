"""Sizes, alignments and padding: where C would put what BTF says is elsewhere."""

from __future__ import annotations

from _operator import mod  # without the Python of operator

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import ARRAY, COMPOSITE, INT, MODIFIERS, NUMBERS, TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.table import Btf

    Pads = Sequence[tuple[str, int]]

MAX_NESTING = 200
NUMBER_SIZES = frozenset((1, 2, 4, 8, 16))
"""Bytes of numbers that C has."""
# Padding of more lines than this is the work of a made-up size.
MAX_PADDING = 1 << 16


def _round_up(value: int, step: int) -> int:
    return (value + step - 1) // step * step if step > 0 else value


def is_unusual_number(words: memoryview, at: int) -> bool:
    """Whether a number is a bit-field by itself, of a size that C has not, or of 128 bits."""
    size = words[at + 1]
    if size not in NUMBER_SIZES or size == 16:
        return True
    return words[at] >> 24 & 0x7F == INT and words[at + 2] & 0xFFFFFF != size * 8


def int32(value: int) -> int:
    """``value`` as a C int holds it."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


class Sizes(dict[int, int]):
    """Sizes in bits by type id, 0 where there is none."""

    __slots__ = ("_btf",)

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self._btf = btf
        self[0] = 0

    def __missing__(self, type_id: int) -> int:
        size = self[type_id] = (self._btf.size_of(type_id) or 0) * 8
        return size


class Aligns(dict[int, int]):
    """Alignments in bits by type id, 0 where there is none.

    :param wide: types that need a closer look; what contains one is added to them as soon
        as its alignment is found.
    """

    __slots__ = ("_btf", "_depth", "_endless", "_offsets", "_wide", "_words")

    def __init__(self, btf: Btf, words: memoryview, offsets: Sequence[int], wide: set[int]) -> None:
        super().__init__()
        self._wide = wide
        self._btf = btf
        self._words = words
        self._offsets = offsets
        self._depth = 0
        self._endless: set[int] = set()
        self[0] = 0

    def __missing__(self, type_id: int) -> int:
        if self._depth >= MAX_NESTING:
            self._fill_below(type_id)
            return self[type_id]
        self._depth += 1
        try:
            return self._of(type_id)
        finally:
            self._depth -= 1

    def _of(self, type_id: int) -> int:
        words = self._words
        at = self._offsets[type_id]
        kind = words[at] >> 24 & 0x7F
        align = 0
        if kind in COMPOSITE:
            align = self._composite(type_id, at)
        elif kind in (TYPEDEF, ARRAY) or kind in MODIFIERS:
            target = words[at + (2 if kind == ARRAY else 1)]
            align = self[target]
            if target in self._wide:
                self._wide.add(type_id)
        elif kind in NUMBERS and words[at + 1] not in NUMBER_SIZES:
            align = 8  # bytes in a struct
        # What is rare is looked at piece by piece.
        self[type_id] = align or self._btf.align_of(type_id) * 8
        return self[type_id]

    def _fill_below(self, type_id: int) -> None:
        """Find the alignments of all that a type contains, the innermost first."""
        entered: set[int] = set()
        stack = [type_id]
        while stack:
            current = stack[-1]
            if current in self:
                stack.pop()
            elif current in entered:
                self._of(stack.pop())
            else:
                entered.add(current)
                inner = [part for part in self._parts(current) if part not in self]
                if current in self._endless or not entered.isdisjoint(inner):
                    # Whatever leads here does not end: it is not tried again.
                    self._endless |= entered
                    raise FormatError(f"the BTF's type [{current}] contains itself")
                stack += inner

    def _parts(self, type_id: int) -> list[int]:
        """The types whose alignments decide about a type's."""
        words = self._words
        at = self._offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if kind in COMPOSITE:
            return words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist()
        if kind == TYPEDEF or kind in MODIFIERS:
            return [words[at + 1]]
        return [words[at + 2]] if kind == ARRAY else []

    def _composite(self, type_id: int, at: int) -> int:
        """A struct's alignment by those of its members; 0 if any has none."""
        words = self._words
        end = at + 2 + 3 * (words[at] & 0xFFFFFF)
        types = words[at + 3 : end : 3].tolist()
        aligns = [*map(self.__getitem__, types)]
        if not self._wide.isdisjoint(types):
            self._wide.add(type_id)
        # Members without a size are left out.
        align = max(aligns, default=8) or 8
        places = words[at + 4 : end : 3].tolist()
        if words[at] >> 31:
            # Bit-fields may be anywhere.
            places = [0 if place >> 24 else place for place in places]
        if 0 in aligns:
            aligns = [own or 1 for own in aligns]
        if any(map(mod, places, aligns)) or words[at + 1] * 8 % align:
            return 8
        return align

    def of_struct(
        self,
        type_id: int,
        types: Sequence[int],
        places: Sequence[int],
        widths: Sequence[int],
        size: int,
    ) -> tuple[int, bool]:
        """A struct's alignment, and whether its members' places tell that it is packed."""
        aligns = [self[member] for member in types]
        if not aligns:
            return 8, False
        if widths:
            is_packed = self._is_packed(aligns, places, widths, size)
        else:
            is_packed = any(map(mod, places, aligns)) or size * 8 % max(aligns) != 0
        align = self[type_id] = 8 if is_packed else max(8, *aligns)
        return align, is_packed

    @staticmethod
    def _is_packed(
        aligns: Sequence[int], places: Sequence[int], widths: Sequence[int], size: int
    ) -> bool:
        largest = 8
        for index, align in enumerate(aligns):
            if align and places[index] % align and not (widths and widths[index]):
                return True
            largest = max(largest, align)
        return size * 8 % largest != 0


def fillers(
    pads: Pads, start: int, end: int, align: int, in_bits: bool
) -> list[tuple[str, int, int, int]]:
    """Unnamed bit-fields by which upstream leads a compiler from bit ``start`` to ``end``.

    ``align`` is the following member's in bits; with ``in_bits`` the gap lies
    between two bit-fields, where a compiler aligns nothing by itself. Of each: its
    type and this one's bits, its width, how many of it there are.
    """
    found: list[tuple[str, int, int, int]] = []
    # The largest type of which a border lies in the gap; a char's always does.
    name, bits = next((pad for pad in pads if _round_up(start, pad[1]) <= end), pads[-1])
    border = _round_up(start, bits)
    if start < border <= end:
        # Will the compiler get to the border by itself? Not inside bit-fields,
        # not if the next member's own alignment leads elsewhere, and not if the
        # padding that is to follow fits into the hole before the border.
        if in_bits:
            found.append((name, bits, border - start, 1))
        elif (border == end and _round_up(start, align) != border) or (
            border != end and end - border <= border - start
        ):
            found.append((name, bits, 0, 1))
        start = border
    count, rest = divmod(end - start, bits)
    if count:
        found.append((name, bits, bits, count))
    if rest:
        name, bits = next(pad for pad in reversed(pads) if pad[1] >= rest)
        found.append((name, bits, rest, 1))
    return found


def padding(pads: Pads, start: int, end: int, align: int, in_bits: bool, newline: str) -> str:
    """The text of :func:`fillers`."""
    text = ""
    for name, _, width, count in fillers(pads, start, end, align, in_bits):
        if count > MAX_PADDING:
            raise FormatError(f"a struct has a gap of {(end - start) // 8} bytes")
        text += f"{newline}{name}: {width};" * count
    return text
