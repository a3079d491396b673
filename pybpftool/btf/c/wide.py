"""Texts that know where members lie, and which types need a closer look."""

from __future__ import annotations

from pybpftool.btf.c.enums import EnumTexts
from pybpftool.btf.c.sizes import MAX_NESTING, Aligns, Sizes, is_unusual_number
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import ARRAY, COMPOSITE, ENUMS, MODIFIERS, NUMBERS, TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.c.identifiers import Identifiers
    from pybpftool.btf.c.order import Kinds
    from pybpftool.btf.table import Btf

WIDE = 128
"""Bits of a number whose alignment in C is twice that of a pointer, which libbpf does not know."""


class Wide(set[int]):
    """The ids of types that are or contain a number of 128 bits, or what else is unusual."""

    __slots__ = ("_found", "_texts")

    def __init__(self, texts: ExactTexts) -> None:
        super().__init__()
        self._texts = texts
        self._found: dict[int, bool] = {0: False}

    def begin(self, kinds: Kinds) -> None:
        """Fill in the numbers and enums themselves, for a dump of everything.

        What contains any of them is added as its alignment is found.
        """
        words, offsets = kinds.words, kinds.offsets
        self.update(id for id in kinds.of(NUMBERS) if is_unusual_number(words, offsets[id]))
        self.update(id for id in kinds.of(ENUMS) if not words[offsets[id]] & 0xFFFFFF)

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
            found = words[at + 1] == WIDE // 8
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
            found = bool(wide) and not (any(p % WIDE for p in wide) or words[at + 1] * 8 % WIDE)
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
        self.numbers.are_of_machine = btf.is_of_machine
        self.sizes = Sizes(btf)
        self.wide = Wide(self)
        self.aligns = Aligns(btf, words, offsets, self.wide)
        self.is_careful = True
        """Whether members may be what no compiler of C makes."""
        pointer_bits = (btf.declared_pointer_size or 8) * 8
        self.pads = (("long", pointer_bits), ("int", 32), ("short", 16), ("char", 8))
