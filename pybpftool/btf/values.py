"""Values in memory (map entries, global data) as text and JSON.

A type is compiled once into a decoder: one ``struct`` format that reads all its
scalars and one ``%`` format that places them. Decoding a value is then a few
calls, whatever the number of members. What is printed follows upstream's
``btf_dumper.c``; where that would be no JSON, ``compile_json`` writes JSON.
"""

from __future__ import annotations

import struct
import sys

from pybpftool.btf.scalars import (
    BOOLS,
    CHARS_JSON,
    CHARS_TEXT,
    FLOATS,
    MAX_DEPTH,
    MAX_PIECES,
    SIGNED,
    UNSIGNED,
    EnumTexts,
    bits_of,
    enum_names,
    float_text,
    func_pointer_text,
    int_layout,
    is_char,
    pointed_signature,
    pointer_text,
    puts,
    string_of,
)
from pybpftool.errors import FormatError
from pybpftool.output.jsontext import quote
from pybpftool.uapi.btf import (
    ARRAY,
    CONST,
    DATASEC,
    ENUM,
    ENUM64,
    FLOAT,
    FWD,
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
    UNKN,
    VAR,
    VOLATILE,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.btf.scalars import ProgName
    from pybpftool.btf.table import Btf

    Decoder = Callable[[bytes, int], str]

# Arrays of up to this many scalars become part of the surrounding format.
_INLINE = 64
_MOST_BYTES = sys.maxsize  # that the struct module counts


class BadValue(FormatError):
    """A value's type has a part that upstream cannot print.

    ``text`` is what upstream writes before it gives up, all brackets closed.
    """

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


class Piece:
    """A scalar to be read: where, its struct code and how its value becomes text."""

    __slots__ = ("code", "convert", "offset")

    def __init__(self, offset: int, code: str, convert: Callable[..., str] | None) -> None:
        self.offset = offset
        self.code = code
        self.convert = convert


class Compiler:
    """Turns a type into a format and the pieces that fill it."""

    def __init__(self, btf: Btf, is_json: bool, pretty: bool, prog_name: ProgName | None) -> None:
        self.btf = btf
        self.is_json = is_json
        self.pretty = pretty
        self.prog_name = prog_name
        self.format: list[str] = []
        self.pieces: list[Piece] = []
        self.failure = ""  # why upstream stops here
        self.order = "<" if btf.byteorder == "little" else ">"
        self.nesting = 0

    # Everything below returns whether something was written: upstream closes a
    # bracket on a new line only then.

    def literal(self, text: str) -> bool:
        self.format.append(text.replace("%", "%%"))
        return True

    def piece(self, offset: int, code: str, convert: Callable[..., str] | None) -> bool:
        self.format.append("%d" if convert is None else "%s")
        self.pieces.append(Piece(offset, code, convert))
        if len(self.pieces) > MAX_PIECES:
            raise FormatError("a value of this type has too many parts")
        return True

    def fail(self, written: str, reason: str) -> bool:
        if self.is_json:
            return self.literal("null")
        self.failure = reason
        return self.literal(written) if written else False

    def type(self, type_id: int, offset: int, bit_offset: int, depth: int) -> bool:
        if self.nesting > MAX_DEPTH:
            raise FormatError(f"type [{type_id}] is nested too deeply to be shown")
        self.nesting += 1
        try:
            return self._type(type_id, offset, bit_offset, depth)
        finally:
            self.nesting -= 1

    def _type(self, type_id: int, offset: int, bit_offset: int, depth: int) -> bool:
        btf = self.btf
        words, at = btf.at(type_id)
        kind = words[at] >> 24 & 0x7F
        if kind == INT:
            return self.integer(words[at + 2], offset, bit_offset)
        if kind in (STRUCT, UNION):
            return self.composite(type_id, offset, depth)
        if kind == PTR:
            return self.pointer(words[at + 1], offset)
        if kind in (ENUM, ENUM64):
            return self.enum(type_id, offset)
        if kind == ARRAY:
            return self.array(type_id, offset, depth)
        if kind in (TYPEDEF, VOLATILE, CONST, RESTRICT):
            target = btf.resolve(type_id)
            if target is None:
                return self.fail("", f"type [{type_id}] leads to no complete type")
            return self.type(target, offset, bit_offset, depth)
        if kind == VAR:
            self.literal("{")
            self.name(btf.name(type_id), depth, True)
            written = self.type(words[at + 1], offset, bit_offset, depth + 1)
            return self.close("}", depth, written)
        if kind == DATASEC:
            return self.datasec(type_id, offset, depth)
        if kind == UNKN:
            return self.literal("null" if self.is_json else "(unknown)")
        if kind == FWD:
            return self.fail("(fwd-kind-invalid)", f"type [{type_id}] is only declared")
        if kind == TYPE_TAG:
            return self.type(words[at + 1], offset, bit_offset, depth)
        if kind == FLOAT and words[at + 1] in FLOATS:
            return self.piece(offset, FLOATS[words[at + 1]], float_text)
        return self.fail("(unsupported-kind)", f"type [{type_id}] cannot be shown")

    def name(self, name: str, depth: int, is_first: bool) -> None:
        quoted = quote(name) if self.is_json else puts(name)
        comma = "" if is_first else ","
        if self.pretty:
            self.literal(f"{comma}\n{'    ' * (depth + 1)}{quoted}: ")
        else:
            self.literal(f"{comma}{quoted}:")

    def close(self, bracket: str, depth: int, written: bool) -> bool:
        if self.pretty and written:
            self.literal(f"\n{'    ' * depth}{bracket}")
        else:
            self.literal(bracket)
        return True

    def composite(self, type_id: int, offset: int, depth: int) -> bool:
        self.literal("{")
        written = False
        is_first = True
        for member in self.btf.members(type_id):
            self.name(member.name, depth, is_first)
            is_first = False
            where = offset + member.bit_offset // 8
            if member.bit_size:
                written = self.bits(where, member.bit_offset % 8, member.bit_size)
            else:
                written = self.type(member.type_id, where, member.bit_offset % 8, depth + 1)
            if self.failure:
                break
        return self.close("}", depth, written)

    def datasec(self, type_id: int, offset: int, depth: int) -> bool:
        self.literal("{")
        self.name(self.btf.name(type_id), depth, True)
        self.literal("[")
        written = False
        for index, (var, where, _) in enumerate(self.btf.secinfos(type_id)):
            if index:
                self.literal(",")
            written = self.type(var, offset + where, 0, depth + 2)
            if self.failure:
                break
        self.close("]", depth + 1, written)
        return self.close("}", depth, True)

    def array(self, type_id: int, offset: int, depth: int) -> bool:
        btf = self.btf
        element, _, count = btf.array(type_id)
        size = btf.size_of(element)
        is_string = bool(count) and is_char(btf, element)
        if size is None:
            return self.fail("", f"the elements of type [{type_id}] have no size")
        if not count:
            return self.literal("[]")
        if count > MAX_PIECES and not size:
            raise FormatError(f"an array of {count} empty elements is not shown")
        if offset + size * count > _MOST_BYTES:
            raise FormatError(f"an array of {size * count} bytes does not fit the memory")
        inner = Compiler(btf, self.is_json, self.pretty, self.prog_name)
        inner.nesting = self.nesting
        inner.type(element, 0, 0, depth + 1)
        if inner.failure:
            self.literal("[")
            inner.pieces[:] = [Piece(p.offset + offset, p.code, p.convert) for p in inner.pieces]
            self.pieces += inner.pieces
            self.format += inner.format
            self.failure = inner.failure
            return self.close("]", depth, True)
        if not is_string and len(inner.pieces) * count <= _INLINE:
            self.literal("[")
            self.format.append(",".join(["".join(inner.format)] * count))
            for index in range(count):
                for piece in inner.pieces:
                    self.pieces.append(
                        Piece(offset + index * size + piece.offset, piece.code, piece.convert)
                    )
            if len(self.pieces) > MAX_PIECES:
                raise FormatError("a value of this type has too many parts")
            return self.close("]", depth, True)
        end = "\n" + "    " * depth + "]" if self.pretty else "]"
        elements = inner.many(size, count)

        def decode(raw: bytes) -> str:
            if is_string:
                text = string_of(raw)
                if text is not None:
                    return quote(text)
            return f"[{elements(raw)}{end}"

        return self.piece(offset, f"{size * count}s", decode)

    def enum(self, type_id: int, offset: int) -> bool:
        found = enum_names(self.btf, type_id)
        if found is None:
            return self.fail("", f"enum [{type_id}] has an impossible size")
        code, names = found
        quoted = quote if self.is_json else puts
        texts = EnumTexts((value, quoted(name)) for value, name in names.items())
        return self.piece(offset, code, texts.__getitem__)

    def pointer(self, target: int, offset: int) -> bool:
        show = None if self.is_json else pointer_text
        if self.prog_name is not None:
            text = pointed_signature(self.btf, target)
            if text is not None:
                name_of = self.prog_name
                quoted = quote if self.is_json else puts
                plain = show or str

                def convert(value: int) -> str:
                    if value >> 32:
                        return plain(value)
                    return quoted(func_pointer_text(text, value, name_of))

                return self.piece(offset, "Q", convert)
        return self.piece(offset, "Q", show)

    def bits(self, offset: int, bit_offset: int, bits: int) -> bool:
        take = bits_of(self.btf.byteorder, bit_offset, bits)
        length = (bit_offset + bits + 7) // 8
        if self.is_json:
            return self.piece(offset, f"{length}s", lambda raw: f'"0x{take(raw):x}"')
        return self.piece(offset, f"{length}s", lambda raw: f"0x{take(raw):x}")

    def integer(self, word: int, offset: int, bit_offset: int) -> bool:
        form, encoding, bits, first = int_layout(word, bit_offset)
        if form == "bits":
            return self.bits(offset + first // 8, first % 8, bits)
        if form == "wide":
            return self.bits(offset, 0, 128)
        if encoding == 0:
            return self.piece(offset, UNSIGNED[bits], None)
        if encoding == INT_SIGNED:
            return self.piece(offset, SIGNED[bits], None)
        if encoding == INT_CHAR:
            table = CHARS_JSON if self.is_json else CHARS_TEXT
            return self.piece(offset, "B", table.__getitem__)
        if encoding == INT_BOOL:
            return self.piece(offset, "B", BOOLS.__getitem__)
        if self.is_json:
            return self.bits(offset, 0, bits)
        return self.fail("", f"an integer has the unknown encoding {encoding}")

    def groups(self) -> list[struct.Struct]:
        """Struct formats that read all pieces in order (several where members overlap)."""
        groups: list[struct.Struct] = []
        codes = [self.order]
        end = 0
        for piece in self.pieces:
            if piece.offset < end:
                groups.append(struct.Struct("".join(codes)))
                codes = [self.order]
                end = 0
            if piece.offset > end:
                codes.append(f"{piece.offset - end}x")
            codes.append(piece.code)
            end = piece.offset + struct.calcsize(self.order + piece.code)
        groups.append(struct.Struct("".join(codes)))
        return groups

    def conversions(self) -> list[tuple[int, Callable[..., str]]]:
        return [
            (index, piece.convert)
            for index, piece in enumerate(self.pieces)
            if piece.convert is not None
        ]

    def many(self, size: int, count: int) -> Callable[[bytes], str]:
        """A decoder of ``count`` elements of ``size`` bytes each, joined with commas."""
        text = "".join(self.format)
        groups = self.groups()
        if text == "%d" and len(groups) == 1 and groups[0].size == size:
            unpack = struct.Struct(f"{self.order}{count}{self.pieces[0].code}").unpack
            return lambda raw: ",".join(map(str, unpack(raw)))
        if text == "%s" and size == 1 and self.pieces[0].code == "B":
            table = self.pieces[0].convert
            assert table is not None
            return lambda raw: ",".join(map(table, raw))
        decode = self.decoder()
        offsets = range(0, size * count, size) if size else [0] * count
        return lambda raw: ",".join([decode(raw, at) for at in offsets])

    def decoder(self) -> Decoder:
        text = "".join(self.format)
        if not self.pieces:
            constant = text % ()
            return lambda data, offset: constant
        groups = self.groups()
        conversions = self.conversions()
        unpack = groups[0].unpack_from
        if len(groups) == 1 and not conversions:
            return lambda data, offset: text % unpack(data, offset)
        if len(groups) == 1 and len(self.pieces) == 1:
            convert = conversions[0][1]
            return lambda data, offset: text % convert(unpack(data, offset)[0])
        rest = [group.unpack_from for group in groups[1:]]

        def decode(data: bytes, offset: int) -> str:
            values = list(unpack(data, offset))
            for more in rest:
                values += more(data, offset)
            for index, convert in conversions:
                values[index] = convert(values[index])
            return text % tuple(values)

        return decode


def _guarded(decode: Decoder, failure: str, type_id: int) -> Decoder:
    def run(data: bytes, offset: int) -> str:
        try:
            text = decode(data, offset)
        except struct.error:
            raise FormatError(
                f"the value has {len(data) - offset} bytes, fewer than its type [{type_id}]"
            ) from None
        if failure:
            raise BadValue(failure, text)
        return text

    return run


def _compile(
    btf: Btf, type_id: int, is_json: bool, depth: int, pretty: bool, prog_name: ProgName | None
) -> Decoder:
    compiler = Compiler(btf, is_json, pretty, prog_name)
    compiler.type(type_id, 0, 0, depth)
    return _guarded(compiler.decoder(), compiler.failure, type_id)


def compile_text(
    btf: Btf,
    type_id: int,
    depth: int = 0,
    pretty: bool = False,
    prog_name: ProgName | None = None,
) -> Decoder:
    """A function of (data, offset) that gives a value's text as upstream prints it.

    ``depth`` and ``pretty`` place it in json_writer.c's pretty layout (``map dump``).
    With ``prog_name`` small pointers to functions are taken for ids of programs
    (``struct_ops``). The function raises :class:`BadValue` where upstream gives up
    in the middle and :class:`FormatError` for data shorter than the type.
    """
    return _compile(btf, type_id, False, depth, pretty, prog_name)


def compile_json(
    btf: Btf,
    type_id: int,
    depth: int = 0,
    pretty: bool = False,
    prog_name: ProgName | None = None,
) -> Decoder:
    """As :func:`compile_text` in upstream's JSON; types without a value become ``null``."""
    return _compile(btf, type_id, True, depth, pretty, prog_name)


def text(
    btf: Btf, type_id: int, data: bytes, offset: int = 0, depth: int = 0, pretty: bool = False
) -> str:
    """The text of one value; see :func:`compile_text`."""
    return compile_text(btf, type_id, depth, pretty)(data, offset)
