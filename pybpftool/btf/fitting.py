"""Values fitted to BTF types, as bytes: what an initializer or a Python value means.

What does not fit the type is refused: nothing is cut off or wrapped around.
"""

from __future__ import annotations

import struct

from pybpftool.btf.scalars import FLOATS, is_char
from pybpftool.errors import BpfError
from pybpftool.uapi.btf import (
    ARRAY,
    DATASEC,
    ENUM,
    ENUM64,
    FLOAT,
    INT,
    INT_BOOL,
    INT_SIGNED,
    PTR,
    STRUCT,
    TYPE_TAG,
    UNION,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf

MAX_DEPTH = 64


class Scalar:
    """What stands for a value; ``kind``: number, char, string, word, float, or python (a str)."""

    __slots__ = ("kind", "number", "raw", "text")

    def __init__(self, kind: str, text: str, number: int = 0, raw: bytes = b"") -> None:
        self.kind = kind
        self.text = text
        self.number = number
        self.raw = raw


class Item:
    """An element between braces: where it goes (names and indexes) and what it is."""

    __slots__ = ("path", "value")

    def __init__(self, path: list[str | int], value: Value) -> None:
        self.path = path
        self.value = value


class Value:
    """A scalar or the items of a pair of braces."""

    __slots__ = ("items", "scalar")

    def __init__(self, scalar: Scalar | None, items: list[Item] | None) -> None:
        self.scalar = scalar
        self.items = items


class Encoder:
    """Places values into bytes by a type."""

    def __init__(self, btf: Btf, size: int, background: int = 0) -> None:
        self.btf = btf
        self.order: str = "<" if btf.byteorder == "little" else ">"
        self.data = bytearray((background,)) * size
        # Bits that were given a value, so that none is given two.
        self.taken: set[tuple[int, int]] = set()

    def resolved(self, type_id: int) -> int:
        found = self.btf.resolve(type_id)
        if found is None:
            raise BpfError(f"type [{type_id}] is not complete, so that no value fits it")
        if self.btf.kind(found) == TYPE_TAG:
            return self.resolved(self.btf.type(found).size_or_type)
        return found

    def claim(self, what: str, bit: int, width: int) -> None:
        if (bit, width) in self.taken:
            raise BpfError(f"{what} is given twice")
        self.taken.add((bit, width))

    def value(self, type_id: int, bit: int, width: int, value: Value, what: str) -> None:
        """Place ``value`` of a type at a bit offset; ``width`` is a bit-field's, or 0."""
        type_id = self.resolved(type_id)
        kind = self.btf.kind(type_id)
        if kind in (STRUCT, UNION, DATASEC):
            if value.items is None:
                raise BpfError(f"{what} is {_named(self.btf, type_id)} and needs braces")
            self.composite(type_id, bit, value.items, what)
        elif kind == ARRAY:
            self.array(type_id, bit, value, what)
        else:
            scalar = value.scalar
            if scalar is None:
                items = value.items or []
                # As in C, a scalar may stand in braces of its own.
                if len(items) != 1 or items[0].path or items[0].value.scalar is None:
                    raise BpfError(f"{what} is {_named(self.btf, type_id)}, a single value")
                scalar = items[0].value.scalar
            self.scalar(type_id, kind, bit, width, scalar, what)

    def fields(self, type_id: int) -> list[tuple[str, int, int, int]]:
        """(name, type, bit offset, width) of the members of a struct, union or section."""
        if self.btf.kind(type_id) == DATASEC:
            return [
                (self.btf.name(var), self.btf.type(var).size_or_type, offset * 8, 0)
                for var, offset, _ in self.btf.secinfos(type_id)
            ]
        return [(m.name, m.type_id, m.bit_offset, m.bit_size) for m in self.btf.members(type_id)]

    def find(self, type_id: int, name: str, depth: int = 0) -> tuple[int, int, int, int] | None:
        """(index, type, bit offset, width) of a member, those of anonymous members included."""
        for index, (member, kind, bit, width) in enumerate(self.fields(type_id)):
            if member == name:
                return index, kind, bit, width
            if not member and depth < MAX_DEPTH:
                inner = self.btf.resolve(kind)
                if inner is not None and self.btf.kind(inner) in (STRUCT, UNION):
                    found = self.find(inner, name, depth + 1)
                    if found is not None:
                        return index, found[1], bit + found[2], found[3]
        return None

    def composite(self, type_id: int, bit: int, items: list[Item], what: str) -> None:
        fields = self.fields(type_id)
        is_union = self.btf.kind(type_id) == UNION
        position = 0
        for count, item in enumerate(items):
            if is_union and count:
                raise BpfError(f"{what} is a union: only one of its members can have a value")
            if item.path:
                name = item.path[0]
                found = self.find(type_id, name) if isinstance(name, str) else None
                if found is None:
                    raise BpfError(
                        f"{what} is {_named(self.btf, type_id)}, which has no member"
                        f" '{name}' (it has {_listed([field[0] for field in fields])})"
                    )
                index, kind, where, width = found
                label = f"'{name}'"
                self.path(kind, bit + where, width, item.path[1:], item.value, label)
                position = index + 1
                continue
            # Nameless bit-fields are padding, which takes no value.
            while position < len(fields) and not fields[position][0] and fields[position][3]:
                position += 1
            if position >= len(fields):
                raise BpfError(f"{what} has only {len(fields)} members")
            name, kind, where, width = fields[position]
            self.path(kind, bit + where, width, [], item.value, f"'{name}'")
            position += 1

    def path(
        self, type_id: int, bit: int, width: int, path: list[str | int], value: Value, what: str
    ) -> None:
        """Follow what is left of a designator like ``.a[2].b``."""
        if not path:
            if self.btf.kind(self.resolved(type_id)) not in (
                STRUCT, UNION, ARRAY, DATASEC,
            ):  # fmt: skip
                self.claim(what, bit, width)
            self.value(type_id, bit, width, value, what)
            return
        inner = self.resolved(type_id)
        kind = self.btf.kind(inner)
        step = path[0]
        if isinstance(step, str) and kind in (STRUCT, UNION, DATASEC):
            self.composite(inner, bit, [Item(path, value)], what)
        elif isinstance(step, int) and kind == ARRAY:
            self.elements(inner, bit, [Item(path, value)], what)
        else:
            raise BpfError(f"{what} is {_named(self.btf, inner)}, which '{step}' does not fit")

    def array(self, type_id: int, bit: int, value: Value, what: str) -> None:
        scalar = value.scalar
        if scalar is None:
            self.elements(type_id, bit, value.items or [], what)
            return
        if scalar.kind == "python":
            scalar = self.python_text(type_id, ARRAY, scalar)
        element, _, count = self.btf.array(type_id)
        if scalar.kind != "string" or self.btf.size_of(element) != 1:
            raise BpfError(f"{what} is {_named(self.btf, type_id)} and needs braces")
        if len(scalar.raw) > count:
            raise BpfError(f"{scalar.text} has {len(scalar.raw)} bytes, {what} only {count}")
        self.claim(what, bit, 0)
        self.data[bit // 8 : bit // 8 + len(scalar.raw)] = scalar.raw

    def elements(self, type_id: int, bit: int, items: list[Item], what: str) -> None:
        element, _, count = self.btf.array(type_id)
        size = self.btf.size_of(element)
        if size is None:
            raise BpfError(f"the elements of {what} have no size")
        position = 0
        for item in items:
            rest: list[str | int] = []
            if item.path:
                index = item.path[0]
                if not isinstance(index, int):
                    raise BpfError(f"{what} is {_named(self.btf, type_id)}: it has no members")
                position = index
                rest = item.path[1:]
            if position >= count:
                raise BpfError(f"{what} has only {count} elements")
            where = bit + position * size * 8
            self.path(element, where, 0, rest, item.value, f"element {position} of {what}")
            position += 1

    def python_text(self, type_id: int, kind: int, scalar: Scalar) -> Scalar:
        """What a str of Python means for a type: a string, a character or a name."""
        if kind == ARRAY:
            return Scalar("string", repr(scalar.text), 0, scalar.raw)
        if kind == INT and len(scalar.text) == 1 and self.btf.size_of(type_id) == 1:
            number = ord(scalar.text)
            if number < 256:
                return Scalar("char", repr(scalar.text), number)
        return Scalar("word", scalar.text)

    def scalar(
        self, type_id: int, kind: int, bit: int, width: int, scalar: Scalar, what: str
    ) -> None:
        btf = self.btf
        size = btf.size_of(type_id)
        if size is None:
            raise BpfError(f"{what} is {_named(btf, type_id)}, which takes no value")
        if scalar.kind == "python":
            scalar = self.python_text(type_id, kind, scalar)
        if kind == FLOAT:
            self.floating(size, bit, scalar, what)
            return
        signed = False
        bits = width or size * 8
        if kind == INT:
            encoding, first, int_bits = btf.int_info(type_id)
            signed = bool(encoding & INT_SIGNED)
            if not width:
                bits = int_bits
                bit += first
            if encoding == INT_BOOL:
                bits = min(bits, 1)
        number = scalar.number
        if kind in (ENUM, ENUM64):
            names = dict(reversed(btf.enumerators(type_id)))
            # Either sign fits as long as the bits do.
            signed = bool(btf.type(type_id).kind_flag) or number < 0
            if scalar.kind == "word":
                if scalar.text not in names:
                    raise BpfError(
                        f"{what} is {_named(btf, type_id)}, which has no '{scalar.text}'"
                        f" (it has {_listed(list(names))})"
                    )
                number = names[scalar.text]
                signed = number < 0
        elif scalar.kind == "word":
            if scalar.text not in ("true", "false"):
                raise BpfError(f"{what} is {_named(btf, type_id)}, which has no '{scalar.text}'")
            number = int(scalar.text == "true")
        if scalar.kind in ("string", "float"):
            raise BpfError(f"{what} is {_named(btf, type_id)}, which {scalar.text} does not fit")
        if scalar.kind == "char" and bits == 8:
            signed = False  # a byte, whatever the sign of char
        least, most = (
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        )
        if not least <= number <= most:
            raise BpfError(
                f"{scalar.text} does not fit {what}, {_named(btf, type_id)} from {least} to {most}"
            )
        self.place(bit, width or (8 * size if bits == 1 else bits), number)

    def floating(self, size: int, bit: int, scalar: Scalar, what: str) -> None:
        if scalar.kind not in ("number", "float") or size not in FLOATS:
            raise BpfError(f"{what} is a floating-point number, which {scalar.text} does not fit")
        try:
            number = float(scalar.number) if scalar.kind == "number" else float(scalar.text)
            self.data[bit // 8 : bit // 8 + size] = struct.pack(self.order + FLOATS[size], number)
        except OverflowError:
            raise BpfError(f"{scalar.text} is too large for {what}") from None

    def place(self, bit: int, width: int, number: int) -> None:
        """Put the low ``width`` bits of a number at a bit offset."""
        number &= (1 << width) - 1
        start, end = bit // 8, (bit + width + 7) // 8
        size = end - start
        order = self.btf.byteorder
        little = order == "little"
        word = int.from_bytes(self.data[start:end], "little" if little else "big")
        shift = bit % 8 if little else size * 8 - bit % 8 - width
        word &= ~(((1 << width) - 1) << shift)
        word |= number << shift
        self.data[start:end] = word.to_bytes(size, "little" if little else "big")


def _named(btf: Btf, type_id: int) -> str:
    """A type in words, for a sentence."""
    type = btf.type(type_id)
    if type.kind == ARRAY:
        element, _, count = btf.array(type_id)
        of = "chars" if is_char(btf, element) else f"'{btf.name(element)}'"
        return f"an array of {count} {of}"
    kinds = {
        STRUCT: "a struct", UNION: "a union", ENUM: "an enum",
        ENUM64: "an enum", PTR: "a pointer", DATASEC: "a section",
        FLOAT: "a floating-point number", INT: "an integer",
    }  # fmt: skip
    word = kinds.get(type.kind, "of another kind")
    return f"{word} '{type.name}'" if type.name else word


def _listed(names: list[str]) -> str:
    named = [name for name in names if name]
    shown = ", ".join(named[:12])
    return shown + ", ..." if len(named) > 12 else shown or "none"


def fit(btf: Btf, type_id: int, value: Value, size: int, background: int = 0) -> bytes:
    """The ``size`` bytes of a value for a type. Raises BpfError with what does not fit.

    :param background: the byte that stands where the value names nothing.
    """
    if not type_id:
        raise BpfError("the map's BTF says nothing of this type; give its bytes instead")
    own = btf.size_of(type_id)
    if own is None or own > size:
        raise BpfError(f"the map's BTF does not fit its size of {size} bytes")
    encoder = Encoder(btf, size, background)
    encoder.value(type_id, 0, 0, value, "the value")
    return bytes(encoder.data)


def encode_python(btf: Btf, type_id: int, value: object, size: int) -> bytes:
    """The ``size`` bytes of a Python value for a type; see :func:`fit`.

    A dict gives members by name, a list elements or members in their order; what is left
    out is zero. A str is a string, a character or the name of an enumerator; bytes are
    those of an array.
    """
    try:
        return fit(btf, type_id, _of_python(value, 0), size)
    except BpfError as error:
        raise BpfError(f"cannot encode {value!r}: {error}") from None


def _of_python(value: object, depth: int) -> Value:
    if depth > MAX_DEPTH:
        raise BpfError("it is nested too deeply")
    if isinstance(value, dict):
        return Value(None, _members(value, depth))
    if isinstance(value, (list, tuple)):
        return Value(None, [Item([], _of_python(each, depth + 1)) for each in value])
    return Value(_python_scalar(value), None)


def _members(value: dict[object, object], depth: int) -> list[Item]:
    items: list[Item] = []
    for name, member in value.items():
        if name == "" and isinstance(member, dict):
            # An anonymous struct or union: its members are as good as the outer one's.
            items += _members(member, depth + 1)
        elif isinstance(name, (str, int)):
            items.append(Item([name], _of_python(member, depth + 1)))
        else:
            raise BpfError(f"{name!r} does not name a member or an element")
    return items


def _python_scalar(value: object) -> Scalar:
    if isinstance(value, (bool, int)):
        return Scalar("number", str(value), int(value))
    if isinstance(value, float):
        return Scalar("float", repr(value))
    if isinstance(value, str):
        return Scalar("python", value, 0, value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (bytes, bytearray)):
        return Scalar("string", repr(value), 0, bytes(value))
    raise BpfError(f"values of {type(value).__name__} have no place in a map")
