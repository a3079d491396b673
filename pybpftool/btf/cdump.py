"""BTF as C: definitions in an order that compiles, as libbpf's ``btf_dump.c`` has them.

The output equals upstream's, so that the order of steps is given: types are
visited in id or sorted order, each puts what it needs before it into a queue
(:meth:`_Dumper.order`), the queue is written with forward declarations where a
pointer needs one (:meth:`_Dumper.emit`), and names that occur twice are numbered
in the order in which they are first written.

The visits are remembered: once nothing that a type leads to can change any more,
it is marked and not entered again. Declarations of members are remembered too,
as the text before and after the member's name.
"""

from __future__ import annotations

import sys
from operator import add, lt, mod

from pybpftool.btf import parser
from pybpftool.btf.parser import Names
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pybpftool.btf.parser import Btf

_HEAD = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

"""
_KFUNCS_HEAD = "\n/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n"
_KFUNCS_TAIL = "#endif\n\n"
_TAIL = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE = range(1, 10)
CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(10, 20)

# Kinds whose visit does nothing at all.
_IDLE = frozenset((FUNC, VAR, DATASEC, DECL_TAG))
# Kinds that a sorted dump may rank before the last; others lead to nothing, or have no name.
_RANKED = frozenset((INT, FLOAT, ARRAY, STRUCT, UNION, ENUM, ENUM64, TYPEDEF, DECL_TAG, TYPE_TAG))
_VISITED = frozenset(range(1, parser.KIND_MAX + 1)) - _IDLE
_FREQUENT = frozenset((FUNC, FUNC_PROTO))
_TAGS = frozenset((DECL_TAG,))
# Kinds of which a visit may queue a definition.
_DEFINING = frozenset((STRUCT, UNION, ENUM, ENUM64, FWD, TYPEDEF))
# Words per element and the first type id's distance from the info word, by kind.
_ELEMENT_IDS = {STRUCT: (3, 3), UNION: (3, 3), FUNC_PROTO: (2, 3), DATASEC: (3, 2)}
_UNREFERRING = frozenset((INT, ENUM, ENUM64, FWD, FLOAT))
_COMPOSITE = frozenset((STRUCT, UNION))
_ENUMS = frozenset((ENUM, ENUM64))
_NUMBERS = frozenset((INT, FLOAT))
_PLAIN = frozenset((INT, FLOAT, TYPEDEF, STRUCT, UNION, ENUM, ENUM64))
_DERIVED = frozenset((PTR, ARRAY, CONST))
# Kinds that are defined where they are used if they have no name.
_INLINE = frozenset((STRUCT, UNION, ENUM, ENUM64))
_SIMPLE = _PLAIN | _DERIVED
_QUALIFIERS = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}
_MODIFIERS = frozenset((VOLATILE, CONST, RESTRICT, TYPE_TAG))
_CHAIN = frozenset((PTR, VOLATILE, CONST, RESTRICT, FUNC_PROTO, TYPE_TAG))
_SORTED_BY_TARGET = frozenset((TYPE_TAG, CONST, PTR, VOLATILE, RESTRICT, TYPEDEF, DECL_TAG))
_MAX_RANK = 10
_PTR_INFO = PTR << 24

_NOT, _NOW, _DONE = 0, 1, 2

_TABS = ["\t" * level for level in range(14)]
_MAX_CHAIN = 1 << 14
# Padding of more lines than this is the work of a made-up size.
_MAX_PADDING = 1 << 22

# Types that compilers know by themselves under names that other compilers lack.
_ALIASES = {
    "__Poly8_t": "unsigned char",
    "__Poly16_t": "unsigned short",
    "__Poly64_t": "unsigned long long",
    "__Poly128_t": "unsigned __int128",
}
_U64 = (1 << 64) - 1
# Where a member's name goes; no C name contains it.
_MARK = "\0"


def _round_up(value: int, step: int) -> int:
    return (value + step - 1) // step * step if step > 0 else value


def _int32(value: int) -> int:
    """``value`` as a C int holds it."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


class _Sizes(dict[int, int]):
    """Sizes in bits by type id, 0 where there is none."""

    __slots__ = ("_btf",)

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self._btf = btf

    def __missing__(self, type_id: int) -> int:
        size = self[type_id] = (self._btf.size_of(type_id) or 0) * 8
        return size


class _Aligns(dict[int, int]):
    """Alignments in bits by type id, 0 where there is none."""

    __slots__ = ("_btf",)

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self._btf = btf

    def __missing__(self, type_id: int) -> int:
        align = self[type_id] = self._btf.align_of(type_id) * 8
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


class _Dumper:
    """The state of one dump; ``out`` collects its text."""

    def __init__(self, btf: Btf, is_whole: bool) -> None:
        self.btf = btf
        self.names = Names.of(btf, is_whole) if is_whole else btf.names
        if btf.base is None:
            self.words = btf.words
            self.offsets = [0, *btf.scanned_offsets()]
        else:
            self.words, offsets = _joined(btf)
            self.offsets = [0, *offsets]
        count = len(self.offsets)
        self.ordered = bytearray(count)
        self.emitted = bytearray(count)
        self.forward = bytearray(count)
        self.quiet = bytearray(count)
        self.ordered[0] = self.emitted[0] = self.quiet[0] = _DONE
        self.queue: list[int] = []
        self.out: list[str] = []
        self.resolved: dict[int, str] = {}
        self.type_names: dict[str, int] = {}
        self.ident_names: dict[str, int] = {}
        self.sizes = _Sizes(btf)
        self.aligns = _Aligns(btf)
        self.declarations: dict[int, tuple[str, str]] = {}
        self.formats: dict[int, str] = {}
        self.inlined = 0  # anonymous definitions written so far
        pointer_bits = (btf.declared_pointer_size or 8) * 8
        self.pads = (("long", pointer_bits), ("int", 32), ("short", 16), ("char", 8))
        self._referenced: set[int] | None = None

    # What a type depends on

    def dump(self, type_id: int) -> None:
        """Write a type's definition after all that it needs."""
        if self.ordered[type_id] == _DONE:
            return
        self.order(type_id, False)
        if self.queue:
            queue = self.queue
            self.queue = []
            for queued in queue:
                self.emit(queued, 0)

    def order(self, type_id: int, through_pointer: bool, is_root: bool = True) -> bool:
        """Queue what has to be defined before a type, and the type itself.

        Returns whether a declaration that gets here must see the whole definition;
        a pointer to a named struct can do with less.
        """
        ordered = self.ordered
        state = ordered[type_id]
        if state == _DONE:
            return True
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if state == _NOW:
            if through_pointer and words[at - 1] and kind in _COMPOSITE:
                return False
            raise FormatError(f"type [{type_id}] contains itself, which C cannot express")
        if kind == PTR:
            is_strong = self.order(words[at + 1], True, False)
            ordered[type_id] = _DONE
            return is_strong
        if kind in _COMPOSITE:
            is_named = words[at - 1] != 0
            if through_pointer and is_named:
                return False
            ordered[type_id] = _NOW
            offsets = self.offsets
            for member in words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist():
                if ordered[member] == _DONE:
                    continue
                member_at = offsets[member]
                if words[member_at] == _PTR_INFO:
                    # The most frequent case, of a pointer to a named struct.
                    target = words[member_at + 1]
                    target_at = offsets[target]
                    if ordered[target] == _DONE or (
                        words[target_at - 1]
                        and target
                        and words[target_at] >> 24 & 0x7F in _COMPOSITE
                    ):
                        ordered[member] = _DONE
                        continue
                self.order(member, False, False)
            if is_named:
                self.queue.append(type_id)
            ordered[type_id] = _DONE
            return True
        if kind in _QUALIFIERS or kind == TYPE_TAG:
            target = words[at + 1]
            is_strong = self.order(target, through_pointer, False)
            if ordered[target] == _DONE:
                ordered[type_id] = _DONE
            return is_strong
        if kind == TYPEDEF:
            is_strong = self.order(words[at + 1], through_pointer, False)
            if through_pointer and not is_strong:
                return False
            self.queue.append(type_id)
            ordered[type_id] = _DONE
            return True
        if kind == ARRAY:
            target = words[at + 2]
            is_strong = self.order(target, False, False)
            if ordered[target] == _DONE:
                ordered[type_id] = _DONE
            return is_strong
        if kind == FUNC_PROTO:
            is_strong = self.order(words[at + 1], through_pointer, False)
            is_done = ordered[words[at + 1]] == _DONE
            for param in words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist():
                if self.order(param, through_pointer, False):
                    is_strong = True
                if ordered[param] != _DONE:
                    is_done = False
            if is_done:
                ordered[type_id] = _DONE
            return is_strong
        ordered[type_id] = _DONE
        if kind in _NUMBERS:
            return False
        if kind in (ENUM, ENUM64, FWD):
            # An enum without a name stands on its own only if nothing has its type.
            if words[at - 1] or (is_root and type_id not in self.referenced):
                self.queue.append(type_id)
            return True
        return False

    @property
    def referenced(self) -> set[int]:
        """The types that any other refers to, of those without a name."""
        if self._referenced is None:
            if self.btf.base is None:
                self._referenced = _referenced(self.words, [0, *self.btf.own_offsets()])
            else:
                self._referenced = _referenced(self.words, self.offsets)
        return self._referenced

    # Writing definitions in the order found

    def emit(self, type_id: int, container: int) -> None:
        """Write a definition (``container`` 0) or the declarations that a member needs."""
        emitted = self.emitted
        quiet = self.quiet
        state = emitted[type_id]
        if state == _DONE or (container and quiet[type_id]):
            return
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if state == _NOW:
            self._emit_again(type_id, container, kind)
        elif kind == PTR or kind in _MODIFIERS:
            target = words[at + 1]
            self.emit(target, container)
            if quiet[target] or emitted[target] == _DONE:
                quiet[type_id] = 1
        elif kind in _COMPOSITE:
            self._emit_struct(type_id, container)
        elif kind == TYPEDEF:
            emitted[type_id] = _NOW
            self.emit(words[at + 1], type_id)
            if not self.forward[type_id]:
                self._emit_typedef(type_id)
            emitted[type_id] = _DONE
        elif kind == ARRAY:
            target = words[at + 2]
            self.emit(target, container)
            if quiet[target] or emitted[target] == _DONE:
                quiet[type_id] = 1
        elif kind == INT:
            name = self.type_name(type_id)
            if name in _ALIASES:
                self.out.append(f"typedef {_ALIASES[name]} {name};\n\n")
            emitted[type_id] = _DONE
        elif kind in _ENUMS:
            if not container:
                self.out.append(f"{self.enum(type_id, 0)};\n\n")
            emitted[type_id] = _DONE
        elif kind == FWD:
            self.out.append(f"{self.forward_text(type_id, info)};\n\n")
            emitted[type_id] = _DONE
        elif kind == FUNC_PROTO:
            parts = [words[at + 1]]
            parts += words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist()
            self._emit_parts(type_id, parts, container)
        else:
            quiet[type_id] = 1

    def _emit_parts(self, type_id: int, parts: list[int], container: int) -> None:
        emitted = self.emitted
        quiet = self.quiet
        is_quiet = 1
        for part in parts:
            if emitted[part] != _DONE and not quiet[part]:
                self.emit(part, container)
                if emitted[part] != _DONE and not quiet[part]:
                    is_quiet = 0
        quiet[type_id] = is_quiet

    def _emit_struct(self, type_id: int, container: int) -> None:
        emitted = self.emitted
        words = self.words
        at = self.offsets[type_id]
        is_named = words[at - 1] != 0
        emitted[type_id] = _NOW
        if not container or not is_named:
            members = words[at + 3 : at + 2 + 3 * (words[at] & 0xFFFFFF) : 3].tolist()
            self._emit_parts(type_id, members, type_id if is_named else container)
            if is_named:
                self.quiet[type_id] = 0
        elif not self.forward[type_id] and type_id != container:
            self._emit_forward(type_id)
        if not container:
            self.out.append(f"{self.struct(type_id, 0)};\n\n")
            emitted[type_id] = _DONE
        else:
            emitted[type_id] = _NOT

    def _emit_forward(self, type_id: int) -> None:
        self.out.append(f"{self.struct_head(type_id)};\n\n")
        self.forward[type_id] = self.quiet[type_id] = 1

    def _emit_again(self, type_id: int, container: int, kind: int) -> None:
        """Meet a type whose definition is under way."""
        if self.forward[type_id]:
            return
        if kind in _COMPOSITE:
            if type_id != container and self.words[self.offsets[type_id] - 1]:
                self._emit_forward(type_id)
        elif kind == TYPEDEF:
            self._emit_typedef(type_id)
            self.forward[type_id] = 1

    def _emit_typedef(self, type_id: int) -> None:
        at = self.offsets[type_id]
        target = self.words[at + 1]
        raw = self.names[self.words[at - 1]]
        # Compilers have this one built in.
        if self.words[at - 1] and raw == "__builtin_va_list":
            return
        name = self.ident_name(type_id)
        if target == 0 and name == "__gnuc_va_list":
            # Old GCC has it as a typedef of void.
            self.out.append("typedef __builtin_va_list __gnuc_va_list;\n\n")
            return
        self.out.append(f"typedef {self.declaration(target, name, 0)};\n\n")

    # Texts

    def type_name(self, type_id: int) -> str:
        """A struct's, union's or enum's name, numbered if others had it before."""
        return self._name(type_id, self.type_names)

    def ident_name(self, type_id: int) -> str:
        """A typedef's name, numbered likewise."""
        return self._name(type_id, self.ident_names)

    def _name(self, type_id: int, taken: dict[str, int]) -> str:
        known = self.resolved.get(type_id)
        if known is not None:
            return known
        at = self.offsets[type_id]
        offset = self.words[at - 1]
        if not offset:
            return ""
        name = self.names[offset]
        info = self.words[at]
        kind = info >> 24 & 0x7F
        if kind != FWD and (kind != ENUM or info & 0xFFFFFF):
            count = taken[name] = taken.get(name, 0) + 1
            if count > 1:
                name = f"{name}___{count}"[:255]
        self.resolved[type_id] = name
        return name

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
        size = words[at + 1]
        vlen = info & 0xFFFFFF
        is_struct = info >> 24 & 0x7F == STRUCT
        flat = words[at + 2 : at + 2 + 3 * vlen].tolist()
        types = flat[1::3]
        places = flat[2::3]
        widths: Sequence[int] = ()
        if info >> 31:
            widths = [place >> 24 for place in places]
            places = [place & 0xFFFFFF for place in places]
        parts = [self.struct_head(type_id), " {"]
        align, packed = self.aligns.of_struct(type_id, types, places, widths, size)
        packed = packed and is_struct
        newline = "\n" + _TABS[min(level + 1, 13)]
        sizes = self.sizes
        ends = [*map(add, places, [sizes[member] for member in types])]
        if (
            widths
            or (ends and max(ends) >> 31)
            or not self._plain_members(parts, flat, ends, packed, newline)
        ):
            ends = self._members(parts, flat, widths, packed, newline, level + 1)
        if is_struct:
            end, whole = ends[-1] if ends else 0, _int32(size * 8)
            if end < whole:
                parts.append(self.padding(end, whole, align, False, newline))
        if vlen or size:
            parts.append(f"{newline[:-1] if level < 13 else newline}}}")
        else:
            parts.append("}")
        if packed:
            parts.append(" __attribute__((packed))")
        return "".join(parts)

    def _plain_members(
        self, parts: list[str], flat: list[int], ends: list[int], packed: bool, newline: str
    ) -> bool:
        """Write members of which none is a bit-field, anonymous or defined in place.

        Returns whether it did; otherwise nothing is written.
        """
        formats = self.formats
        types = flat[1::3]
        lines = []
        for member in types:
            line = formats.get(member)
            if line is None:
                # The order in which names are first needed is that of the members.
                line = self._format(member)
                if line is None:
                    return False
            lines.append(line)
        names = self.names
        texts = [names[offset] for offset in flat[::3]]
        if "" in texts:
            return False
        places = flat[2::3]
        head = newline
        if any(map(lt, [0, *ends], places)):
            end = 0
            for index, place in enumerate(places):
                if end < place:
                    align = 8 if packed else self.aligns[types[index]]
                    gap = self.padding(end, place, align, False, newline)
                    if index:
                        lines[index - 1] += gap
                    else:
                        head = gap + newline
                end = ends[index]
        parts.append((head + newline.join(lines)) % tuple(texts) if lines else "")
        return True

    def _format(self, type_id: int) -> str | None:
        """A member's line as a format of its name, if it is the same everywhere."""
        if type_id not in self.declarations:
            if self._simple(type_id) is None and not self._defines(type_id):
                self.declaration(type_id, _MARK, 0)
            if type_id not in self.declarations:
                return None
        before, after = self.declarations[type_id]
        text = f"{before}%s{after};"
        if "%" in before or "%" in after:
            text = f"{before.replace('%', '%%')}%s{after.replace('%', '%%')};"
        self.formats[type_id] = text
        return text

    def _defines(self, type_id: int, depth: int = 0) -> bool:
        """Whether a declaration with this type defines something without a name."""
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
                if depth > 8:
                    return True
                params = words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist()
                if any(
                    param not in self.declarations and self._defines(param, depth + 1)
                    for param in params
                ):
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
    ) -> list[int]:
        """Write members of any form; returns where, in bits, the last of them ends."""
        names = self.names
        end = 0
        after_bits = False
        for index, member in enumerate(flat[1::3]):
            place = _int32(flat[3 * index + 2])
            width = 0
            if widths:
                place &= 0xFFFFFF
                width = widths[index]
            if end < place:
                align = 8 if packed else self.aligns[member]
                is_inside = after_bits and width != 0
                parts.append(self.padding(end, place, align, is_inside, newline))
            parts.append(newline)
            parts.append(self.declaration(member, names[flat[3 * index]], level))
            if width:
                parts.append(f": {width};")
                end = place + width
            else:
                parts.append(";")
                end = _int32(place + self.sizes[member])
            after_bits = width != 0
        return [end]

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
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        size = words[at + 1]
        vlen = info & 0xFFFFFF
        head = f"enum {self.type_name(type_id)}" if words[at - 1] else "enum"
        if not vlen:
            return head
        parts = [head, " {"]
        newline = "\n" + _TABS[min(level + 1, 13)]
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
        fresh = dict.fromkeys(texts, 1)
        if len(fresh) == vlen and taken.keys().isdisjoint(fresh):
            taken.update(fresh)
            pairs: list[object] = [None] * (2 * vlen)
            pairs[::2] = texts
            pairs[1::2] = values
            parts.append(f"{newline}%s = %d{suffix}," * vlen % tuple(pairs))
        else:
            for name, value in zip(texts, values, strict=True):
                count = taken[name] = taken.get(name, 0) + 1
                if count > 1:
                    name = f"{name}___{count}"
                parts.append(f"{newline}{name} = {value}{suffix},")
        parts.append(f"{newline[:-1] if level < 13 else newline}}}")
        if size == 1:
            parts.append(" __attribute__((mode(byte)))")
        elif size == 8 and self.pads[0][1] == 64 and not (is_enum64 and any(flat[2::3])):
            # No value takes the 64 bits that the enum has.
            parts.append(" __attribute__((mode(word)))")
        return "".join(parts)

    def declaration(self, type_id: int, name: str, level: int) -> str:
        """C's declaration of ``name`` (which may be empty) with a type."""
        if name:
            known = self.declarations.get(type_id) or self._simple(type_id)
            if known is not None:
                return f"{known[0]}{name}{known[1]}"
        inlined = self.inlined
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
        if not name:
            return self._chain(chain, "", level)
        text = self._chain(chain, _MARK, level)
        if self.inlined == inlined:
            before, mark, after = text.partition(_MARK)
            if mark:
                self.declarations[type_id] = (before, after)
        return text.replace(_MARK, name, 1)

    def _simple(self, type_id: int) -> tuple[str, str] | None:
        """What stands around the name in a declaration, for the simpler types.

        Those are named types, pointers to them and arrays; what it finds is kept.
        """
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F if type_id else 0
        if kind in _DERIVED:
            target = words[at + 2] if kind == ARRAY else words[at + 1]
            inner = self.declarations.get(target)
            if inner is None:
                if target and self._kind(target) not in _SIMPLE:
                    return None
                inner = self._simple(target)
                if inner is None:
                    return None
            before, after = inner
            if kind == ARRAY:
                if after and not after.startswith("["):
                    return None
                found = (before, f"[{words[at + 4]}]{after}")
            elif after or (kind == CONST and not before.endswith(" ")):
                return None
            elif kind == CONST:
                if target and self._kind(target) not in _PLAIN:
                    return None
                found = (f"const {before}", "")
            else:
                found = (f"{before}*", "")
        elif not type_id:
            found = ("void ", "")
        elif not words[at - 1] and kind not in _NUMBERS:
            return None
        elif kind == TYPEDEF:
            found = (f"{self.ident_name(type_id)} ", "")
        elif kind in _COMPOSITE:
            found = (f"{self.struct_head(type_id)} ", "")
        elif kind in _NUMBERS:
            found = (f"{self.names[words[at - 1]]} ", "")
        elif kind in _ENUMS:
            found = (f"enum {self.type_name(type_id)} ", "")
        else:
            return None
        self.declarations[type_id] = found
        return found

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
        while chain and self._kind(chain[-1]) in _MODIFIERS:
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
            if kind in _NUMBERS:
                parts.append(self._qualifiers(chain) + self.names[words[at - 1]])
            elif kind in _COMPOSITE:
                parts.append(self._qualifiers(chain))
                if words[at - 1]:
                    parts.append(self.struct_head(type_id))
                else:
                    self.inlined += 1
                    parts.append(self.struct(type_id, level))
            elif kind in _ENUMS:
                parts.append(self._qualifiers(chain))
                if words[at - 1]:
                    parts.append(f"enum {self.type_name(type_id)}")
                else:
                    self.inlined += 1
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
        for index in range(0, 2 * vlen, 2):
            type_id = flat[index + 1]
            if not type_id and index == 2 * vlen - 2:
                params.append("...")
                break
            params.append(self.declaration(type_id, self.names[flat[index]], level))
        parts.append(f"({', '.join(params)})")
        return "".join(parts)


def _joined(btf: Btf) -> tuple[memoryview, list[int]]:
    """The type sections of split BTF and its bases as one, and where types begin in it."""
    from array import array

    parts = []
    part: Btf | None = btf
    while part is not None:
        parts.append(part)
        part = part.base
    words = array("I")
    offsets: list[int] = []
    for part in reversed(parts):
        start = len(words)
        offsets += [start + at for at in part.own_offsets()]
        words.frombytes(part.words.cast("B"))
    return memoryview(words), offsets


def _referenced(words: memoryview, offsets: Sequence[int]) -> set[int]:
    """Ids of the types that other types refer to."""
    by_info: dict[int, list[int]] = {}
    for at in offsets[1:]:
        try:
            by_info[words[at]].append(at)
        except KeyError:
            by_info[words[at]] = [at]
    found: set[int] = set()
    for info, group in by_info.items():
        kind = info >> 24 & 0x7F
        vlen = info & 0xFFFFFF
        if kind in _ELEMENT_IDS:
            size, first = _ELEMENT_IDS[kind]
            # Prototypes are many and short, structs are few and long.
            if vlen < 8:
                for at in range(first, first + size * vlen, size):
                    found.update([words[start + at] for start in group])
            else:
                for start in group:
                    found.update(words[start + first : start + 2 + size * vlen : size].tolist())
        elif kind == ARRAY:
            found.update([words[at + 2] for at in group])
            found.update([words[at + 3] for at in group])
        elif kind not in _UNREFERRING:
            found.update([words[at + 1] for at in group])
    return found


class _Sorter:
    """The order of types in a sorted dump (``sort_btf_c()`` of upstream)."""

    def __init__(self, dumper: _Dumper) -> None:
        self.words = dumper.words
        self.offsets = dumper.offsets
        self.names = dumper.names
        self.is_ascii = all(part.names.raw.isascii() for part in dumper.btf.parts())

    def rank(self, type_id: int) -> int:
        """Enums first, then numbers, structs, function types; the rest after them."""
        words = self.words
        is_named = False
        for _ in range(_MAX_CHAIN):
            if not type_id:
                return _MAX_RANK
            at = self.offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            is_named = is_named or words[at - 1] != 0
            if kind in _ENUMS:
                return 1 if is_named else 0
            if kind in _NUMBERS:
                return 2
            if not is_named:
                return _MAX_RANK
            if kind in _COMPOSITE:
                return 3
            if kind == FUNC_PROTO:
                return 4
            if kind == ARRAY:
                type_id = words[at + 2]
            elif kind in _SORTED_BY_TARGET:
                type_id = words[at + 1]
            else:
                return _MAX_RANK
        raise FormatError("the BTF has a chain of types without end")

    def sort_name(self, type_id: int) -> str:
        """The name that a type is sorted by: of what it leads to, or an enum's first value."""
        words = self.words
        is_first = True
        for _ in range(_MAX_CHAIN):
            if not type_id:
                return ""
            at = self.offsets[type_id]
            kind = words[at] >> 24 & 0x7F
            if kind in _SORTED_BY_TARGET:
                type_id = words[at + 1]
            elif kind == ARRAY:
                type_id = words[at + 2]
            else:
                offset = words[at - 1]
                if not offset and is_first and kind in _ENUMS and words[at] & 0xFFFFFF:
                    offset = words[at + 2]
                return self.names[offset] if offset else ""
            is_first = False
        raise FormatError("the BTF has a chain of types without end")

    def own_name(self, type_id: int) -> str:
        offset = self.words[self.offsets[type_id] - 1] if type_id else 0
        return self.names[offset] if offset else ""

    def hash(self, type_id: int, with_members: bool, depth: int = 0) -> int:
        """A number that tells types of the same name apart by what they are made of."""
        if not type_id:
            return 0
        if depth > 400:
            raise FormatError("the BTF has a chain of types without end")
        words = self.words
        at = self.offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        vlen = info & 0xFFFFFF
        value = _mix_name(0, self.names, words[at - 1])
        if kind in _ENUMS:
            step = 2 if kind == ENUM else 3
            for element in range(at + 2, at + 2 + step * vlen, step):
                value = _mix_name(value, self.names, words[element])
        elif kind in _COMPOSITE:
            if with_members:
                for element in range(at + 2, at + 2 + 3 * vlen, 3):
                    value = _mix_name(value, self.names, words[element])
                    inner = self.hash(words[element + 1], False, depth + 1)
                    value = (value * 31 + inner) & _U64
        elif kind in _SORTED_BY_TARGET:
            inner = self.hash(words[at + 1], with_members, depth + 1)
            value = (value * 31 + inner) & _U64
        elif kind == ARRAY:
            value = (value * 31 + words[at + 4]) & _U64
            inner = self.hash(words[at + 2], with_members, depth + 1)
            value = (value * 31 + inner) & _U64
        return value

    def sort(self, ids: Sequence[int], rank: int | None = None) -> list[int]:
        """``ids`` in the order of a sorted dump; all of one ``rank`` if that is given."""
        ranks: dict[int, dict[str, list[int]]] = {}
        for type_id in ids:
            keys = ranks.setdefault(self.rank(type_id) if rank is None else rank, {})
            # No name contains the separator, which sorts before all that names contain.
            key = f"{self.sort_name(type_id)}\0{self.own_name(type_id)}"
            try:
                keys[key].append(type_id)
            except KeyError:
                keys[key] = [type_id]
        found: list[int] = []
        for _, keys in sorted(ranks.items()):
            for key in sorted(keys) if self.is_ascii else sorted(keys, key=_bytes):
                same = keys[key]
                if len(same) > 1:
                    same.sort(key=lambda type_id: (self.hash(type_id, True), type_id))
                found += same
        return found


def _bytes(text: str) -> bytes:
    # Escaped bytes do not sort among characters as the bytes do.
    return text.encode("utf-8", "surrogateescape")


def _mix_name(value: int, names: Names, offset: int) -> int:
    if not offset:
        return value
    name_hash = 0
    for byte in names[offset].encode("utf-8", "surrogateescape"):
        # char is signed where upstream was built.
        name_hash = name_hash * 31 + (byte if byte < 128 else byte - 256)
    return (value * 31 + name_hash) & _U64


def _sorted_ids(dumper: _Dumper, kinds: _Kinds) -> Iterator[int]:
    """Ids in sorted order, of types whose visit may write something.

    Upstream's loop leaves out whatever sorts first of all types, void included.
    """
    words = dumper.words
    offsets = dumper.offsets
    sorter = _Sorter(dumper)
    rank = sorter.rank
    ranked: list[int] = []
    idle: list[int] = []
    for type_id in kinds.of(_RANKED):
        if kinds.kind(type_id) == DECL_TAG:
            idle.append(type_id)
        elif rank(type_id) != _MAX_RANK:
            ranked.append(type_id)
    first = sorter.sort(ranked)
    if first:
        skipped = sorter.sort([first[0], *idle])[0]
    else:
        skipped = sorter.sort(range(len(offsets)))[0]
    for type_id in first:
        if type_id != skipped:
            yield type_id
    # The others matter only as far as they are the first to reach a definition that
    # the above has left: forward declarations, typedefs of void and the like.
    ordered = dumper.ordered
    left = {
        type_id
        for type_id in kinds.of(_DEFINING)
        if ordered[type_id] != _DONE and words[offsets[type_id] - 1]
    }
    if left:
        late = _reaching(dumper, kinds.with_prototypes(_VISITED), left)
        for type_id in sorter.sort(late, _MAX_RANK):
            if type_id != skipped:
                yield type_id
    for type_id in kinds.of(_COMPOSITE):
        # Structs that contain themselves are an error, anonymous ones too.
        if ordered[type_id] != _DONE and type_id != skipped:
            yield type_id


class _Kinds:
    """The ids of types by kind, in the order of ids."""

    __slots__ = ("_busy", "_infos", "count")

    def __init__(self, infos: Sequence[int]) -> None:
        self.count = len(infos)
        self._infos = infos
        idle = {info for info in set(infos) if info >> 24 & 0x7F in _FREQUENT}
        idle.add(0)
        self._busy = [type_id for type_id, info in enumerate(infos) if info not in idle]

    def kind(self, type_id: int) -> int:
        return self._infos[type_id] >> 24 & 0x7F

    def of(self, kinds: frozenset[int]) -> list[int]:
        """Types of these kinds; functions and their prototypes are not to be asked for."""
        infos = self._infos
        return [type_id for type_id in self._busy if infos[type_id] >> 24 & 0x7F in kinds]

    def with_prototypes(self, kinds: frozenset[int]) -> list[int]:
        """Types of these kinds, of which prototypes may be one."""
        infos = self._infos
        passing = {info for info in set(infos) if info >> 24 & 0x7F in kinds}
        return [type_id for type_id, info in enumerate(infos) if info in passing]


def _reaching(dumper: _Dumper, ids: Sequence[int], left: set[int]) -> list[int]:
    """Those of ``ids`` that a visit would lead to some of ``left`` from, themselves included."""
    ordered = dumper.ordered
    words = dumper.words
    offsets = dumper.offsets
    referrers: dict[int, list[int]] = {}
    unordered = [type_id for type_id in ids if ordered[type_id] != _DONE]
    for type_id in unordered:
        at = offsets[type_id]
        info = words[at]
        kind = info >> 24 & 0x7F
        if kind in _COMPOSITE:
            targets = words[at + 3 : at + 2 + 3 * (info & 0xFFFFFF) : 3].tolist()
        elif kind == FUNC_PROTO:
            targets = words[at + 3 : at + 2 + 2 * (info & 0xFFFFFF) : 2].tolist()
            targets.append(words[at + 1])
        elif kind == ARRAY:
            targets = [words[at + 2]]
        elif kind in _UNREFERRING:
            targets = []
        else:
            targets = [words[at + 1]]
        for target in targets:
            if ordered[target] != _DONE:
                referrers.setdefault(target, []).append(type_id)
    found = set(left)
    pending = list(left)
    while pending:
        for referrer in referrers.get(pending.pop(), ()):
            if referrer not in found:
                found.add(referrer)
                pending.append(referrer)
    return [type_id for type_id in unordered if type_id in found]


def _kfuncs(dumper: _Dumper, kinds: _Kinds) -> str:
    """Declarations of the kernel functions that programs may call."""
    words = dumper.words
    offsets = dumper.offsets
    names = dumper.names
    found: list[tuple[bytes, int]] = []
    fast: set[int] = set()
    for type_id in kinds.of(_TAGS):
        at = offsets[type_id]
        if words[at + 2] != 0xFFFFFFFF:
            continue
        target = words[at + 1]
        if dumper._kind(target) != FUNC:
            continue
        tag = names[words[at - 1]]
        if tag == "bpf_kfunc":
            name = names[words[offsets[target] - 1]]
            found.append((name.encode("utf-8", "surrogateescape"), target))
        elif tag == "bpf_fastcall":
            fast.add(target)
    found.sort(key=lambda item: item[0])
    parts = [_KFUNCS_HEAD]
    for _, target in found:
        at = offsets[target]
        call = "__bpf_fastcall " if target in fast else ""
        text = dumper.declaration(words[at + 1], names[words[at - 1]], 0)
        parts.append(f"extern {call}{text} __weak __ksym;\n")
    parts.append(_KFUNCS_TAIL)
    return "".join(parts)


def _check_kinds(btf: Btf) -> None:
    part: Btf | None = btf
    while part is not None:
        for info in part.sizes:
            if not 0 < info >> 24 & 0x7F <= parser.KIND_MAX:
                raise FormatError(f"the BTF has types of kind {info >> 24 & 0x7F}, unknown to C")
        part = part.base


def _whole(btf: Btf, is_sorted: bool) -> Iterator[str]:
    btf.own_offsets()
    _check_kinds(btf)
    dumper = _Dumper(btf, True)
    words = dumper.words
    infos = [words[at] for at in dumper.offsets]
    infos[0] = 0
    kinds = _Kinds(infos)
    out = dumper.out
    out.append(_HEAD)
    ids: Iterable[int] = (
        _sorted_ids(dumper, kinds) if is_sorted else kinds.with_prototypes(_VISITED)
    )
    dump = dumper.dump
    ordered = dumper.ordered
    for type_id in ids:
        if ordered[type_id] == _DONE:
            continue
        dump(type_id)
        if len(out) > 256:
            yield "".join(out)
            out.clear()
    out.append(_kfuncs(dumper, kinds))
    out.append(_TAIL)
    yield "".join(out)


def _roots(btf: Btf, roots: Sequence[int]) -> str:
    # Few types are needed as a rule, and those before the roots and soon after
    # them; the rest of the type section is read only if a type is found missing.
    limit = max(roots) + 4096
    while True:
        is_all = btf.base is not None or not btf.scan_to(limit)
        if is_all:
            btf.own_offsets()
            _check_kinds(btf)
        try:
            dumper = _Dumper(btf, False)
            for root in roots:
                dumper.dump(root)
            return "".join(dumper.out)
        except IndexError:
            if is_all:
                raise FormatError("the BTF refers to a type that it does not have") from None
            limit *= 4


def blocks(btf: Btf, roots: Sequence[int] = (), is_sorted: bool = True) -> Iterator[str]:
    """The C text of all types, or of ``roots`` and what they need, piece by piece."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20000))
    try:
        if roots:
            yield _HEAD + _roots(btf, roots) + _TAIL
        else:
            yield from _whole(btf, is_sorted)
    except RecursionError:
        raise FormatError("the BTF's types are nested too deeply") from None
    except IndexError:
        raise FormatError("the BTF refers to a type that it does not have") from None
    finally:
        sys.setrecursionlimit(limit)


def definition(btf: Btf, type_id: int) -> str:
    """The C definition of one type, after the definitions that it needs."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20000))
    try:
        return _roots(btf, [type_id])
    except RecursionError:
        raise FormatError("the BTF's types are nested too deeply") from None
    finally:
        sys.setrecursionlimit(limit)
