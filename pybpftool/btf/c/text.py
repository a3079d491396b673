"""BTF types as C text: definitions, as libbpf's ``btf_dump.c`` has them.

Names that occur twice are numbered in the order in which they are first written, so
that the text of a type may depend on what was written before. :meth:`Texts.prepare`
writes definitions ahead of their turn, in bulk, and leaves gaps for such names.
"""

from __future__ import annotations

from _operator import add, gt, mod  # without the Python of operator
from itertools import repeat

from pybpftool.btf.c.declare import DEFERRED, MAX_TEXT, Early, Inline, TooLong, bounded_sum
from pybpftool.btf.c.enums import ENUM_GAP, NEWLINES, VALUE_GAP
from pybpftool.btf.c.members import (
    Members,
    Unusual,
    conflicting,
    contained,
    contained_in,
    enums_to_complete,
)
from pybpftool.btf.c.ordinary import definitions
from pybpftool.btf.c.sizes import NUMBER_SIZES, int32, padding
from pybpftool.btf.c.wide import ExactTexts
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    COMPOSITE,
    ENUM,
    ENUMS,
    FWD,
    INT,
    NUMBERS,
    PTR,
    STRUCT,
    TYPEDEF,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybpftool.btf.c.identifiers import Identifiers
    from pybpftool.btf.c.order import Kinds
    from pybpftool.btf.table import Btf

_NUMBERED = COMPOSITE | ENUMS | {INT}
_POINTERS = frozenset((PTR,))
_TYPEDEFS = frozenset((TYPEDEF,))
_INTS = frozenset((INT,))
_FORWARD = ENUMS | {FWD}
_TAGS = _FORWARD | COMPOSITE
_SCALAR_BITS = frozenset(8 * size for size in NUMBER_SIZES)
# The BTF of so few words may be made by hand: every struct is looked at.
_FEW_WORDS = 1 << 17


def _repeated(texts: Sequence[str]) -> set[str]:
    """The texts that occur more than once, and the empty one."""
    if len(set(texts)) == len(texts):
        return set() if all(texts) else {""}
    seen: set[str] = set()
    add_seen = seen.add
    found = {text for text in texts if text in seen or add_seen(text)}
    if "" in seen:
        found.add("")
    return found


class Texts(ExactTexts):
    """The texts of a dump's steps (:mod:`order`), to be asked for in their order.

    :param names: the names to use; a table of all if everything is dumped.
    """

    def __init__(
        self, btf: Btf, words: memoryview, offsets: Sequence[int], names: Identifiers
    ) -> None:
        super().__init__(btf, words, offsets, names)
        self.prepared: dict[int, str] = {}
        self._name_of = names.__getitem__
        self._format_of = self.formats.__getitem__
        self._align_of = self.aligns.__getitem__
        self._size_of = self.sizes.__getitem__
        self._unusual = Unusual(words, offsets)
        self._pointer_bits = btf.pointer_size * 8
        self._is_early = False  # whether it is not yet the turn of what is written

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
                        settled += self.settled("".join(parts[begin:index]))  # type: ignore[arg-type]  # texts
                        parts[index] = self._step(step)
                        begin = index
        text = "".join(parts[begin:])  # type: ignore[arg-type]  # texts
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
            if not (info & 0xFFFFFF or self.words[self.offsets[type_id] - 1]):
                return ""
            return f"{self.enum(type_id, 0)};\n\n"
        if kind == FWD:
            return f"{self.forward_text(type_id, info)};\n\n"
        if kind == INT:
            self.settled(self.type_name(type_id))  # which counts it
        return self.numbers.definition(type_id)

    def prepare(self, kinds: Kinds, structs: Sequence[int]) -> None:
        """Write definitions ahead of their turn: these structs, all typedefs and enums."""
        self.is_careful = self.names.is_foreign or len(self.words) < _FEW_WORDS
        self._fill_sizes(kinds)
        self.wide.begin(kinds)
        if not self.wide.isdisjoint(kinds.of(ENUMS)):
            types = contained(self.words, self.offsets, kinds)
            self.own_tags |= enums_to_complete(self.words, self.offsets, types)
        self._resolve_unique(kinds)
        self.prepared.update(self.early(structs))
        self._is_early = True
        for type_id in kinds.of(ENUMS | _TYPEDEFS):
            try:
                self.prepared[type_id << 1] = self._step(type_id << 1)
            except TooLong:
                break
            except (Early, FormatError, IndexError, RecursionError):
                pass  # when it is its turn
        self._is_early = False

    def prepare_for(self, steps: Sequence[int]) -> None:
        """Find what some steps, of a dump of not all, need to know of each other."""
        words, offsets = self.words, self.offsets
        kind_of = {step >> 1: words[offsets[step >> 1]] >> 24 & 0x7F for step in steps}
        tags = [id for id, kind in kind_of.items() if kind in _TAGS and words[offsets[id] - 1]]
        structs = [id for id, kind in kind_of.items() if kind in COMPOSITE]
        types = contained_in(words, offsets, structs)
        self.own_tags |= enums_to_complete(words, offsets, types)
        self.own_tags |= conflicting(words, offsets, self.names, tags)

    def early(self, structs: Sequence[int]) -> dict[int, str]:
        """The definitions of some structs by step, with gaps for names that are not resolved."""
        self._is_deferring = True
        found = {}
        struct = self.struct
        known = {} if self.is_careful else definitions(self, structs)
        for type_id in structs:
            try:
                found[type_id << 1] = f"{known.get(type_id) or struct(type_id, 0)};\n\n"
            except TooLong:
                break  # one such is enough
            except (FormatError, IndexError, RecursionError):
                pass
        return found

    def settled(self, text: str) -> str:
        """A text with its gaps filled: names in the order in which they are written."""
        if DEFERRED not in text:
            return text
        parts = text.split(DEFERRED)
        for index in range(1, len(parts), 2):
            what = parts[index]
            if what[0] == VALUE_GAP:
                parts[index] = self._value_name(what[1:])
            elif what[0] == ENUM_GAP:
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
        self.sizes.update(zip(scalars, sizes))
        self.aligns.update(
            zip(scalars, [min(size, bits) if size in _SCALAR_BITS else 8 for size in sizes])
        )
        composites = kinds.of(COMPOSITE)
        sizes = [words[offsets[type_id] + 1] * 8 for type_id in composites]
        self.sizes.update(zip(composites, sizes))

    def _resolve_unique(self, kinds: Kinds) -> None:
        """Give all types their names that share them with no other."""
        words = self.words
        offsets = self.offsets
        names = self.names
        enums = kinds.of(ENUMS)
        numbered = [
            type_id
            for type_id in kinds.of(_NUMBERED)
            if words[offsets[type_id] - 1]
            and (words[offsets[type_id]] & 0x7FFFFFFF != ENUM << 24 or type_id in self.own_tags)
        ]
        # A number's name is not to be one of C.
        number_names = {id: names.true[words[offsets[id] - 1]] for id in kinds.of(_INTS)}
        forward = [
            type_id
            for type_id in kinds.of(_FORWARD)
            if words[offsets[type_id]] & 0x7F000000 == FWD << 24
            or not words[offsets[type_id]] & 0xFFFFFF
        ]
        if forward:
            self.own_tags |= conflicting(words, offsets, names, [*forward, *numbered])
            numbered += self.own_tags.difference(numbered)
        texts = [number_names.get(id) or names[words[offsets[id] - 1]] for id in numbered]
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
        if "" in self._repeated:
            self._repeated.add(names.of(""))

    def _resolve(self, ids: list[int], texts: list[str], repeated: set[str]) -> None:
        if repeated:
            pairs = zip(ids, texts)
            self.resolved.update([pair for pair in pairs if pair[1] not in repeated])
        else:
            self.resolved.update(zip(ids, texts))

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
        if DEFERRED in name:
            if self._is_early:
                raise Early
            name = self.settled(name)
        if target == 0 and name == "__gnuc_va_list":
            # Old GCC has it as a typedef of void.
            return "typedef __builtin_va_list __gnuc_va_list;\n\n"
        return f"typedef {self.declaration(target, name, 0)};\n\n"

    def struct(self, type_id: int, level: int) -> str:
        """The definition of a struct or union."""
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        vlen = info & 0xFFFFFF
        head = self.struct_head(type_id)
        if vlen and not info >> 31 and (not self.is_careful or self._is_ordinary(at, vlen)):
            text = self._plain(type_id, at, info, level)
            if text is not None:
                return head + text
        size = words[at + 1]
        is_struct = info >> 24 & 0x7F == STRUCT
        members = Members(self, at)
        if members.is_wide:
            self.wide.add(type_id)
        types, places, widths = members.types, members.places, members.widths
        parts = [head, " {"]
        align, packed = self.aligns.of_struct(type_id, types, places, widths, size)
        from pybpftool.btf.c import exact  # what is plain has no need of it

        # pahole knows no members of transparent unions, which are only passed to functions.
        is_transparent = not (vlen or is_struct or level or words[at - 1])
        if not is_transparent and (
            members.bases
            or not exact.is_kept(self, types, places, widths, size * 8, packed, is_struct)
        ):
            return head + exact.body(self, type_id, level, members)
        packed = packed and is_struct
        newline = NEWLINES[min(level + 1, 13)]
        end = self._members(parts, members, packed, newline, level + 1)
        parts.append(members.comment(newline))
        if is_struct:
            whole = int32(size * 8)
            if end < whole:
                parts.append(padding(self.pads, end, whole, align, False, newline))
        if vlen or size:
            parts.append(f"{newline[:-1] if level < 13 else newline}}}")
        else:
            parts.append("}")
        if packed:
            parts.append(" __attribute__((packed))")
        return "".join(parts)

    def _is_ordinary(self, at: int, vlen: int) -> bool:
        """Whether all members have names and types that compilers of C give them."""
        flat = self.words[at + 2 : at + 2 + 3 * vlen].tolist()
        names = [*map(self._name_of, flat[::3])]
        if len(set(names)) != vlen or not all(names):
            return False
        if max(map(add, flat[2::3], map(self._size_of, flat[1::3]))) > 8 * self.words[at + 1]:
            return False
        return not any(map(self._unusual.__getitem__, flat[1::3]))

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
            if 0 in aligns:
                return None
            align = 8
        starts = places
        end = whole
        if info >> 24 == STRUCT:
            starts = [0, *map(add, places, map(self._size_of, types))]
            end = starts.pop()
            if (end | whole) >> 31:
                return None
            if starts != places and (
                max(starts) >> 31 or max(places) >> 31 or any(map(gt, starts, places))
            ):
                return None
            if packed and (starts != places or end != whole):
                return None
        elif any(places) or packed or whole - max(map(self._size_of, types)) >= align:
            return None
        if not self.wide.isdisjoint(types):
            return None
        # Nothing has been written before this place: names are numbered as they are.
        names = tuple(map(self._name_of, flat[::3]))
        try:
            lines = [*map(self._format_of, types)]
            is_format = all(names)
        except Inline:
            is_format = False
        if not is_format:
            lines = self._lines(types, names, level + 1)
        elif self.formats.longest * len(lines) > MAX_TEXT:
            bounded_sum(lines)
        length = 0
        first = newline = NEWLINES[min(level + 1, 13)]
        if starts != places:
            for index, (start, place) in enumerate(zip(starts, places)):
                # A compiler leaves by itself what a member's alignment asks for.
                if start < place and (packed or place - start >= aligns[index]):
                    gap = padding(
                        self.pads, start, place, 8 if packed else aligns[index], False, newline
                    )
                    length += len(gap)
                    if length > MAX_TEXT:
                        raise TooLong
                    if index:
                        lines[index - 1] += f";{gap[:-1]}"
                    else:
                        first = gap + newline
        last = padding(self.pads, end, whole, align, False, newline) if end < whole else ""
        self.aligns[type_id] = align
        body = first + f";{newline}".join(lines)
        if is_format:
            body %= names
        close = newline[:-1] if level < 13 else newline
        mark = " __attribute__((packed))" if packed else ""
        return f" {{{body};{last}{close}}}{mark}"

    def _lines(self, types: list[int], names: Sequence[str], level: int) -> list[str]:
        lines = []
        length = 0
        forms = map(self.formats.get, types)
        for member, name, form in zip(types, names, forms):
            line = form % name if form and name else self.declaration(member, name, level)
            lines.append(line)
            length += len(line)
            if length > MAX_TEXT:
                raise TooLong
        return lines

    def _members(
        self,
        parts: list[str],
        members: Members,
        packed: bool,
        newline: str,
        level: int,
    ) -> int:
        """Write members of any form; returns where, in bits, the last of them ends."""
        types = members.types
        widths: Iterable[int] = members.widths
        places = members.places
        if not widths:
            places = [*map(int32, places)]
            widths = repeat(0)
        known = self.formats.get
        sizes = self.sizes
        end = 0
        length = 0
        last_width = 0
        for member, name, place, width in zip(types, members.names, places, widths):
            if end < place:
                align = 8 if packed else self.aligns[member]
                is_inside = last_width != 0 and width != 0
                parts.append(padding(self.pads, end, place, align, is_inside, newline))
                length += len(parts[-1])
            form = known(member) if name else None
            line = self.declaration(member, name, level) if form is None else form % name
            length += len(line)
            if length > MAX_TEXT:
                raise TooLong
            if width:
                parts += (newline, line, f": {width};")
                end = place + width
            else:
                parts += (newline, line, ";")
                end = place + sizes[member]
                if end >> 31:
                    end = int32(end)
            last_width = width
        return end
