"""C's declarations: a name with the type that stands around it.

Declarations are remembered as formats of the declared name. Names of types that occur
twice are numbered in the order in which they are first written.
"""

from __future__ import annotations

from pybpftool.btf.c.numbers import Numbers
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    CONST,
    ENUM,
    ENUMS,
    FUNC_PROTO,
    FWD,
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

    from pybpftool.btf.c.identifiers import Identifiers

QUALIFIERS = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}
CHAIN = MODIFIERS | {PTR, FUNC_PROTO}
# Kinds that are defined where they are used if they have no name.
INLINE = COMPOSITE | ENUMS
_PLAIN = INLINE | NUMBERS | {TYPEDEF}
_PTR_INFO, _ARRAY_INFO, _CONST_INFO = PTR << 24, ARRAY << 24, CONST << 24
_DERIVED = frozenset((_PTR_INFO, _ARRAY_INFO, _CONST_INFO))
MAX_CHAIN = 1 << 14
_MOST_LINKS = 32
# Definitions of more characters than this are the work of types that nest again and again.
MAX_TEXT = 1 << 20
# Where a member's name goes; no C name contains it.
_MARK = "\0\0"
# Around what tells how to fill a gap, a type's id where its name is to be for one.
DEFERRED = "\0"


class Inline(Exception):
    """A declaration defines something in place, and so is not the same everywhere."""


class Early(Exception):
    """A text that cannot be written before its turn."""


class _Deep(Exception):
    """A declaration of more links than are put together from those of its parts."""


class TooLong(FormatError):
    """A definition that would fill the memory."""

    def __init__(self) -> None:
        super().__init__("the BTF's types nest to a definition of endless length")


def type_tag(tag: str, is_attribute: bool) -> str:
    """A type tag as an attribute, if it is one that C can have."""
    if not is_attribute:
        text = "".join([char if char.isprintable() else "_" for char in tag])
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        return f' __attribute__((btf_type_tag("{text}")))'
    depth = 0
    for char in tag:
        depth += (char == "(") - (char == ")")
        if depth < 0 or not ((char.isascii() and char.isalnum()) or char in "_(), "):
            return ""
    return "" if depth else f" __attribute__(({tag}))"


def bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise TooLong
    return text


def bounded_sum(texts: Sequence[str]) -> None:
    if sum(map(len, texts)) > MAX_TEXT:
        raise TooLong


class Formats(dict[int, str]):
    """Declarations as formats of the name, by type id; raises :class:`Inline`.

    The frequent ones are put together here, what is rare is the work of
    :meth:`Texts.format`.
    """

    __slots__ = ("_depth", "_texts", "longest", "nameless")

    def __init__(self, texts: Declarations) -> None:
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
        found = self._struct(words, at, type_id, "")
        if not found and info == _PTR_INFO:
            target = words[at + 1]
            found = self._struct(words, texts.offsets[target], target, "*")
        if not found and info in _DERIVED:
            # One lookup leads to the next without a Python call that is counted.
            if self._depth >= _MOST_LINKS:
                raise _Deep
            self._depth += 1
            try:
                found = self._derived(info, words, at)
            except _Deep:
                if self._depth > 1:
                    raise
                # What is that deep is written once, link by link.
            finally:
                self._depth -= 1
        found = found or texts.format(type_id)
        if len(found) > self.longest:
            self.longest = len(bounded(found))
        self[type_id] = found
        return found

    def _struct(self, words: memoryview, at: int, type_id: int, mark: str) -> str:
        """What most declarations have, a struct or union with a name; empty if it is not."""
        kind = words[at] >> 24 & 0x7F
        if kind in COMPOSITE and type_id and words[at - 1]:
            return f"{self._texts.struct_head(type_id)} {mark}%s"
        return ""

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
        if self.longest * vlen > MAX_TEXT:
            bounded_sum([*map(nameless.__getitem__, types)])
        if 0 in types[:-1]:
            return ""
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
    """Declarations without a name, by type id; raises :class:`Inline`."""

    __slots__ = ("_formats",)

    def __init__(self, formats: Formats) -> None:
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


class Declarations:
    """Names and declarations of types; how a type is defined in place is the subclass's.

    :param names: the names to use; a table of all if everything is dumped.
    """

    def __init__(self, words: memoryview, offsets: Sequence[int], names: Identifiers) -> None:
        self.names = names
        self.words = words
        self.offsets = offsets
        self.numbers = Numbers(words, offsets, names)
        self.resolved: dict[int, str] = {}
        self.type_names: dict[str, int] = {}
        self.ident_names: dict[str, int] = {}
        self.formats = Formats(self)
        # Enums to be completed and forward declarations that get names of their own.
        self.own_tags: set[int] = set()
        self._defining: dict[int, bool] = {}
        # Whether names that are not resolved get gaps.
        self._is_deferring = False

    def struct(self, type_id: int, level: int) -> str:
        """The definition of a struct or union."""
        raise NotImplementedError

    def enum(self, type_id: int, level: int) -> str:
        """The definition of an enum."""
        raise NotImplementedError

    def type_name(self, type_id: int) -> str:
        """A struct's, union's or enum's name, numbered if others had it before."""
        return self.resolved.get(type_id) or self._name(type_id)

    def ident_name(self, type_id: int) -> str:
        """A typedef's name, numbered likewise."""
        return self.resolved.get(type_id) or self._name(type_id)

    def _name(self, type_id: int) -> str:
        at = self.offsets[type_id]
        offset = self.words[at - 1]
        info = self.words[at]
        kind = info >> 24 & 0x7F
        if not offset and kind in INLINE:
            return ""
        is_forward = kind == FWD or (kind == ENUM and not info & 0xFFFFFF)
        if is_forward and type_id not in self.own_tags:
            name = self.resolved[type_id] = self.names[offset] or self.names.of("")
            return name
        if self._is_deferring:
            return f"{DEFERRED}{type_id}{DEFERRED}"
        return self._number(type_id)

    def _number(self, type_id: int) -> str:
        at = self.offsets[type_id]
        offset = self.words[at - 1]
        kind = self.words[at] >> 24 & 0x7F
        names = self.names
        # Upstream quirk: a number counts as what stands behind struct and enum.
        name = (names.true if kind in NUMBERS else names)[offset] or names.of("")
        name = self._numbered(self.ident_names if kind == TYPEDEF else self.type_names, name)
        self.resolved[type_id] = name
        return name

    def _numbered(self, taken: dict[str, int], name: str) -> str:
        """A name with a number if it was written before, one that no other name ends in."""
        count = taken[name] = taken.get(name, 0) + 1
        if count == 1:
            return name
        while True:
            end = f"___{count}"
            found = name[: 255 - len(end)] + end
            if not self.names.is_taken(found):
                return found
            count = taken[name] = count + 1

    def _value_name(self, name: str) -> str:
        """An enum's value, numbered each time that it is written again."""
        return self._numbered(self.ident_names, name)

    def struct_head(self, type_id: int) -> str:
        at = self.offsets[type_id]
        keyword = "struct" if self.words[at] >> 24 & 0x7F == STRUCT else "union"
        return f"{keyword} {self.type_name(type_id)}" if self.words[at - 1] else keyword

    def forward_text(self, type_id: int, info: int) -> str:
        return f"{'union' if info >> 31 else 'struct'} {self.type_name(type_id)}"

    def format(self, type_id: int) -> str:
        """A declaration with a type as a format of the name; raises :class:`Inline`."""
        words = self.words
        at = self.offsets[type_id]
        kind = words[at] >> 24 & 0x7F
        offset = words[at - 1]
        if kind == TYPEDEF:
            text = f"{self.ident_name(type_id)} {_MARK}"
        elif kind in NUMBERS:
            text = f"{self.numbers[type_id]} {_MARK}"
        elif kind in ENUMS and offset:
            text = f"enum {self.type_name(type_id)} {_MARK}"
        else:
            if self._defines(type_id):
                raise Inline
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
            if kind in CHAIN:
                target = words[at + 1]
            elif kind == ARRAY:
                target = words[at + 2]
            else:
                break
            if len(chain) > MAX_CHAIN:
                raise FormatError(f"type [{type_id}] is a chain without end")
        return chain

    def declaration(self, type_id: int, name: str, level: int) -> str:
        """C's declaration of ``name`` (which may be empty) with a type."""
        at = self.offsets[type_id]
        if type_id and not self.words[at - 1] and self.words[at] >> 24 & 0x7F in COMPOSITE:
            text = self.struct(type_id, level)
            return f"{text} {name}" if name else text
        try:
            return self.formats[type_id] % name if name else self.formats.nameless[type_id]
        except Inline:
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
        for _ in range(MAX_CHAIN):
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
            elif kind in CHAIN:
                type_id = words[at + 1]
            else:
                return kind in INLINE and not words[at - 1]
        return True

    def _qualifiers(self, chain: list[int]) -> str:
        """Take the qualifiers that end the chain; they come before what they qualify."""
        text = ""
        while chain:
            kind = self._kind(chain[-1])
            if kind not in QUALIFIERS:
                break
            text += QUALIFIERS[kind] + " "
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
                parts.append(self._qualifiers(chain) + self.numbers[type_id])
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
            elif kind in QUALIFIERS:
                parts.append(f" {QUALIFIERS[kind]}")
            elif kind == TYPE_TAG:
                parts.append(self._qualifiers(chain))
                parts.append(type_tag(self.names.true[words[at - 1]], bool(info >> 31)))
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
            param = self.names[flat[index]]
            if not type_id:
                params.append(f"void *{param}")  # a reference of C++, of which BTF knows nothing
                continue
            params.append(self.declaration(type_id, param, level))
            length += len(params[-1])
            if length > MAX_TEXT:
                raise TooLong
        parts.append(f"({', '.join(params)})")
        return bounded("".join(parts))
