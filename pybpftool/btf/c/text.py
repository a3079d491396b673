"""BTF types as C text: names, declarations, definitions, as libbpf's ``btf_dump.c`` has them.

Names that occur twice are numbered in the order in which they are first written, so
that the text of a type may depend on what was written before. :meth:`Texts.prepare`
writes definitions ahead of their turn, in bulk, and leaves gaps for such names.

Declarations are remembered as formats of the declared name.
"""

from __future__ import annotations

from operator import add, mod

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    CONST,
    ENUM,
    ENUM64,
    ENUMS,
    FUNC_PROTO,
    FWD,
    INT,
    MODIFIERS,
    NUMBERS,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    VOLATILE,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.c.order import Kinds
    from pybpftool.btf.names import Names
    from pybpftool.btf.table import Btf

_QUALIFIERS = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}
_CHAIN = MODIFIERS | {PTR, FUNC_PROTO}
# Kinds that are defined where they are used if they have no name.
_INLINE = COMPOSITE | ENUMS
_NUMBERED = COMPOSITE | ENUMS | {INT}
_PLAIN = _INLINE | NUMBERS | {TYPEDEF}
_POINTERS = frozenset((PTR,))
_TYPEDEFS = frozenset((TYPEDEF,))
_PTR_INFO, _ARRAY_INFO, _CONST_INFO = PTR << 24, ARRAY << 24, CONST << 24
_DERIVED = frozenset((_PTR_INFO, _ARRAY_INFO, _CONST_INFO))

_NEWLINES = ["\n" + "\t" * level for level in range(14)]
_MAX_CHAIN = 1 << 14
_MAX_NESTING = 200
# Padding of more lines than this is the work of a made-up size.
_MAX_PADDING = 1 << 22
# Definitions of more characters than this are the work of types that nest again and again.
_MAX_TEXT = 1 << 22

# Types that compilers know by themselves under names that other compilers lack.
_ALIASES = {
    "__Poly8_t": "unsigned char",
    "__Poly16_t": "unsigned short",
    "__Poly64_t": "unsigned long long",
    "__Poly128_t": "unsigned __int128",
}
# Where a member's name goes; no C name contains it.
_MARK = "\0\0"
# Around what tells how to fill a gap: a type's id where its name is to be, or one of
# these with a value's name or a nameless enum's id and level.
_DEFERRED = "\0"
_VALUE_GAP, _ENUM_GAP = "=", "#"


class _Inline(Exception):
    """A declaration defines something in place, and so is not the same everywhere."""


class _Early(Exception):
    """A text that cannot be written before its turn."""


class _TooLong(FormatError):
    """A definition that would fill the memory."""

    def __init__(self) -> None:
        super().__init__("the BTF's types nest to a definition of endless length")


def _round_up(value: int, step: int) -> int:
    return (value + step - 1) // step * step if step > 0 else value


def _int32(value: int) -> int:
    """``value`` as a C int holds it."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def _bounded(text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise _TooLong
    return text


def _bounded_sum(texts: Sequence[str]) -> None:
    if sum(map(len, texts)) > _MAX_TEXT:
        raise _TooLong


def _repeated(texts: Sequence[str]) -> set[str]:
    """The texts that occur more than once."""
    if len(set(texts)) == len(texts):
        return set()
    seen: set[str] = set()
    add_seen = seen.add
    return {text for text in texts if text in seen or add_seen(text)}


class _Sizes(dict[int, int]):
    """Sizes in bits by type id, 0 where there is none."""

    __slots__ = ("_btf",)

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self._btf = btf
        self[0] = 0

    def __missing__(self, type_id: int) -> int:
        size = self[type_id] = (self._btf.size_of(type_id) or 0) * 8
        return size


class _Aligns(dict[int, int]):
    """Alignments in bits by type id, 0 where there is none."""

    __slots__ = ("_btf", "_depth", "_offsets", "_words")

    def __init__(self, btf: Btf, words: memoryview, offsets: Sequence[int]) -> None:
        super().__init__()
        self._btf = btf
        self._words = words
        self._offsets = offsets
        self._depth = 0
        self[0] = 0

    def __missing__(self, type_id: int) -> int:
        words = self._words
        at = self._offsets[type_id]
        kind = words[at] >> 24 & 0x7F
        align = 0
        if self._depth > _MAX_NESTING:
            raise FormatError(f"the BTF's type [{type_id}] contains itself")
        self._depth += 1
        try:
            if kind in COMPOSITE:
                align = self._composite(at)
            elif kind == TYPEDEF or kind in MODIFIERS:
                align = self[words[at + 1]]
            elif kind == ARRAY:
                align = self[words[at + 2]]
        finally:
            self._depth -= 1
        # What is rare is looked at piece by piece.
        self[type_id] = align or self._btf.align_of(type_id) * 8
        return self[type_id]

    def _composite(self, at: int) -> int:
        """A struct's alignment by those of its members; 0 if any has none."""
        words = self._words
        end = at + 2 + 3 * (words[at] & 0xFFFFFF)
        aligns = [*map(self.__getitem__, words[at + 3 : end : 3].tolist())]
        align = min(aligns, default=8) and max(aligns, default=8)
        if align:
            places = words[at + 4 : end : 3].tolist()
            if words[at] >> 31:
                # Bit-fields may be anywhere.
                places = [0 if place >> 24 else place for place in places]
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
        if 0 in aligns:
            # A member without a size: libbpf gives up, but still looks for misplaced ones.
            is_packed = self._is_packed(aligns, places, widths, size)
            return self[type_id], is_packed
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


class _Formats(dict[int, str]):
    """Declarations as formats of the name, by type id; raises :class:`_Inline`.

    The frequent ones are put together here, what is rare is the work of
    :meth:`Texts.format`.
    """

    __slots__ = ("_depth", "_texts", "longest", "nameless")

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._depth = 0
        self.longest = 0
        self[0] = "void %s"
        self.nameless = _Nameless(self)

    def __missing__(self, type_id: int) -> str:
        texts = self._texts
        words = texts.words
        at = texts.offsets[type_id]
        info = words[at]
        if info in _DERIVED and self._depth < _MAX_NESTING:
            # One lookup leads to the next without a Python call that is counted.
            self._depth += 1
            try:
                found = self._derived(info, words, at)
            finally:
                self._depth -= 1
        else:
            found = ""
        found = _bounded(found or texts.format(type_id))
        self.longest = max(self.longest, len(found))
        self[type_id] = found
        return found

    def _derived(self, info: int, words: memoryview, at: int) -> str:
        """A pointer, array or constant of something simple; empty if it is not."""
        target = words[at + 2] if info == _ARRAY_INFO else words[at + 1]
        offsets = self._texts.offsets
        target_info = words[offsets[target]] if target else 0
        kind = target_info >> 24 & 0x7F
        if info == _CONST_INFO:
            if not target or kind in _PLAIN:
                inner = self[target]
                return f"const {inner}" if inner[-3:] == " %s" else ""
            return ""
        if kind == FUNC_PROTO:
            return self._function(words, offsets[target]) if info == _PTR_INFO else ""
        inner = self[target]
        if inner[-3:] != " %s" and inner[-3:] != "*%s":
            return ""
        if info == _PTR_INFO:
            return f"{inner[:-2]}*%s"
        return f"{inner}[{words[at + 4]}]"

    def _function(self, words: memoryview, at: int) -> str:
        """A pointer to a function of parameters without names."""
        vlen = words[at] & 0xFFFFFF
        flat = words[at + 2 : at + 2 + 2 * vlen].tolist()
        if any(flat[::2]):
            return ""
        result = self[words[at + 1]]
        if result[-3:] != " %s" and result[-3:] != "*%s":
            # The function's name stands amid what it returns.
            return ""
        nameless = self.nameless
        result = nameless[words[at + 1]]
        types = flat[1::2]
        if self.longest * vlen > _MAX_TEXT:
            _bounded_sum([*map(nameless.__getitem__, types)])
        if vlen and not types[-1]:
            if vlen == 1:
                return f"{result} (*%s)(void)"
            types.pop()
            text = ", ".join([*map(nameless.__getitem__, types), "..."])
        else:
            text = ", ".join(map(nameless.__getitem__, types)) or "void"
        if "%" in text or "%" in result:
            return ""
        return f"{result} (*%s)({text})"


class _Nameless(dict[int, str]):
    """Declarations without a name, by type id; raises :class:`_Inline`."""

    __slots__ = ("_formats",)

    def __init__(self, formats: _Formats) -> None:
        super().__init__()
        self._formats = formats

    def __missing__(self, type_id: int) -> str:
        text = self._formats[type_id]
        if "%%" not in text and text[-3:] == " %s":
            text = text[:-3]
        elif "%%" not in text and text[-3:] == "*%s":
            text = text[:-2]
        else:
            text = self._formats._texts.chain(type_id, "", 0)
        self[type_id] = text
        return text


class Texts:
    """The texts of a dump's steps (:mod:`corder`), to be asked for in their order.

    :param names: the names to use; a table of all if everything is dumped.
    """

    def __init__(self, btf: Btf, words: memoryview, offsets: Sequence[int], names: Names) -> None:
        self.names = names
        self.words = words
        self.offsets = offsets
        self.resolved: dict[int, str] = {}
        self.type_names: dict[str, int] = {}
        self.ident_names: dict[str, int] = {}
        self.sizes = _Sizes(btf)
        self.aligns = _Aligns(btf, words, offsets)
        self.formats = _Formats(self)
        self.prepared: dict[int, str] = {}
        self._defining: dict[int, bool] = {}
        self._name_of = names.__getitem__
        self._format_of = self.formats.__getitem__
        self._align_of = self.aligns.__getitem__
        self._size_of = self.sizes.__getitem__
        pointer_bits = (btf.declared_pointer_size or 8) * 8
        self._pointer_bits = btf.pointer_size * 8
        self.pads = (("long", pointer_bits), ("int", 32), ("short", 16), ("char", 8))
        # Whether names that are not resolved get gaps, and whether it is not yet the
        # turn of what is written.
        self._is_deferring = self._is_early = False
        self._repeated: set[str] = set()

    def of(self, steps: Sequence[int]) -> str:
        """The text of some steps."""
        parts = [*map(self.prepared.get, steps)]
        settled = ""
        begin = 0
        if None in parts:
            for index, part in enumerate(parts):
                if part is None:
                    step = steps[index]
                    if step & 1:
                        parts[index] = f"{self.struct_head(step >> 1)};\n\n"
                    else:
                        # It may number names, which those before it come before.
                        settled += self.settled("".join(parts[begin:index]))  # type: ignore[arg-type]
                        parts[index] = self._step(step)
                        begin = index
        text = "".join(parts[begin:])  # type: ignore[arg-type]
        return settled + self.settled(text)

    def _step(self, step: int) -> str:
        type_id = step >> 1
        info = self.words[self.offsets[type_id]]
        kind = info >> 24 & 0x7F
        if kind in COMPOSITE:
            return f"{self.struct(type_id, 0)};\n\n"
        if kind == TYPEDEF:
            return self._typedef(type_id)
        if kind in ENUMS:
            return f"{self.enum(type_id, 0)};\n\n"
        if kind == FWD:
            return f"{self.forward_text(type_id, info)};\n\n"
        name = self.settled(self.type_name(type_id))
        return f"typedef {_ALIASES[name]} {name};\n\n" if name in _ALIASES else ""

    def prepare(self, kinds: Kinds, structs: Sequence[int]) -> None:
        """Write definitions ahead of their turn: these structs, all typedefs and enums."""
        self._fill_sizes(kinds)
        self._resolve_unique(kinds)
        self.prepared.update(self.early(structs))
        self._is_early = True
        for type_id in kinds.of(ENUMS | _TYPEDEFS):
            try:
                self.prepared[type_id << 1] = self._step(type_id << 1)
            except _TooLong:
                break
            except (_Early, FormatError, IndexError, RecursionError):
                pass  # when it is its turn
        self._is_early = False

    def early(self, structs: Sequence[int]) -> dict[int, str]:
        """The definitions of some structs by step, with gaps for names that are not resolved."""
        self._is_deferring = True
        found = {}
        struct = self.struct
        for type_id in structs:
            try:
                found[type_id << 1] = f"{struct(type_id, 0)};\n\n"
            except _TooLong:
                break  # one such is enough
            except (FormatError, IndexError, RecursionError):
                pass
        return found

    def settled(self, text: str) -> str:
        """A text with its gaps filled: names in the order in which they are written."""
        if _DEFERRED not in text:
            return text
        parts = text.split(_DEFERRED)
        for index in range(1, len(parts), 2):
            what = parts[index]
            if what[0] == _VALUE_GAP:
                parts[index] = self._value_name(what[1:])
            elif what[0] == _ENUM_GAP:
                type_id, level = map(int, what[1:].split(":"))
                parts[index] = self._enum(type_id, level)
            else:
                type_id = int(what)
                parts[index] = self.resolved.get(type_id) or self._number(type_id)
        return "".join(parts)

    def _fill_sizes(self, kinds: Kinds) -> None:
        """Note the sizes and alignments that types have by themselves."""
        words = self.words
        offsets = self.offsets
        bits = self._pointer_bits
        pointers = kinds.of(_POINTERS)
        self.sizes.update(dict.fromkeys(pointers, bits))
        self.aligns.update(dict.fromkeys(pointers, bits))
        scalars = kinds.of(NUMBERS | ENUMS)
        sizes = [words[offsets[type_id] + 1] * 8 for type_id in scalars]
        self.sizes.update(zip(scalars, sizes, strict=True))
        self.aligns.update(zip(scalars, [min(size, bits) for size in sizes], strict=True))
        composites = kinds.of(COMPOSITE)
        sizes = [words[offsets[type_id] + 1] * 8 for type_id in composites]
        self.sizes.update(zip(composites, sizes, strict=True))

    def _resolve_unique(self, kinds: Kinds) -> None:
        """Give all types their names that share them with no other."""
        words = self.words
        offsets = self.offsets
        names = self.names
        enums = kinds.of(ENUMS)
        numbered = [
            type_id
            for type_id in kinds.of(_NUMBERED)
            if words[offsets[type_id] - 1] and words[offsets[type_id]] != ENUM << 24
        ]
        texts = [names[words[offsets[type_id] - 1]] for type_id in numbered]
        self._resolve(numbered, texts, _repeated(texts))
        typedefs = [type_id for type_id in kinds.of(_TYPEDEFS) if words[offsets[type_id] - 1]]
        texts = [names[words[offsets[type_id] - 1]] for type_id in typedefs]
        values: list[int] = []
        for type_id in enums:
            at = offsets[type_id]
            info = words[at]
            size = 2 if info >> 24 & 0x7F == ENUM else 3
            values += words[at + 2 : at + 2 + size * (info & 0xFFFFFF) : size].tolist()
        self._repeated = _repeated([*texts, *map(names.__getitem__, values)])
        self._resolve(typedefs, texts, self._repeated)

    def _resolve(self, ids: list[int], texts: list[str], repeated: set[str]) -> None:
        if repeated:
            pairs = zip(ids, texts, strict=True)
            self.resolved.update([pair for pair in pairs if pair[1] not in repeated])
        else:
            self.resolved.update(zip(ids, texts, strict=True))

    def _typedef(self, type_id: int) -> str:
        at = self.offsets[type_id]
        target = self.words[at + 1]
        offset = self.words[at - 1]
        raw = self.names[offset] if offset else ""
        # Compilers have this one built in.
        if raw == "__builtin_va_list":
            return ""
        # The name counts as written before what it stands for.
        name = self.ident_name(type_id)
        if _DEFERRED in name:
            if self._is_early:
                raise _Early
            name = self.settled(name)
        if target == 0 and name == "__gnuc_va_list":
            # Old GCC has it as a typedef of void.
            return "typedef __builtin_va_list __gnuc_va_list;\n\n"
        return f"typedef {self.declaration(target, name, 0)};\n\n"

    def type_name(self, type_id: int) -> str:
        """A struct's, union's or enum's name, numbered if others had it before."""
        return self.resolved.get(type_id) or self._name(type_id)

    def ident_name(self, type_id: int) -> str:
        """A typedef's name, numbered likewise."""
        return self.resolved.get(type_id) or self._name(type_id)

    def _name(self, type_id: int) -> str:
        at = self.offsets[type_id]
        offset = self.words[at - 1]
        if not offset:
            return ""
        info = self.words[at]
        kind = info >> 24 & 0x7F
        if kind == FWD or (kind == ENUM and not info & 0xFFFFFF):
            name = self.resolved[type_id] = self.names[offset]
            return name
        if self._is_deferring:
            return f"{_DEFERRED}{type_id}{_DEFERRED}"
        return self._number(type_id)

    def _number(self, type_id: int) -> str:
        at = self.offsets[type_id]
        name = self.names[self.words[at - 1]]
        is_typedef = self.words[at] >> 24 & 0x7F == TYPEDEF
        taken = self.ident_names if is_typedef else self.type_names
        count = taken[name] = taken.get(name, 0) + 1
        if count > 1:
            name = f"{name}___{count}"[:255]
        self.resolved[type_id] = name
        return name

    def _value_name(self, name: str) -> str:
        """An enum's value, numbered each time that it is written again."""
        count = self.ident_names[name] = self.ident_names.get(name, 0) + 1
        return f"{name}___{count}" if count > 1 else name

    def struct_head(self, type_id: int) -> str:
        at = self.offsets[type_id]
        keyword = "struct" if self.words[at] >> 24 & 0x7F == STRUCT else "union"
        return f"{keyword} {self.type_name(type_id)}" if self.words[at - 1] else keyword

    def forward_text(self, type_id: int, info: int) -> str:
        return f"{'union' if info >> 31 else 'struct'} {self.type_name(type_id)}"

    def struct(self, type_id: int, level: int) -> str:
        """The definition of a struct or union."""
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        vlen = info & 0xFFFFFF
        head = self.struct_head(type_id)
        if vlen and not info >> 31:
            text = self._plain(type_id, at, info, level)
            if text is not None:
                return head + text
        size = words[at + 1]
        is_struct = info >> 24 & 0x7F == STRUCT
        flat = words[at + 2 : at + 2 + 3 * vlen].tolist()
        places = flat[2::3]
        widths: Sequence[int] = ()
        if info >> 31:
            widths = [place >> 24 for place in places]
            places = [place & 0xFFFFFF for place in places]
        parts = [head, " {"]
        align, packed = self.aligns.of_struct(type_id, flat[1::3], places, widths, size)
        packed = packed and is_struct
        newline = _NEWLINES[min(level + 1, 13)]
        end = self._members(parts, flat, widths, packed, newline, level + 1)
        if is_struct:
            whole = _int32(size * 8)
            if end < whole:
                parts.append(self.padding(end, whole, align, False, newline))
        if vlen or size:
            parts.append(f"{newline[:-1] if level < 13 else newline}}}")
        else:
            parts.append("}")
        if packed:
            parts.append(" __attribute__((packed))")
        return "".join(parts)

    def _plain(self, type_id: int, at: int, info: int, level: int) -> str | None:
        """What follows a struct's name, if nothing in it needs a closer look.

        That is where no member is a bit-field or without a size. Otherwise None.
        """
        words = self.words
        flat = words[at + 2 : at + 2 + 3 * (info & 0xFFFFFF)].tolist()
        types = flat[1::3]
        places = flat[2::3]
        aligns = [*map(self._align_of, types)]
        align = max(aligns)
        whole = words[at + 1] * 8
        try:
            packed = any(map(mod, places, aligns)) or whole % align != 0
        except ZeroDivisionError:
            return None
        if packed:
            align = 8
        starts = places
        end = whole
        if info >> 24 == STRUCT:
            starts = [0, *map(add, places, map(self._size_of, types))]
            end = starts.pop()
            if (end | whole) >> 31:
                return None
            if starts != places and (max(starts) >> 31 or max(places) >> 31):
                return None
        elif any(places):
            return None
        # Nothing has been written before this place: names are numbered as they are.
        names = tuple(map(self._name_of, flat[::3]))
        try:
            lines = [*map(self._format_of, types)]
            is_format = all(names)
        except _Inline:
            is_format = False
        if not is_format:
            lines = self._lines(types, names, level + 1)
        elif self.formats.longest * len(lines) > _MAX_TEXT:
            _bounded_sum(lines)
        first = newline = _NEWLINES[min(level + 1, 13)]
        if starts != places:
            for index, (start, place) in enumerate(zip(starts, places, strict=True)):
                # A compiler leaves by itself what a member's alignment asks for.
                if start < place and (packed or place - start >= aligns[index]):
                    gap = self.padding(start, place, 8 if packed else aligns[index], False, newline)
                    if index:
                        lines[index - 1] += f";{gap[:-1]}"
                    else:
                        first = gap + newline
        last = self.padding(end, whole, align, False, newline) if end < whole else ""
        self.aligns[type_id] = align
        body = first + f";{newline}".join(lines)
        if is_format:
            body %= names
        close = newline[:-1] if level < 13 else newline
        # Upstream leaves unions unmarked.
        mark = " __attribute__((packed))" if packed and info >> 24 == STRUCT else ""
        return f" {{{body};{last}{close}}}{mark}"

    def _lines(self, types: list[int], names: Sequence[str], level: int) -> list[str]:
        lines = []
        length = 0
        for member, name in zip(types, names, strict=True):
            line = self.declaration(member, name, level)
            lines.append(line)
            length += len(line)
            if length > _MAX_TEXT:
                raise _TooLong
        return lines

    def format(self, type_id: int) -> str:
        """A declaration with a type as a format of the name; raises :class:`_Inline`."""
        words = self.words
        at = self.offsets[type_id]
        kind = words[at] >> 24 & 0x7F
        offset = words[at - 1]
        if kind in COMPOSITE and offset:
            text = f"{self.struct_head(type_id)} {_MARK}"
        elif kind == TYPEDEF:
            text = f"{self.ident_name(type_id)} {_MARK}"
        elif kind in NUMBERS:
            text = f"{self.names[offset]} {_MARK}"
        elif kind in ENUMS and offset:
            text = f"enum {self.type_name(type_id)} {_MARK}"
        else:
            if self._defines(type_id):
                raise _Inline
            text = self.chain(type_id, _MARK, 0)
        if "%" in text:
            text = text.replace("%", "%%")
        before, mark, after = text.partition(_MARK)
        # What does not end in something that can be declared has no name.
        return f"{before}%s{after}" if mark else f"{text}%.0s"

    def _links(self, type_id: int) -> list[int]:
        """The chain of types from a declaration's own to the one that is written first."""
        words = self.words
        offsets = self.offsets
        chain = []
        target = type_id
        while True:
            chain.append(target)
            if not target:
                break
            at = offsets[target]
            kind = words[at] >> 24 & 0x7F
            if kind in _CHAIN:
                target = words[at + 1]
            elif kind == ARRAY:
                target = words[at + 2]
            else:
                break
            if len(chain) > _MAX_CHAIN:
                raise FormatError(f"type [{type_id}] is a chain without end")
        return chain

    def declaration(self, type_id: int, name: str, level: int) -> str:
        """C's declaration of ``name`` (which may be empty) with a type."""
        try:
            return self.formats[type_id] % name if name else self.formats.nameless[type_id]
        except _Inline:
            return self.chain(type_id, name, level)

    def chain(self, type_id: int, name: str, level: int) -> str:
        """As :meth:`declaration`, link by link, for whatever a type may be."""
        return self._chain(self._links(type_id), name, level)

    def _defines(self, type_id: int) -> bool:
        """Whether a declaration with this type defines something without a name."""
        known = self._defining.get(type_id)
        if known is None:
            # A type that leads to itself cannot be declared at once.
            self._defining[type_id] = True
            known = self._defining[type_id] = self._finds_definition(type_id)
        return known

    def _finds_definition(self, type_id: int) -> bool:
        words = self.words
        for _ in range(_MAX_CHAIN):
            if not type_id:
                return False
            at = self.offsets[type_id]
            info = words[at]
            kind = info >> 24 & 0x7F
            if kind == ARRAY:
                type_id = words[at + 2]
            elif kind == FUNC_PROTO:
                for param in words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist():
                    if param not in self.formats and self._defines(param):
                        return True
                type_id = words[at + 1]
            elif kind in _CHAIN:
                type_id = words[at + 1]
            else:
                return kind in _INLINE and not words[at - 1]
        return True

    def _members(
        self,
        parts: list[str],
        flat: list[int],
        widths: Sequence[int],
        packed: bool,
        newline: str,
        level: int,
    ) -> int:
        """Write members of any form; returns where, in bits, the last of them ends."""
        types = flat[1::3]
        if widths:
            places = [place & 0xFFFFFF for place in flat[2::3]]
        else:
            places = [*map(_int32, flat[2::3])]
            widths = [0] * len(types)
        known = self.formats.get
        sizes = self.sizes
        end = 0
        length = 0
        last_width = 0
        for member, name, place, width in zip(
            types, map(self._name_of, flat[::3]), places, widths, strict=True
        ):
            if end < place:
                align = 8 if packed else self.aligns[member]
                is_inside = last_width != 0 and width != 0
                parts.append(self.padding(end, place, align, is_inside, newline))
            form = known(member) if name else None
            line = self.declaration(member, name, level) if form is None else form % name
            length += len(line)
            if length > _MAX_TEXT:
                raise _TooLong
            if width:
                parts += (newline, line, f": {width};")
                end = place + width
            else:
                parts += (newline, line, ";")
                end = place + sizes[member]
                if end >> 31:
                    end = _int32(end)
            last_width = width
        return end

    def padding(self, start: int, end: int, align: int, in_bits: bool, newline: str) -> str:
        """Unnamed bit-fields that make a compiler put what follows at bit ``end``.

        ``align`` is the following member's in bits; with ``in_bits`` the gap lies
        between two bit-fields, where a compiler aligns nothing by itself.
        """
        parts: list[str] = []
        # The largest type of which a border lies in the gap; a char's always does.
        name, bits = next(
            (pad for pad in self.pads if _round_up(start, pad[1]) <= end), self.pads[-1]
        )
        border = _round_up(start, bits)
        if start < border <= end:
            # Will the compiler get to the border by itself? Not inside bit-fields,
            # not if the next member's own alignment leads elsewhere, and not if the
            # padding that is to follow fits into the hole before the border.
            if in_bits:
                parts.append(f"{newline}{name}: {border - start};")
            elif (border == end and _round_up(start, align) != border) or (
                border != end and end - border <= border - start
            ):
                parts.append(f"{newline}{name}: 0;")
            start = border
        count, rest = divmod(end - start, bits)
        if count > _MAX_PADDING:
            raise FormatError(f"a struct has a gap of {(end - start) // 8} bytes")
        parts.append(f"{newline}{name}: {bits};" * count)
        if rest:
            for name, bits in reversed(self.pads):
                if bits >= rest:
                    parts.append(f"{newline}{name}: {rest};")
                    break
        return "".join(parts)

    def enum(self, type_id: int, level: int) -> str:
        """The definition of an enum, with an attribute if its size is unusual."""
        # One without a name may be written again and again, its values numbered anew.
        if self._is_deferring and not self.words[self.offsets[type_id] - 1]:
            return f"{_DEFERRED}{_ENUM_GAP}{type_id}:{level}{_DEFERRED}"
        return self._enum(type_id, level)

    def _enum(self, type_id: int, level: int) -> str:
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        size = words[at + 1]
        vlen = info & 0xFFFFFF
        head = f"enum {self.type_name(type_id)}" if words[at - 1] else "enum"
        if not vlen:
            return head
        parts = [head, " {"]
        newline = _NEWLINES[min(level + 1, 13)]
        is_enum64 = info >> 24 & 0x7F == ENUM64
        step = 3 if is_enum64 else 2
        flat = words[at + 2 : at + 2 + step * vlen].tolist()
        values = flat[1::step]
        suffix = ""
        if is_enum64:
            values = [low | high << 32 for low, high in zip(values, flat[2::3], strict=True)]
            suffix = "LL" if info >> 31 else "ULL"
        if info >> 31:
            sign = 1 << (63 if is_enum64 else 31)
            values = [(value ^ sign) - sign for value in values]
        names = self.names
        texts = [names[offset] for offset in flat[::step]]
        taken = self.ident_names
        if self._is_deferring and words[at - 1]:
            if not self._repeated.isdisjoint(texts):
                repeated = self._repeated
                texts = [
                    f"{_DEFERRED}{_VALUE_GAP}{text}{_DEFERRED}" if text in repeated else text
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
        parts.append(f"{newline}%s = %d{suffix}," * vlen % tuple(pairs))
        parts.append(f"{newline[:-1] if level < 13 else newline}}}")
        if size == 1:
            parts.append(" __attribute__((mode(byte)))")
        elif size == 8 and self.pads[0][1] == 64 and not (is_enum64 and any(flat[2::3])):
            # No value takes the 64 bits that the enum has.
            parts.append(" __attribute__((mode(word)))")
        return "".join(parts)

    def _qualifiers(self, chain: list[int]) -> str:
        """Take the qualifiers that end the chain; they come before what they qualify."""
        text = ""
        while chain:
            kind = self._kind(chain[-1])
            if kind not in _QUALIFIERS:
                break
            text += _QUALIFIERS[kind] + " "
            chain.pop()
        return text

    def _kind(self, type_id: int) -> int:
        return self.words[self.offsets[type_id]] >> 24 & 0x7F if type_id else 0

    def _drop_modifiers(self, chain: list[int]) -> None:
        # GCC repeats an element's qualifiers on the array, and marks functions that
        # do not return as volatile.
        while chain and self._kind(chain[-1]) in MODIFIERS:
            chain.pop()

    def _chain(self, chain: list[int], name: str, level: int) -> str:
        """The text of a chain of types that ends in the one declared first in C."""
        words = self.words
        parts: list[str] = []
        after_pointer = True  # a single pointer in parentheses has no blank before it
        while chain:
            type_id = chain.pop()
            if not type_id:
                parts.append(self._qualifiers(chain) + "void")
                after_pointer = False
                continue
            at = self.offsets[type_id]
            info = words[at]
            kind = info >> 24 & 0x7F
            if kind == PTR:
                parts.append("*" if after_pointer else " *")
                after_pointer = True
                continue
            if kind in NUMBERS:
                parts.append(self._qualifiers(chain) + self.names[words[at - 1]])
            elif kind in COMPOSITE:
                parts.append(self._qualifiers(chain))
                if words[at - 1]:
                    parts.append(self.struct_head(type_id))
                else:
                    parts.append(self.struct(type_id, level))
            elif kind in ENUMS:
                parts.append(self._qualifiers(chain))
                if words[at - 1]:
                    parts.append(f"enum {self.type_name(type_id)}")
                else:
                    parts.append(self.enum(type_id, level))
            elif kind == FWD:
                parts.append(self._qualifiers(chain) + self.forward_text(type_id, info))
            elif kind == TYPEDEF:
                parts.append(self._qualifiers(chain) + self.ident_name(type_id))
            elif kind in _QUALIFIERS:
                parts.append(f" {_QUALIFIERS[kind]}")
            elif kind == TYPE_TAG:
                parts.append(self._qualifiers(chain))
                tag = self.names[words[at - 1]]
                if info >> 31:
                    parts.append(f" __attribute__(({tag}))")
                else:
                    parts.append(f' __attribute__((btf_type_tag("{tag}")))')
            elif kind == ARRAY:
                parts.append(self._array(chain, name, level, words[at + 4], after_pointer))
                return "".join(parts)
            elif kind == FUNC_PROTO:
                parts.append(self._function(chain, name, level, at, after_pointer))
                return "".join(parts)
            else:
                return "".join(parts)
            after_pointer = False
        parts.append(f" {name}" if name and not after_pointer else name)
        return "".join(parts)

    def _array(
        self, chain: list[int], name: str, level: int, count: int, after_pointer: bool
    ) -> str:
        self._drop_modifiers(chain)
        blank = " " if name and not after_pointer else ""
        if not chain:
            return f"{blank}{name}[{count}]"
        inner_is_array = self._kind(chain[-1]) == ARRAY
        inner = self._chain(chain, name, level)
        return f"{blank}{inner}[{count}]" if inner_is_array else f"{blank}({inner})[{count}]"

    def _function(
        self, chain: list[int], name: str, level: int, at: int, after_pointer: bool
    ) -> str:
        words = self.words
        self._drop_modifiers(chain)
        if chain:
            parts = [f" ({self._chain(chain, name, level)})"]
        else:
            parts = [f" {name}" if name and not after_pointer else name]
        vlen = words[at] & 0xFFFFFF
        flat = words[at + 2 : at + 2 + 2 * vlen].tolist()
        if not vlen or (vlen == 1 and not flat[1]):
            parts.append("(void)")
            return "".join(parts)
        params = []
        length = 0
        for index in range(0, 2 * vlen, 2):
            type_id = flat[index + 1]
            if not type_id and index == 2 * vlen - 2:
                params.append("...")
                break
            params.append(self.declaration(type_id, self.names[flat[index]], level))
            length += len(params[-1])
            if length > _MAX_TEXT:
                raise _TooLong
        parts.append(f"({', '.join(params)})")
        return _bounded("".join(parts))
