"""C types as classes of a Python module: what ``gen python`` writes for structs and enums.

Names stay those of C; what Python takes for something else gets ``_`` behind it.
"""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.gen.bpf_object import identifier
from pybpftool.gen.datasecs import skip_modifiers
from pybpftool.records import Record
from pybpftool.uapi.btf import (
    ARRAY,
    ENUM,
    ENUM64,
    FLOAT,
    INT,
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    PTR,
    STRUCT,
    TYPEDEF,
    UNION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.btf.table import Btf

_KEYWORDS = frozenset(
    ("False", "None", "True", "and", "as", "assert", "async", "await", "break", "class",
     "continue", "def", "del", "elif", "else", "except", "finally", "for", "from", "global",
     "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return",
     "try", "while", "with", "yield")
)  # fmt: skip
# Builtins that a generated module uses, and its own names.
_MODULE_NAMES = _KEYWORDS | frozenset(
    ("Maps", "Progs", "Skel", "annotations", "bool", "bytes", "float", "int", "staticmethod",
     "str", "super")
)  # fmt: skip
# What an IntEnum has itself, in any version of Python.
_ENUM_NAMES = _KEYWORDS | frozenset(
    ("as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes",
     "imag", "is_integer", "mro", "name", "numerator", "real", "to_bytes", "value")
)  # fmt: skip
_DEPTH = 64


class Names:
    """Names that are taken; every other one is given once."""

    def __init__(self, reserved: frozenset[str]) -> None:
        self._taken = set(reserved)

    def give(self, wanted: str) -> str:
        """``wanted`` as an identifier, which does not begin with ``_``."""
        name = identifier(wanted).lstrip("_") or "nameless"
        if name[0].isdigit():
            name = f"x{name}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def field_names() -> Names:
    """Names for the members of one struct."""
    return Names(_KEYWORDS | {"self"})


class Typed(Record):
    """How a C type is written in Python.

    ``codec`` is an expression, ``given`` the annotation of a value that is set and ``default``
    what stands for zeros there.
    """

    codec: str
    given: str
    default: str


class _Member(Record):
    name: str
    type_id: int
    bit_offset: int
    bit_size: int


_ALIASES = {"bytes": "_bpf.Bytes", "bool": "_bpf.Bool", "float": "_bpf.Float", "int": "_bpf.Int"}


class PythonTypes:
    """The classes of an object's types, written as they are asked for."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.names = Names(_MODULE_NAMES)
        self.classes: list[str] = []
        """The text of each class, what it needs before it."""
        self.aliases: dict[str, str] = {}
        """Second names of classes that a member elsewhere has the name of."""
        self._known: dict[int, Typed] = {}
        self._open: set[int] = set()

    def of(self, type_id: int, hint: str) -> Typed:
        """How to write a type; ``hint`` names it where C does not. Raises FormatError."""
        btf = self.btf
        type_id, hint = self._behind_typedefs(type_id, hint)
        words, at = btf.at(type_id)
        kind, size = words[at] >> 24 & 0x7F, btf.size_of(type_id)
        if size is None:
            raise FormatError(f"the type [{type_id}] of '{hint}' has no size")
        if kind == INT:
            return self._integer(type_id, size)
        if kind == PTR:
            return Typed("_bpf.POINTER", "int", "0")
        if kind == FLOAT and size in (4, 8):
            return Typed(f"_bpf.F{8 * size}", "float", "0.0")
        if kind == ARRAY:
            return self._array(type_id, hint)
        if kind in (ENUM, ENUM64) and size in (1, 2, 4, 8):
            return self._kept(type_id, hint, size, self._enum)
        if kind in (STRUCT, UNION):
            return self._kept(type_id, hint, size, self._struct)
        return _blob(size)

    def _behind_typedefs(self, type_id: int, hint: str) -> tuple[int, str]:
        """The type itself, and the name that a typedef gives it if it has none."""
        btf = self.btf
        behind = skip_modifiers(btf, type_id)
        for _ in range(_DEPTH):
            words, at = btf.at(type_id)
            if type_id == behind:
                break
            if words[at] >> 24 & 0x7F == TYPEDEF:
                hint = btf.name(type_id) or hint
            type_id = words[at + 1]
        return behind, hint

    def _kept(self, type_id: int, hint: str, size: int, write: _Writer) -> Typed:
        found = self._known.get(type_id)
        if found is None:
            if type_id in self._open or len(self._open) > _DEPTH:
                raise FormatError(f"the type [{type_id}] of '{hint}' contains itself")
            self._open.add(type_id)
            found = self._known[type_id] = write(type_id, self.btf.name(type_id) or hint, size)
            self._open.discard(type_id)
        return found

    def _integer(self, type_id: int, size: int) -> Typed:
        encoding, _, _ = self.btf.int_info(type_id)
        if encoding & INT_BOOL and size == 1:
            return Typed("_bpf.BOOL", "bool", "False")
        if size not in (1, 2, 4, 8, 16):
            return _blob(size)
        letter = "I" if encoding & INT_SIGNED else "U"
        return Typed(f"_bpf.{letter}{8 * size}", "int", "0")

    def _array(self, type_id: int, hint: str) -> Typed:
        element_id, _, count = self.btf.array(type_id)
        behind = skip_modifiers(self.btf, element_id)
        if self._is_char(behind):
            return Typed(f"_bpf.Chars({count})", "bytes", 'b""')
        element = self.of(element_id, hint)
        codec = f"_bpf.ArrayOf({element.codec}, {count})"
        given = element.given.removesuffix(" | None")
        return Typed(codec, f"_bpf.Iterable[{given}]", "()")

    def _is_char(self, type_id: int) -> bool:
        btf = self.btf
        if btf.kind(type_id) != INT or btf.size_of(type_id) != 1:
            return False
        return btf.name(type_id) == "char" or bool(btf.int_info(type_id)[0] & INT_CHAR)

    def _enum(self, type_id: int, name: str, size: int) -> Typed:
        btf = self.btf
        is_signed = bool(btf.type(type_id).kind_flag)
        rest = f"{size}, True" if is_signed else str(size)
        values = btf.enumerators(type_id)
        if not values:
            return Typed(f"_bpf.{'I' if is_signed else 'U'}{8 * size}", "int", "0")
        given = self.names.give(name)
        names = Names(_ENUM_NAMES)
        lines = [f"    {names.give(one)} = {value}\n" for one, value in values]
        title = f"enum {btf.name(type_id)}" if btf.name(type_id) else "An enum without a name"
        self.classes.append(
            f'class {given}(_enum.IntEnum):\n    """{_plain(title)}."""\n\n{"".join(lines)}'
            f"\n\n_{given} = _bpf.EnumOf({given}, {rest})\n"
        )
        return Typed(f"_{given}", "int", "0")

    def _struct(self, type_id: int, name: str, size: int) -> Typed:
        btf = self.btf
        word = "struct" if btf.kind(type_id) == STRUCT else "union"
        given = self.names.give(name)
        fields = field_names()
        rows = [(fields.give(one.name), one, self._member(one, given))
                for one in self._members(type_id, 0, 0)]  # fmt: skip
        taken = {row[0] for row in rows}
        lines = []
        for own, member, typed in rows:
            if typed is None:
                continue
            if member.bit_size:
                lines.append(f"    {own} = {typed.codec}\n")
            else:
                lines.append(f"    {own} = _bpf.Field({member.bit_offset // 8}, {typed.codec})\n")
        known = [(own, typed) for own, _, typed in rows if typed is not None]
        title = f"{word} {btf.name(type_id)}" if btf.name(type_id) else f"A {word} without a name"
        self.classes.append(
            f'class {given}(_bpf.Struct):\n    """{_plain(title)}, {size} bytes."""\n\n'
            f"    __slots__ = ()\n    _size = {size}\n{''.join(lines)}"
            f"{self._constructor(known, taken)}\n\n_{given} = _bpf.StructOf({given})\n"
        )
        return Typed(f"_{given}", f"{given} | None", "None")

    def _constructor(self, known: list[tuple[str, Typed]], taken: set[str]) -> str:
        """``__init__`` with a keyword for each member."""
        if not known:
            return ""
        lines = [
            f"        {own}: {self._annotation(typed.given, taken)} = {typed.default},\n"
            for own, typed in known
        ]
        passed = "".join([f"            {own}={own},\n" for own, _ in known])
        return (
            f"\n    def __init__(\n        self,\n        *,\n{''.join(lines)}    ) -> None:\n"
            f"        super().__init__(\n{passed}        )\n"
        )

    def _annotation(self, text: str, taken: set[str]) -> str:
        """An annotation in a class whose members may have the names of types."""
        core = text
        opened = closed = ""
        while core.startswith("_bpf.Iterable["):
            opened, core, closed = f"{opened}_bpf.Iterable[", core[14:-1], f"]{closed}"
        name, bar, rest = core.partition(" | ")
        if name in taken:
            if name not in _ALIASES:
                self.aliases.setdefault(name, f"_T{name} = {name}\n")
            name = _ALIASES.get(name, f"_T{name}")
        return f"{opened}{name}{bar}{rest}{closed}"

    def _member(self, member: _Member, owner: str) -> Typed | None:
        """None for what has no size: a function, a struct that is only declared."""
        if self.btf.size_of(member.type_id) is None:
            return None
        if not member.bit_size:
            return self.of(member.type_id, f"{owner}_{member.name}")
        is_signed = False
        behind = skip_modifiers(self.btf, member.type_id)
        if self.btf.kind(behind) == INT:
            is_signed = bool(self.btf.int_info(behind)[0] & INT_SIGNED)
        elif self.btf.kind(behind) in (ENUM, ENUM64):
            is_signed = bool(self.btf.type(behind).kind_flag)
        rest = f"{member.bit_offset}, {member.bit_size}{', True' if is_signed else ''}"
        return Typed(f"_bpf.Bits({rest})", "int", "0")

    def _members(self, type_id: int, base: int, depth: int) -> Iterator[_Member]:
        """The members of a struct; those of nameless structs in it as its own."""
        btf = self.btf
        if depth > _DEPTH:
            raise FormatError(f"the type [{type_id}] contains itself")
        for member in btf.members(type_id):
            start = base + member.bit_offset
            behind = skip_modifiers(btf, member.type_id)
            kind = btf.kind(behind)
            if not member.name:
                if kind in (STRUCT, UNION):
                    yield from self._members(behind, start, depth + 1)
                continue
            width = member.bit_size or 0
            if not width and kind == INT:
                # Compilers before the flag for bit-fields made an INT for each.
                _, first, bits = btf.int_info(behind)
                if first or bits < 8 * (btf.size_of(behind) or 0):
                    start, width = start + first, bits
            yield _Member(member.name, member.type_id, start, width)


if TYPE_CHECKING:
    from collections.abc import Callable

    _Writer = Callable[[int, str, int], Typed]


def _blob(size: int) -> Typed:
    return Typed(f"_bpf.Blob({size})", "bytes", 'b""')


def _plain(text: str) -> str:
    """What can stand in a docstring."""
    return "".join([c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in text])
