"""C initializers as keys and values of maps: ``{.pid = 1, .comm = "sh", .state = RUNNING}``.

The text is fitted to a BTF type. Braces hold members in their order or by name
(``.a.b = 1``), elements in their order or by index (``[3] = 7``); what is not named is
zero. Scalars are numbers (decimal, ``0x``, ``0`` octal, signed), characters, strings for
arrays of char, names of enumerators, ``true`` and ``false``, and floating-point numbers.
What does not fit the type is refused: nothing is cut off or wrapped around.
"""

from __future__ import annotations

import struct

from pybpftool.btf.scalars import is_char
from pybpftool.errors import UsageError
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

_MAX_DEPTH = 64
_SIMPLE_ESCAPES = {
    "n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11,
    "\\": 92, "'": 39, '"': 34, "e": 27,
}  # fmt: skip
_FLOATS = {2: "e", 4: "f", 8: "d"}


class _Scalar:
    """A token that stands for a value; ``kind``: number, char, string, word or float."""

    __slots__ = ("kind", "number", "raw", "text")

    def __init__(self, kind: str, text: str, number: int = 0, raw: bytes = b"") -> None:
        self.kind = kind
        self.text = text
        self.number = number
        self.raw = raw


class _Item:
    """An element between braces: where it goes (names and indexes) and what it is."""

    __slots__ = ("path", "value")

    def __init__(self, path: list[str | int], value: _Value) -> None:
        self.path = path
        self.value = value


class _Value:
    """A scalar or the items of a pair of braces."""

    __slots__ = ("items", "scalar")

    def __init__(self, scalar: _Scalar | None, items: list[_Item] | None) -> None:
        self.scalar = scalar
        self.items = items


class _Reader:
    """Reads an initializer; refuses what is no C."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, reason: str) -> UsageError:
        rest = self.text[self.at : self.at + 20]
        where = f"at '{rest}'" if rest else "at its end"
        return UsageError(f"cannot read the initializer '{self.text}' {where}: {reason}")

    def blanks(self) -> str:
        text = self.text
        while self.at < len(text) and text[self.at] in " \t\n\r":
            self.at += 1
        return text[self.at : self.at + 1]

    def accept(self, mark: str) -> bool:
        if self.blanks() == mark:
            self.at += 1
            return True
        return False

    def whole(self) -> _Value:
        value = self.value(0)
        if self.blanks():
            raise self.fail("it should have ended here")
        return value

    def value(self, depth: int) -> _Value:
        if depth > _MAX_DEPTH:
            raise self.fail("it is nested too deeply")
        if not self.accept("{"):
            return _Value(self.scalar(), None)
        items: list[_Item] = []
        while not self.accept("}"):
            path = self.path()
            items.append(_Item(path, self.value(depth + 1)))
            if not self.accept(","):
                if not self.accept("}"):
                    raise self.fail("expected ',' or '}'")
                break
        return _Value(None, items)

    def path(self) -> list[str | int]:
        path: list[str | int] = []
        while True:
            if self.accept("."):
                path.append(self.word())
            elif self.accept("["):
                index = self.scalar()
                if index.kind != "number" or index.number < 0:
                    raise self.fail("an index is a number")
                path.append(index.number)
                if not self.accept("]"):
                    raise self.fail("expected ']'")
            else:
                break
        if path and not self.accept("="):
            raise self.fail("expected '='")
        return path

    def word(self) -> str:
        self.blanks()
        start = self.at
        text = self.text
        while self.at < len(text) and (text[self.at].isalnum() or text[self.at] == "_"):
            self.at += 1
        if start == self.at:
            raise self.fail("expected a name")
        return text[start : self.at]

    def scalar(self) -> _Scalar:
        mark = self.blanks()
        if mark == '"' or mark == "'":
            return self.quoted(mark)
        start = self.at
        if mark and mark in "+-":
            self.at += 1
        text = self.text
        while self.at < len(text) and (
            text[self.at].isalnum()
            or text[self.at] in "_."
            or (text[self.at] in "+-" and text[self.at - 1] in "eE" and _is_decimal(text, start))
        ):
            self.at += 1
        token = text[start : self.at]
        if not token.strip("+-"):
            self.at = start
            raise self.fail("expected a value")
        number = _integer(token)
        if number is not None:
            return _Scalar("number", token, number)
        if token.lstrip("+-")[:1].isdigit() or token.lstrip("+-").startswith("."):
            try:
                float(token)
            except ValueError:
                self.at = start
                raise self.fail("this is no number") from None
            return _Scalar("float", token)
        if token[0] in "+-":
            self.at = start
            raise self.fail("expected a number after the sign")
        return _Scalar("word", token)

    def quoted(self, mark: str) -> _Scalar:
        start = self.at
        self.at += 1
        raw = bytearray()
        text = self.text
        while True:
            if self.at >= len(text):
                self.at = start
                raise self.fail("the quote is never closed")
            character = text[self.at]
            self.at += 1
            if character == mark:
                break
            if character != "\\":
                raw += character.encode("utf-8", "surrogateescape")
                continue
            raw.append(self.escape())
        token = text[start : self.at]
        if mark == '"':
            return _Scalar("string", token, 0, bytes(raw))
        if len(raw) != 1:
            self.at = start
            raise self.fail("a character in quotes is one byte")
        return _Scalar("char", token, raw[0])

    def escape(self) -> int:
        text = self.text
        character = text[self.at : self.at + 1]
        if character == "x":
            digits = text[self.at + 1 : self.at + 3]
            try:
                number = int(digits, 16) if digits.isalnum() else -1
            except ValueError:
                number = -1
            if number < 0 or len(digits) != 2:
                raise self.fail("'\\x' needs two hexadecimal digits")
            self.at += 3
            return number
        if character not in _SIMPLE_ESCAPES or not character:
            raise self.fail("this escape is not known")
        self.at += 1
        return _SIMPLE_ESCAPES[character]


def _is_decimal(text: str, start: int) -> bool:
    return text[start : start + 3].lstrip("+-")[:2] not in ("0x", "0X")


def _integer(token: str) -> int | None:
    from pybpftool.cli.grammar import c_number

    negative = token.startswith("-")
    number = c_number(token[1:] if token[0] in "+-" else token)
    if number is None:
        return None
    return -number if negative else number


class _Encoder:
    """Places values into bytes by a type."""

    def __init__(self, btf: Btf, size: int) -> None:
        self.btf = btf
        self.order: str = "<" if btf.byteorder == "little" else ">"
        self.data = bytearray(size)
        # Bits that were given a value, so that none is given two.
        self.taken: set[tuple[int, int]] = set()

    def resolved(self, type_id: int) -> int:
        found = self.btf.resolve(type_id)
        if found is None:
            raise UsageError(f"type [{type_id}] is not complete, so that no value fits it")
        if self.btf.kind(found) == TYPE_TAG:
            return self.resolved(self.btf.type(found).size_or_type)
        return found

    def claim(self, what: str, bit: int, width: int) -> None:
        if (bit, width) in self.taken:
            raise UsageError(f"{what} is given twice")
        self.taken.add((bit, width))

    def value(self, type_id: int, bit: int, width: int, value: _Value, what: str) -> None:
        """Place ``value`` of a type at a bit offset; ``width`` is a bit-field's, or 0."""
        type_id = self.resolved(type_id)
        kind = self.btf.kind(type_id)
        if kind in (STRUCT, UNION, DATASEC):
            if value.items is None:
                raise UsageError(f"{what} is {_named(self.btf, type_id)} and needs braces")
            self.composite(type_id, bit, value.items, what)
        elif kind == ARRAY:
            self.array(type_id, bit, value, what)
        else:
            scalar = value.scalar
            if scalar is None:
                items = value.items or []
                # As in C, a scalar may stand in braces of its own.
                if len(items) != 1 or items[0].path or items[0].value.scalar is None:
                    raise UsageError(f"{what} is {_named(self.btf, type_id)}, a single value")
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
            if not member and depth < _MAX_DEPTH:
                inner = self.btf.resolve(kind)
                if inner is not None and self.btf.kind(inner) in (STRUCT, UNION):
                    found = self.find(inner, name, depth + 1)
                    if found is not None:
                        return index, found[1], bit + found[2], found[3]
        return None

    def composite(self, type_id: int, bit: int, items: list[_Item], what: str) -> None:
        fields = self.fields(type_id)
        is_union = self.btf.kind(type_id) == UNION
        position = 0
        for count, item in enumerate(items):
            if is_union and count:
                raise UsageError(f"{what} is a union: only one of its members can have a value")
            if item.path:
                name = item.path[0]
                found = self.find(type_id, name) if isinstance(name, str) else None
                if found is None:
                    raise UsageError(
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
                raise UsageError(f"{what} has only {len(fields)} members")
            name, kind, where, width = fields[position]
            self.path(kind, bit + where, width, [], item.value, f"'{name}'")
            position += 1

    def path(
        self, type_id: int, bit: int, width: int, path: list[str | int], value: _Value, what: str
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
            self.composite(inner, bit, [_Item(path, value)], what)
        elif isinstance(step, int) and kind == ARRAY:
            self.elements(inner, bit, [_Item(path, value)], what)
        else:
            raise UsageError(f"{what} is {_named(self.btf, inner)}, which '{step}' does not fit")

    def array(self, type_id: int, bit: int, value: _Value, what: str) -> None:
        scalar = value.scalar
        if scalar is None:
            self.elements(type_id, bit, value.items or [], what)
            return
        element, _, count = self.btf.array(type_id)
        if scalar.kind != "string" or self.btf.size_of(element) != 1:
            raise UsageError(f"{what} is {_named(self.btf, type_id)} and needs braces")
        if len(scalar.raw) > count:
            raise UsageError(f"{scalar.text} has {len(scalar.raw)} bytes, {what} only {count}")
        self.claim(what, bit, 0)
        self.data[bit // 8 : bit // 8 + len(scalar.raw)] = scalar.raw

    def elements(self, type_id: int, bit: int, items: list[_Item], what: str) -> None:
        element, _, count = self.btf.array(type_id)
        size = self.btf.size_of(element)
        if size is None:
            raise UsageError(f"the elements of {what} have no size")
        position = 0
        for item in items:
            rest: list[str | int] = []
            if item.path:
                index = item.path[0]
                if not isinstance(index, int):
                    raise UsageError(f"{what} is {_named(self.btf, type_id)}: it has no members")
                position = index
                rest = item.path[1:]
            if position >= count:
                raise UsageError(f"{what} has only {count} elements")
            where = bit + position * size * 8
            self.path(element, where, 0, rest, item.value, f"element {position} of {what}")
            position += 1

    def scalar(
        self, type_id: int, kind: int, bit: int, width: int, scalar: _Scalar, what: str
    ) -> None:
        btf = self.btf
        size = btf.size_of(type_id)
        if size is None:
            raise UsageError(f"{what} is {_named(btf, type_id)}, which takes no value")
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
                    raise UsageError(
                        f"{what} is {_named(btf, type_id)}, which has no '{scalar.text}'"
                        f" (it has {_listed(list(names))})"
                    )
                number = names[scalar.text]
                signed = number < 0
        elif scalar.kind == "word":
            if scalar.text not in ("true", "false"):
                raise UsageError(f"{what} is {_named(btf, type_id)}, which has no '{scalar.text}'")
            number = int(scalar.text == "true")
        if scalar.kind in ("string", "float"):
            raise UsageError(f"{what} is {_named(btf, type_id)}, which {scalar.text} does not fit")
        if scalar.kind == "char" and bits == 8:
            signed = False  # a byte, whatever the sign of char
        least, most = (
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        )
        if not least <= number <= most:
            raise UsageError(
                f"{scalar.text} does not fit {what}, {_named(btf, type_id)} from {least} to {most}"
            )
        self.place(bit, width or (8 * size if bits == 1 else bits), number)

    def floating(self, size: int, bit: int, scalar: _Scalar, what: str) -> None:
        if scalar.kind not in ("number", "float") or size not in _FLOATS:
            raise UsageError(f"{what} is a floating-point number, which {scalar.text} does not fit")
        try:
            number = float(scalar.number) if scalar.kind == "number" else float(scalar.text)
            self.data[bit // 8 : bit // 8 + size] = struct.pack(self.order + _FLOATS[size], number)
        except OverflowError:
            raise UsageError(f"{scalar.text} is too large for {what}") from None

    def place(self, bit: int, width: int, number: int) -> None:
        """Put the low ``width`` bits of a number at a bit offset."""
        number &= (1 << width) - 1
        start, end = bit // 8, (bit + width + 7) // 8
        size = end - start
        order = self.btf.byteorder
        little = order == "little"
        word = int.from_bytes(self.data[start:end], "little" if little else "big")
        shift = bit % 8 if little else size * 8 - bit % 8 - width
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


def encode(btf: Btf, type_id: int, text: str, size: int) -> bytes:
    """The ``size`` bytes of an initializer for a type.

    A ``=`` before it is allowed. Raises :class:`UsageError` with what does not fit.
    """
    text = text.strip()
    value = _Reader(text[1:] if text.startswith("=") else text).whole()
    if not type_id:
        raise UsageError("the map's BTF says nothing of this type; give its bytes instead")
    own = btf.size_of(type_id)
    if own is None or own > size:
        raise UsageError(f"the map's BTF does not fit its size of {size} bytes")
    encoder = _Encoder(btf, size)
    encoder.value(type_id, 0, 0, value, "the value")
    return bytes(encoder.data)
