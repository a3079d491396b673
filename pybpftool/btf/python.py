"""BTF for people: types, members, prototypes and enums as Python objects.

A :class:`Type` is a window: it knows its table and its id, and reads the table when a
property is asked for. :class:`pybpftool.btf.types.Types` looks types up.

>>> types["task_struct"].members["pid"].offset
2468
"""

from __future__ import annotations

from pybpftool.btf.declaration import KINDS, declaration
from pybpftool.errors import BpfError, FormatError, NotFoundError
from pybpftool.records import Record
from pybpftool.uapi.btf import (
    ARRAY,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FUNC,
    FUNC_PROTO,
    INT,
    INT_SIGNED,
    MODIFIERS,
    PTR,
    STRUCT,
    TYPEDEF,
    UNION,
    VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pybpftool.btf.layout import Layout
    from pybpftool.btf.table import Btf

_LIMIT = 1024  # references, nested nameless structs, names of one declaration


class Param(Record):
    """A function's parameter; ``name`` is empty where the prototype gives none."""

    name: str
    type: Type

    def __str__(self) -> str:
        return self.type.declare(self.name)


class Variable(Record):
    """A variable of a data section: where it stands there, in bytes."""

    name: str
    type: Type
    offset: int
    size: int

    def __str__(self) -> str:
        return self.type.declare(self.name)


class Member(Record):
    """A member of a struct or union.

    ``bit_offset`` counts from the beginning of the struct that was asked, also for the
    members of nameless structs in it. ``bit_size`` is None unless it is a bit-field.
    """

    name: str
    type: Type
    bit_offset: int
    bit_size: int | None = None

    @property
    def offset(self) -> int:
        """The offset in bytes; of a bit-field that of the byte that its first bit is in."""
        return self.bit_offset // 8

    @property
    def size(self) -> int | None:
        """The size in bytes (of a bit-field: of its type); None where the type has none."""
        return self.type.size

    def __str__(self) -> str:
        width = "" if self.bit_size is None else f":{self.bit_size}"
        return self.type.declare(self.name) + width

    def __repr__(self) -> str:
        where = f"bit {self.bit_offset}" if self.bit_size is not None else f"byte {self.offset}"
        return f"<{self} at {where}>"


class Type:
    """One type. Two are equal when they are the same type of the same table."""

    __slots__ = ("_btf", "id")

    def __init__(self, btf: Btf, id: int) -> None:
        self._btf = btf
        self.id = id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Type):
            return NotImplemented
        return self._btf is other._btf and self.id == other.id

    def __hash__(self) -> int:
        return hash((id(self._btf), self.id))

    def __str__(self) -> str:
        return self.declare()

    def __repr__(self) -> str:
        size = self.size
        shown = "" if size is None else f", {size} byte{'' if size == 1 else 's'}"
        return f"<{self.kind} {self.name or '(nameless)'}{shown}, id {self.id}>"

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`; ``void`` for type 0."""
        number = self._btf.kind(self.id)
        if not number:
            return "void"
        return KINDS[number] if number < len(KINDS) else f"kind {number}"

    @property
    def name(self) -> str:
        """The name alone, without ``struct``; empty for nameless types."""
        return self._btf.name(self.id)

    @property
    def size(self) -> int | None:
        """The size in bytes; None where there is none (functions, declarations, void)."""
        return self._btf.size_of(self.id)

    @property
    def align(self) -> int | None:
        """The natural alignment in bytes, 1 for a packed struct; None where there is none."""
        return self._btf.align_of(self.id) or None

    @property
    def resolved(self) -> Type:
        """The type behind typedefs and qualifiers: itself where there are none."""
        id = self.id
        for _ in range(_LIMIT):
            words, at = self._btf.at(id)
            kind = words[at] >> 24 & 0x7F
            if kind != TYPEDEF and kind not in MODIFIERS:
                return Type(self._btf, id)
            id = words[at + 1]
        raise FormatError(f"the BTF's type [{self.id}] refers to itself")

    @property
    def target(self) -> Type:
        """What a pointer, array, typedef, qualifier, variable or function refers to."""
        words, at = self._btf.at(self.id)
        kind = words[at] >> 24 & 0x7F
        if kind == ARRAY:
            return Type(self._btf, words[at + 2])
        if kind in MODIFIERS or kind in _REFERRING:
            return Type(self._btf, words[at + 1])
        raise BpfError(f"'{self}' refers to no other type: it is of kind {self.kind}")

    def _as(self, what: str, *kinds: int) -> Type:
        """The type behind typedefs and qualifiers, which has to be of one of these kinds."""
        found = self.resolved
        if found._btf.kind(found.id) not in kinds:
            raise BpfError(f"'{self}' has no {what}: it is of kind {found.kind}")
        return found

    @property
    def members(self) -> Members:
        """The members of a struct or union by name; a typedef's are those of its struct."""
        return Members(self._as("members", STRUCT, UNION))

    @property
    def declared(self) -> tuple[Member, ...]:
        """The members in the order of their declaration, nameless ones included."""
        struct = self._as("members", STRUCT, UNION)
        return tuple(struct._members(0))

    def _members(self, base: int) -> Iterator[Member]:
        btf = self._btf
        for member in btf.members(self.id):
            offset, width = base + member.bit_offset, member.bit_size or None
            if width is None:
                target = btf.resolve(member.type_id)
                if target and btf.kind(target) == INT:
                    # Compilers before the flag for bit-fields made an INT for each.
                    _, first, bits = btf.int_info(target)
                    if first or bits < 8 * (btf.size_of(target) or 0):
                        offset, width = offset + first, bits
            yield Member(member.name, Type(btf, member.type_id), offset, width)

    @property
    def values(self) -> dict[str, int]:
        """The names of an enum with their values, signed if the enum is."""
        enum = self._as("values", ENUM, ENUM64)
        return dict(self._btf.enumerators(enum.id))

    def name_of(self, value: int) -> str | None:
        """The first name that an enum has for a value; None without one."""
        enum = self._as("values", ENUM, ENUM64)
        return next((n for n, v in self._btf.enumerators(enum.id) if v == value), None)

    @property
    def count(self) -> int:
        """The number of elements of an array."""
        return self._btf.array(self._as("elements", ARRAY).id)[2]

    @property
    def is_signed(self) -> bool:
        """Whether an integer or enum is signed."""
        found = self._as("sign", INT, ENUM, ENUM64)
        if self._btf.kind(found.id) == INT:
            return bool(self._btf.int_info(found.id)[0] & INT_SIGNED)
        return bool(self._btf.type(found.id).kind_flag)

    def _prototype(self) -> Type:
        """The FUNC_PROTO of a function, of a prototype or of a pointer to one."""
        found = self.resolved
        for _ in range(3):  # a pointer, a function, its prototype
            kind = found._btf.kind(found.id)
            if kind == FUNC_PROTO:
                return found
            if kind not in (FUNC, PTR):
                break
            found = found.target.resolved
        raise BpfError(f"'{self}' is not a function: it is of kind {self.kind}")

    @property
    def params(self) -> tuple[Param, ...]:
        """A function's parameters; also those of a prototype or a pointer to a function."""
        proto = self._prototype()
        found = proto._btf.params(proto.id)
        if found and not found[-1][1]:
            found.pop()  # void last means "..."
        return tuple([Param(name, Type(self._btf, id)) for name, id in found])

    @property
    def is_variadic(self) -> bool:
        """Whether a function takes further arguments (``...``)."""
        proto = self._prototype()
        found = proto._btf.params(proto.id)
        return bool(found) and not found[-1][1]

    @property
    def returns(self) -> Type:
        """What a function returns; a type of kind ``void`` where it returns nothing."""
        proto = self._prototype()
        words, at = self._btf.at(proto.id)
        return Type(self._btf, words[at + 1])

    @property
    def variables(self) -> dict[str, Variable]:
        """The variables of a data section by name."""
        section = self._as("variables", DATASEC)
        btf = self._btf
        found = {}
        for id, offset, size in btf.secinfos(section.id):
            variable = Type(btf, id)
            found[variable.name] = Variable(variable.name, variable.target, offset, size)
        return found

    def declare(self, name: str = "") -> str:
        """The declaration of a variable of this type, as C writes it.

        >>> types["task_struct"].members["comm"].type.declare("comm")
        'char comm[16]'
        """
        return declaration(self._btf, self.id, name)

    def c(self) -> str:
        """The definition in C, after the definitions of all that it needs."""
        if self._btf.kind(self.id) in (FUNC, VAR, FUNC_PROTO):
            return f"{self.declare()};\n"
        from pybpftool.btf.c.dump import definition

        return definition(self._btf, self.id)

    def layout(self) -> Layout:
        """Where the members of a struct or union lie, and where nothing does."""
        from pybpftool.btf.layout import Layout

        return Layout(self._as("layout", STRUCT, UNION))


_REFERRING = frozenset((PTR, TYPEDEF, VAR, FUNC, DECL_TAG))


class Members:
    """The members of a struct as C names them: those of nameless structs in it included.

    A mapping from names to :class:`Member`; ``members["se.vruntime"]`` follows structs in
    structs, with the offset from the outermost one.
    """

    __slots__ = ("_found", "_type")

    def __init__(self, type: Type) -> None:
        self._type = type
        self._found: dict[str, Member] | None = None

    def _all(self) -> dict[str, Member]:
        if self._found is None:
            found: dict[str, Member] = {}
            _add_members(self._type, 0, found, 0)
            self._found = found
        return self._found

    def __getitem__(self, name: str) -> Member:
        first, dot, rest = name.partition(".")
        member = self._all().get(first)
        if member is None:
            raise NotFoundError(
                f"'{self._type}' has no member '{first}'", close_to(first, self._all())
            )
        if not dot:
            return member
        inner = member.type.members[rest]
        return inner._replace(bit_offset=member.bit_offset + inner.bit_offset)

    def get(self, name: str, default: Member | None = None) -> Member | None:
        """The member of this name, or ``default``."""
        try:
            return self[name]
        except NotFoundError:
            return default

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def keys(self) -> list[str]:
        """The names in the order of declaration."""
        return list(self._all())

    def values(self) -> list[Member]:
        """The members in the order of declaration."""
        return list(self._all().values())

    def items(self) -> list[tuple[str, Member]]:
        """(name, member) pairs in the order of declaration."""
        return list(self._all().items())

    def __repr__(self) -> str:
        return f"<{len(self)} members of {self._type}>"


def _add_members(type: Type, base: int, found: dict[str, Member], depth: int) -> None:
    if depth > 64 or len(found) > 1 << 20:
        raise FormatError(f"the BTF's type [{type.id}] nests structs without end")
    for member in type._members(base):
        if member.name:
            found.setdefault(member.name, member)
            continue
        inner = member.type.resolved
        if inner.kind in ("struct", "union"):
            _add_members(inner, member.bit_offset, found, depth + 1)


def close_to(name: str, names: Iterable[str]) -> list[str]:
    """The names that somebody who wrote ``name`` may have meant."""
    from difflib import get_close_matches

    return get_close_matches(name, list(names), 5)
