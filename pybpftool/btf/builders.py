"""Values in memory as Python objects: what a library user gets, and JSON is made from."""

from __future__ import annotations

import struct

from pybpftool.btf.scalars import (
    CHARS_JSON,
    FLOATS,
    MAX_DEPTH,
    MAX_PIECES,
    SIGNED,
    UNSIGNED,
    bits_of,
    enum_names,
    float_text,
    func_pointer_text,
    int_layout,
    is_char,
    pointed_signature,
    string_of,
)
from pybpftool.errors import FormatError
from pybpftool.output.jsontext import RawNumber
from pybpftool.uapi.btf import (
    ARRAY,
    CONST,
    DATASEC,
    ENUM,
    ENUM64,
    FLOAT,
    INT,
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.btf.scalars import ProgName
    from pybpftool.btf.table import Btf, Member

    Builder = Callable[[bytes, int], object]


def python_value(
    btf: Btf, type_id: int, data: bytes, offset: int = 0, prog_name: ProgName | None = None
) -> object:
    """One value as dict, list, int, str, bool and RawNumber, to be serialised as JSON.

    Members that share a name (anonymous unions) stay apart in the dict: all but
    the first are keys that compare by identity.
    """
    return compile_python(btf, type_id, prog_name)(data, offset)


def compile_python(btf: Btf, type_id: int, prog_name: ProgName | None = None) -> Builder:
    """A function of (data, offset) that gives :func:`python_value`."""
    return _checked(_Builders(btf, prog_name).type(type_id, 0), type_id)


def compile_numbers(btf: Btf, type_id: int) -> Builder:
    """As :func:`compile_python`, for programs: every number is an int or a float.

    Where JSON spells bit-fields, 128-bit integers and floating-point numbers in its own
    ways, these are Python numbers, with the sign that their type has; a char is a str.
    """
    return _checked(_Numbers(btf, None).type(type_id, 0), type_id)


def _checked(build: Builder, type_id: int) -> Builder:

    def run(data: bytes, offset: int) -> object:
        try:
            return build(data, offset)
        except struct.error:
            raise FormatError(
                f"the value has {len(data) - offset} bytes, fewer than its type [{type_id}]"
            ) from None

    return run


class _Duplicate(str):
    """A name that a dict holds a second time."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


def _null(data: bytes, offset: int) -> object:
    return None


class _Builders:
    """Closures that build a Python value, by type."""

    def __init__(self, btf: Btf, prog_name: ProgName | None) -> None:
        self.btf = btf
        self.prog_name = prog_name
        self.order = "<" if btf.byteorder == "little" else ">"
        self.known: dict[int, Builder] = {}
        self.nesting = 0

    def scalar(self, code: str, convert: Callable[..., object] | None = None) -> Builder:
        unpack = struct.Struct(self.order + code).unpack_from
        if convert is None:
            return lambda data, offset: unpack(data, offset)[0]
        return lambda data, offset: convert(unpack(data, offset)[0])

    def bits(self, bit_offset: int, bits: int, at: int = 0, signed: bool = False) -> Builder:
        """Some bits; JSON shows them as hexadecimal text whatever their sign."""
        take = bits_of(self.btf.byteorder, bit_offset, bits)
        unpack = struct.Struct(f"{(bit_offset + bits + 7) // 8}s").unpack_from
        return lambda data, offset: f"0x{take(unpack(data, offset + at)[0]):x}"

    def type(self, type_id: int, bit_offset: int) -> Builder:
        known = None if bit_offset else self.known.get(type_id)
        if known is None:
            if self.nesting > MAX_DEPTH:
                raise FormatError(f"type [{type_id}] is nested too deeply to be shown")
            self.nesting += 1
            known = self._type(type_id, bit_offset)
            self.nesting -= 1
            if not bit_offset:
                self.known[type_id] = known
        return known

    def _type(self, type_id: int, bit_offset: int) -> Builder:
        btf = self.btf
        words, at = btf.at(type_id)
        kind = words[at] >> 24 & 0x7F
        if kind == INT:
            return self.integer(words[at + 2], bit_offset)
        if kind in (STRUCT, UNION):
            return self.composite(type_id)
        if kind == PTR:
            return self.pointer(words[at + 1])
        if kind in (ENUM, ENUM64):
            found = enum_names(btf, type_id)
            if found is None:
                return _null
            code, names = found
            return self.scalar(code, lambda value: names.get(value, value))
        if kind == ARRAY:
            return self.array(type_id)
        if kind in (TYPEDEF, VOLATILE, CONST, RESTRICT):
            target = btf.resolve(type_id)
            return _null if target is None else self.type(target, bit_offset)
        if kind == TYPE_TAG:
            return self.type(words[at + 1], bit_offset)
        if kind == VAR:
            name = btf.name(type_id)
            build = self.type(words[at + 1], bit_offset)
            return lambda data, offset: {name: build(data, offset)}
        if kind == DATASEC:
            return self.datasec(type_id)
        if kind == FLOAT and words[at + 1] in FLOATS:
            return self.scalar(FLOATS[words[at + 1]], self.floating)
        return _null

    def integer(self, word: int, bit_offset: int) -> Builder:
        form, encoding, bits, first = int_layout(word, bit_offset)
        signed = encoding == INT_SIGNED
        if form == "bits":
            return self.bits(first % 8, bits, first // 8, signed)
        if form == "wide":
            return self.bits(0, 128, 0, signed)
        if encoding == 0:
            return self.scalar(UNSIGNED[bits])
        if signed:
            return self.scalar(SIGNED[bits])
        if encoding == INT_CHAR:
            return self.scalar("B", self.char)
        if encoding == INT_BOOL:
            return self.scalar("B", bool)
        return self.bits(0, bits)

    def composite(self, type_id: int) -> Builder:
        members: list[tuple[str, int, Builder]] = []
        seen: set[str] = set()
        for member in self.btf.members(type_id):
            name = _Duplicate(member.name) if member.name in seen else member.name
            seen.add(member.name)
            if member.bit_size:
                build = self.bit_field(member)
            else:
                build = self.type(member.type_id, member.bit_offset % 8)
            members.append((name, member.bit_offset // 8, build))
        return lambda data, offset: {
            name: build(data, offset + where) for name, where, build in members
        }

    def bit_field(self, member: Member) -> Builder:
        return self.bits(member.bit_offset % 8, member.bit_size)

    def char(self, value: int) -> object:
        return RawNumber(CHARS_JSON[value])

    def floating(self, value: float) -> object:
        return RawNumber(float_text(value))

    def datasec(self, type_id: int) -> Builder:
        name = self.btf.name(type_id)
        variables = [(where, self.type(var, 0)) for var, where, _ in self.btf.secinfos(type_id)]
        return lambda data, offset: {
            name: [build(data, offset + where) for where, build in variables]
        }

    def array(self, type_id: int) -> Builder:
        element, _, count = self.btf.array(type_id)
        size = self.btf.size_of(element)
        if size is None:
            return _null
        if count > MAX_PIECES and not size:
            raise FormatError(f"an array of {count} empty elements is not shown")
        build = self.type(element, 0)
        length = size * count
        is_string = bool(count) and is_char(self.btf, element)

        def run(data: bytes, offset: int) -> object:
            if offset + length > len(data):
                raise struct.error
            if is_string:
                string = string_of(bytes(data[offset : offset + length]))
                if string is not None:
                    return string
            if not size:
                return [build(data, offset) for _ in range(count)]
            return [build(data, at) for at in range(offset, offset + length, size)]

        return run

    def pointer(self, target: int) -> Builder:
        if self.prog_name is not None:
            text = pointed_signature(self.btf, target)
            if text is not None:
                name_of = self.prog_name
                return self.scalar(
                    "Q",
                    lambda value: value if value >> 32 else func_pointer_text(text, value, name_of),
                )
        return self.scalar("Q")


class _Numbers(_Builders):
    """Builders of values as Python itself has them."""

    def bits(self, bit_offset: int, bits: int, at: int = 0, signed: bool = False) -> Builder:
        take = bits_of(self.btf.byteorder, bit_offset, bits)
        unpack = struct.Struct(f"{(bit_offset + bits + 7) // 8}s").unpack_from
        if not signed:
            return lambda data, offset: take(unpack(data, offset + at)[0])
        sign = 1 << (bits - 1)
        return lambda data, offset: (take(unpack(data, offset + at)[0]) ^ sign) - sign

    def bit_field(self, member: Member) -> Builder:
        btf = self.btf
        target = btf.resolve(member.type_id)
        kind = None if target is None else btf.kind(target)
        signed = False
        if target is not None and kind == INT:
            signed = bool(btf.int_info(target)[0] & INT_SIGNED)
        elif target is not None and kind in (ENUM, ENUM64):
            signed = bool(btf.type(target).kind_flag)
        number = self.bits(member.bit_offset % 8, member.bit_size, 0, signed)
        if target is None or kind == INT:
            return number
        names: dict[object, object] = {}
        for name, value in btf.enumerators(target):
            names.setdefault(value, name)

        def named(data: bytes, offset: int) -> object:
            value = number(data, offset)
            return names.get(value, value)

        return named

    def char(self, value: int) -> object:
        return chr(value)

    def floating(self, value: float) -> object:
        return value
