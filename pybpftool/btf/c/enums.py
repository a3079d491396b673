"""Enums as C text."""

from __future__ import annotations

from pybpftool.btf.c.declare import DEFERRED, Declarations
from pybpftool.btf.c.numbers import plain_number
from pybpftool.uapi.btf import ENUM64

NEWLINES = ["\n" + "\t" * level for level in range(14)]
# Around what tells how to fill a gap: a type's id where its name is to be, or one of
# these with a value's name or a nameless enum's id and level.
VALUE_GAP, ENUM_GAP = "=", "#"

_LEAST = -(1 << 63)


class EnumTexts(Declarations):
    """Declarations that know how an enum is defined."""

    pads: tuple[tuple[str, int], ...] = ()
    """Types of padding with their bits, the largest first, which is ``long``."""
    _repeated: set[str] = set()
    """Names of values and typedefs that occur more than once."""

    def enum(self, type_id: int, level: int) -> str:
        """The definition of an enum, with an attribute if its size is unusual."""
        # One without a name may be written again and again, its values numbered anew.
        if self._is_deferring and not self.words[self.offsets[type_id] - 1]:
            return f"{DEFERRED}{ENUM_GAP}{type_id}:{level}{DEFERRED}"
        return self._enum(type_id, level)

    def _enum(self, type_id: int, level: int) -> str:
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        size = words[at + 1]
        vlen = info & 0xFFFFFF
        head = f"enum {self.type_name(type_id)}" if words[at - 1] else "enum"
        if not vlen:
            number = plain_number(size, info >> 31)
            if not words[at - 1]:
                return number  # C has no nameless enum without values
            return f"{head} : {number}" if type_id in self.own_tags and number else head
        parts = [head, " {"]
        newline = NEWLINES[min(level + 1, 13)]
        is_enum64 = info >> 24 & 0x7F == ENUM64
        step = 3 if is_enum64 else 2
        flat = words[at + 2 : at + 2 + step * vlen].tolist()
        values = flat[1::step]
        suffix = ""
        if is_enum64:
            values = [low | high << 32 for low, high in zip(values, flat[2::3])]
            suffix = "LL" if info >> 31 else "ULL"
        if info >> 31:
            sign = 1 << (63 if is_enum64 else 31)
            values = [(value ^ sign) - sign for value in values]
        names = self.names
        texts = [names[offset] for offset in flat[::step]]
        if not all(texts):
            texts = [text or names.of("") for text in texts]
        taken = self.ident_names
        if self._is_deferring and words[at - 1]:
            if not self._repeated.isdisjoint(texts):
                repeated = self._repeated
                texts = [
                    f"{DEFERRED}{VALUE_GAP}{text}{DEFERRED}" if text in repeated else text
                    for text in texts
                ]
        else:
            fresh = dict.fromkeys(texts, 1)
            if len(fresh) == vlen and taken.keys().isdisjoint(fresh):
                taken.update(fresh)
            else:
                texts = [*map(self._value_name, texts)]
        pairs: list[object] = [None] * (2 * vlen)
        pairs[::2] = texts
        pairs[1::2] = values
        lines = f"{newline}%s = %d{suffix}," * vlen % tuple(pairs)
        if suffix == "LL" and _LEAST in values:
            # C has no negative constants: the positive one would have too many bits.
            lines = lines.replace(f" = {_LEAST}LL,", f" = ({_LEAST + 1}LL - 1),")
        parts.append(lines)
        parts.append(f"{newline[:-1] if level < 13 else newline}}}")
        parts.append(self._mode(size, values, is_enum64 and any(flat[2::3])))
        return "".join(parts)

    def _mode(self, size: int, values: list[int], is_high: bool) -> str:
        """The attribute of an enum whose values do not tell its size."""
        if size == 1:
            return " __attribute__((mode(byte)))"
        if size == 2:
            return " __attribute__((mode(HI)))"
        if size != 8:
            return ""
        if self.pads[0][1] == 64 and not is_high:
            # No value takes the 64 bits that the enum has.
            return " __attribute__((mode(word)))"
        low, high = min(values), max(values)
        if low >= -(1 << 31) and high < 1 << (31 if low < 0 else 32):
            return " __attribute__((mode(DI)))"
        return ""
