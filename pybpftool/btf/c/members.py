"""Members of structs and unions as C can declare them.

Compilers of C make members that C can write again. Those of other languages, old ones and
whoever makes BTF by hand have members without a name, of the same name or without a size, and
bit-fields told by their types.
"""

from __future__ import annotations

from pybpftool.btf.c.identifiers import untaken
from pybpftool.btf.c.sizes import NUMBER_SIZES, is_unusual_number
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    ENUM,
    ENUMS,
    FWD,
    INT,
    INT_BOOL,
    MODIFIERS,
    NUMBERS,
    STRUCT,
    TYPEDEF,
    UNION,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybpftool.btf.c.identifiers import Identifiers
    from pybpftool.btf.c.order import Kinds
    from pybpftool.btf.c.wide import ExactTexts

_MAX_CHAIN = 1 << 14
_ENUM_SIZES = frozenset((1, 2, 4, 8))


def resolved(words: memoryview, offsets: Sequence[int], type_id: int, through_arrays: bool) -> int:
    """The type behind typedefs and modifiers, and behind arrays if that is asked for."""
    for _ in range(_MAX_CHAIN):
        if not type_id:
            return 0
        at = offsets[type_id]
        kind = words[at] >> 24 & 0x7F
        if kind in MODIFIERS or kind == TYPEDEF:
            type_id = words[at + 1]
        elif kind == ARRAY and through_arrays:
            type_id = words[at + 2]
        else:
            return type_id
    raise FormatError(f"type [{type_id}] is a chain without end")


class Unusual(dict[int, bool]):
    """Whether members of a type need a closer look, by the type's id."""

    __slots__ = ("_offsets", "_words")

    def __init__(self, words: memoryview, offsets: Sequence[int]) -> None:
        super().__init__()
        self._words = words
        self._offsets = offsets

    def __missing__(self, type_id: int) -> bool:
        words = self._words
        target = resolved(words, self._offsets, type_id, True)
        at = self._offsets[target]
        kind = words[at] >> 24 & 0x7F if target else 0
        found = (kind in NUMBERS and is_unusual_number(words, at)) or (
            kind in ENUMS and not words[at] & 0xFFFFFF
        )
        self[type_id] = found
        return found


class Members:
    """Members in their order: names, ids of types, places and widths of bit-fields in bits."""

    __slots__ = ("bases", "is_wide", "left_out", "names", "places", "types", "widths")

    def __init__(self, texts: ExactTexts, at: int) -> None:
        words = texts.words
        info = words[at]
        flat = words[at + 2 : at + 2 + 3 * (info & 0xFFFFFF)].tolist()
        self.types: list[int] = flat[1::3]
        self.places: list[int] = flat[2::3]
        self.widths: list[int] = []
        self.names = [*map(texts.names.__getitem__, flat[::3])]
        self.left_out: list[str] = []
        """Names of members that have no place in it."""
        self.bases: dict[int, str] = {}
        """Types of bit-fields, by their index, whose own are none for such."""
        if info >> 31:
            self.widths = [place >> 24 for place in self.places]
            self.places = [place & 0xFFFFFF for place in self.places]
        aligns = [*map(texts.aligns.__getitem__, self.types)]  # tells what is wide, too
        self.is_wide = not texts.wide.isdisjoint(self.types)
        """Whether some member needs a closer look."""
        if texts.is_careful or 0 in aligns:
            self._leave_out(texts, words[at + 1] * 8)
        if texts.is_careful or self.is_wide:
            self._find_bit_fields(texts)
            self._find_names(texts)

    def _leave_out(self, texts: ExactTexts, whole: int) -> None:
        """Take away what is void, a function or declared only, or not in the struct.

        The BTF of C++ has its methods, that of Rust values that there never are.
        """
        kept = []
        for index, (member, place) in enumerate(zip(self.types, self.places)):
            width = self.widths[index] if self.widths else 0
            if texts.aligns[member] and place + (width or texts.sizes[member]) <= whole:
                kept.append(index)
            else:
                self.left_out.append(self.names[index] or "nameless")
        if not self.left_out:
            return
        self.types = [self.types[index] for index in kept]
        self.places = [self.places[index] for index in kept]
        self.names = [self.names[index] for index in kept]
        if self.widths:
            self.widths = [self.widths[index] for index in kept]

    def _find_bit_fields(self, texts: ExactTexts) -> None:
        """Make bit-fields of what their types tell to be such; find types for others."""
        words, offsets = texts.words, texts.offsets
        widths = self.widths or [0] * len(self.types)
        for index, type_id in enumerate(self.types):
            target = resolved(words, offsets, type_id, False)
            at = offsets[target]
            kind = words[at] >> 24 & 0x7F if target else 0
            size = words[at + 1] if kind in NUMBERS or kind in ENUMS else 0
            if kind == INT and not widths[index] and size in NUMBER_SIZES:
                number = words[at + 2]
                if 0 < number & 0xFF < size * 8:
                    self.places[index] += number >> 16 & 0xFF
                    widths[index] = number & 0xFF
            width = widths[index]
            if not width:
                continue
            bits = size * 8
            if kind == INT and words[at + 2] >> 24 & INT_BOOL:
                bits = 1
            is_one = size in (NUMBER_SIZES if kind == INT else _ENUM_SIZES if kind in ENUMS else ())
            if not is_one or width > bits:
                bits = next((bits for bits in (8, 16, 32, 64) if width <= bits), 128)
                names = {8: "char", 16: "short", 32: "int", 64: "long long", 128: "__int128"}
                self.bases[index] = f"unsigned {names[bits]}"
        self.widths = widths if any(widths) else []

    def _find_names(self, texts: ExactTexts) -> None:
        """Give names to what needs one, and others to what shares its own."""
        names = self.names
        if len(set(names)) == len(names) and all(names):
            return
        taken = set(names)
        seen: set[str] = set()
        for index, name in enumerate(names):
            if not name:
                width = self.widths[index] if self.widths else 0
                if not width and self._is_anonymous(texts, self.types[index]):
                    continue
                wanted = f"_{self.places[index]}"
            elif name in seen:
                wanted = name
            else:
                seen.add(name)
                continue
            names[index] = untaken(wanted, taken)

    def _is_anonymous(self, texts: ExactTexts, type_id: int) -> bool:
        """Whether a member without a name shows the members of its type."""
        words, offsets = texts.words, texts.offsets
        target = resolved(words, offsets, type_id, False)
        at = offsets[target]
        if not target or words[at] >> 24 & 0x7F not in COMPOSITE:
            return False
        while type_id != target:
            if words[offsets[type_id]] >> 24 & 0x7F == TYPEDEF:
                break
            type_id = words[offsets[type_id] + 1]
        # In C a type with a name is one with -fms-extensions, as in the kernel; in other
        # languages it is what is inherited from.
        return (type_id == target and not words[at - 1]) or not texts.names.is_foreign

    def line(self, texts: ExactTexts, index: int, level: int) -> str:
        """The declaration of a member, without what ends it."""
        width = self.widths[index] if self.widths else 0
        name = self.names[index]
        if index in self.bases:
            text = f"{self.bases[index]} {name}"
        else:
            text = texts.declaration(self.types[index], name, level)
        return f"{text}: {width}" if width else text

    def comment(self, newline: str) -> str:
        """What is told of members that were left out."""
        return "".join([f"{newline}/* no place for {name} */" for name in self.left_out])


def enums_to_complete(words: memoryview, offsets: Sequence[int], types: Iterable[int]) -> set[int]:
    """Enums without values that members or elements of these types are."""
    found = set()
    for type_id in types:
        target = resolved(words, offsets, type_id, True)
        at = offsets[target]
        if target and words[at] >> 24 & 0x7F in ENUMS and not words[at] & 0xFFFFFF:
            found.add(target)
    return found


def contained(words: memoryview, offsets: Sequence[int], kinds: Kinds) -> set[int]:
    """The types of all members and elements."""
    found: set[int] = set()
    for type_id in kinds.of(COMPOSITE):
        at = offsets[type_id]
        found.update(words[at + 3 : at + 2 + 3 * (words[at] & 0xFFFFFF) : 3])
    found.update([words[offsets[type_id] + 2] for type_id in kinds.of((ARRAY,))])
    return found


def contained_in(words: memoryview, offsets: Sequence[int], structs: Iterable[int]) -> set[int]:
    """The types of the members of structs, and of those without a name in them."""
    found: set[int] = set()
    pending = list(structs)
    while pending:
        at = offsets[pending.pop()]
        inner = set(words[at + 3 : at + 2 + 3 * (words[at] & 0xFFFFFF) : 3].tolist()) - found
        found |= inner
        for type_id in inner:
            target = resolved(words, offsets, type_id, True)
            if target and words[offsets[target]] >> 24 & 0x7F in COMPOSITE:
                pending.append(target)
    return found


def conflicting(
    words: memoryview, offsets: Sequence[int], names: Identifiers, tags: Iterable[int]
) -> set[int]:
    """Forward declarations of what something of another keyword is called like."""
    keywords: dict[str, set[int]] = {}
    forward: dict[int, str] = {}
    for type_id in tags:
        at = offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if kind in NUMBERS:
            continue
        name = names[words[at - 1]]
        is_forward = kind == FWD or (kind in ENUMS and not info & 0xFFFFFF)
        if is_forward:
            forward[type_id] = name
        if kind == FWD:
            kind = UNION if info >> 31 else STRUCT
        elif kind in ENUMS:
            kind = ENUM
        keywords.setdefault(name, set()).add(kind)
    return {type_id for type_id, name in forward.items() if len(keywords[name]) > 1}
