"""Values in memory (map entries, global data) as text, JSON and Python objects.

A type is compiled once into a decoder: one ``struct`` format that reads all its
scalars and one ``%`` format that places them. Decoding a value is then a few
calls, whatever the number of members. What is printed follows upstream's
``btf_dumper.c``; where that would be no JSON, ``compile_json`` writes JSON.
"""

from __future__ import annotations

import struct

from pybpftool.btf import parser
from pybpftool.btf.proto import LIMIT, signature
from pybpftool.errors import FormatError
from pybpftool.output.jsontext import RawNumber, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from pybpftool.btf.parser import Btf

    Decoder = Callable[[bytes, int], str]
    Builder = Callable[[bytes, int], object]
    ProgName = Callable[[int], str | None]

# A value with more pieces than this comes from types made to explode (a struct of
# two structs of two structs ...), not from a program.
_MAX_PIECES = 1 << 18
_MAX_DEPTH = 128
# Arrays of up to this many scalars become part of the surrounding format.
_INLINE = 64

_UNSIGNED = {8: "B", 16: "H", 32: "I", 64: "Q"}
_SIGNED = {8: "b", 16: "h", 32: "i", 64: "q"}
_FLOATS = {2: "e", 4: "f", 8: "d"}

# json_writer.c escapes these and writes all other characters as they are.
_ESCAPES = {
    ord("\t"): "\\t",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\f"): "\\f",
    ord("\b"): "\\b",
    ord("\\"): "\\\\",
    ord('"'): '\\"',
}
_BOOLS = ["false"] + ["true"] * 255
_CHARS_TEXT = [f'"{chr(c)}"' if 0x20 <= c < 0x7F else f"0x{c:x}" for c in range(256)]
_CHARS_JSON = [quote(chr(c)) if 0x20 <= c < 0x7F else f'"\\u00{c:02x}"' for c in range(256)]


class BadValue(FormatError):
    """A value's type has a part that upstream cannot print.

    ``text`` is what upstream writes before it gives up, all brackets closed.
    """

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


def puts(text: str) -> str:
    """``text`` in double quotes with the few escapes that json_writer.c knows."""
    return f'"{text.translate(_ESCAPES)}"'


def is_char(btf: Btf, type_id: int) -> bool:
    """Whether arrays of this type are shown as strings: a char, not a typedef of one."""
    for _ in range(_MAX_PIECES):
        words, at = btf.at(type_id)
        kind = words[at] >> 24 & 0x7F
        if kind == parser.INT:
            return words[at + 1] == 1 and (
                words[at + 2] >> 24 & 0xF == parser.INT_CHAR or btf.name(type_id) == "char"
            )
        if kind not in parser.MODIFIERS:
            return False
        type_id = words[at + 1]
    return False


def _string_of(raw: bytes) -> str | None:
    """The string in a char array, if it is terminated and printable ASCII up to there."""
    end = raw.find(0)
    if end >= 0:
        part = raw[:end]
        if part.isascii():
            text = part.decode("ascii")
            if text.isprintable():
                return text
    return None


def _bits_of(order: Literal["little", "big"], bit_offset: int, bits: int) -> Callable[[bytes], int]:
    """How to take ``bits`` bits at a bit offset (from the order's first bit) out of bytes."""
    mask = (1 << bits) - 1
    if order == "little":
        return lambda raw: int.from_bytes(raw, "little") >> bit_offset & mask
    spare = -(bit_offset + bits) % 8
    return lambda raw: int.from_bytes(raw, "big") >> spare & mask


def _int_layout(word: int, bit_offset: int) -> tuple[str, int, int, int]:
    """How an INT is printed: (form, encoding, bits, bit offset).

    ``form`` is "bits" for what does not lie on byte borders or has an odd width,
    "wide" for 128 bits and "plain" for the rest.
    """
    encoding, first, bits = word >> 24 & 0xF, word >> 16 & 0xFF, word & 0xFF
    if bit_offset or first or bits % 8:
        return "bits", encoding, bits, bit_offset + first
    if bits == 128:
        return "wide", encoding, bits, 0
    if encoding in (0, parser.INT_SIGNED) and bits not in _UNSIGNED:
        return "bits", encoding, bits, 0
    return "plain", encoding, bits, 0


class _EnumTexts(dict[int, str]):
    """Enumerators by value; other values are shown as numbers."""

    __slots__ = ()

    def __missing__(self, value: int) -> str:
        return str(value)


def _enum_names(btf: Btf, type_id: int) -> tuple[str, dict[int, str]] | None:
    """Format code of an enum and its names by value as read; None for an odd size."""
    words, at = btf.at(type_id)
    names: dict[int, str] = {}
    if words[at] >> 24 & 0x7F == parser.ENUM64:
        code = "q"
        bits = 64
    else:
        size = words[at + 1]
        if size not in (1, 2, 4, 8):
            return None
        code = _SIGNED[size * 8]
        bits = 32
    sign = 1 << (bits - 1)
    # An unsigned enum's values are compared as signed ones of the enumerators' width.
    for name, value in btf.enumerators(type_id):
        names.setdefault(((value & (1 << bits) - 1) ^ sign) - sign, name)
    return code, names


class _Piece:
    """A scalar to be read: where, its struct code and how its value becomes text."""

    __slots__ = ("code", "convert", "offset")

    def __init__(self, offset: int, code: str, convert: Callable[..., str] | None) -> None:
        self.offset = offset
        self.code = code
        self.convert = convert


class _Compiler:
    """Turns a type into a format and the pieces that fill it."""

    def __init__(self, btf: Btf, is_json: bool, pretty: bool, prog_name: ProgName | None) -> None:
        self.btf = btf
        self.is_json = is_json
        self.pretty = pretty
        self.prog_name = prog_name
        self.format: list[str] = []
        self.pieces: list[_Piece] = []
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
        self.pieces.append(_Piece(offset, code, convert))
        if len(self.pieces) > _MAX_PIECES:
            raise FormatError("a value of this type has too many parts")
        return True

    def fail(self, written: str, reason: str) -> bool:
        if self.is_json:
            return self.literal("null")
        self.failure = reason
        return self.literal(written) if written else False

    def type(self, type_id: int, offset: int, bit_offset: int, depth: int) -> bool:
        if self.nesting > _MAX_DEPTH:
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
        if kind == parser.INT:
            return self.integer(words[at + 2], offset, bit_offset)
        if kind in (parser.STRUCT, parser.UNION):
            return self.composite(type_id, offset, depth)
        if kind == parser.PTR:
            return self.pointer(words[at + 1], offset)
        if kind in (parser.ENUM, parser.ENUM64):
            return self.enum(type_id, offset)
        if kind == parser.ARRAY:
            return self.array(type_id, offset, depth)
        if kind in (parser.TYPEDEF, parser.VOLATILE, parser.CONST, parser.RESTRICT):
            target = btf.resolve(type_id)
            if target is None:
                return self.fail("", f"type [{type_id}] leads to no complete type")
            return self.type(target, offset, bit_offset, depth)
        if kind == parser.VAR:
            self.literal("{")
            self.name(btf.name(type_id), depth, True)
            written = self.type(words[at + 1], offset, bit_offset, depth + 1)
            return self.close("}", depth, written)
        if kind == parser.DATASEC:
            return self.datasec(type_id, offset, depth)
        if kind == parser.UNKN:
            return self.literal("null" if self.is_json else "(unknown)")
        if kind == parser.FWD:
            return self.fail("(fwd-kind-invalid)", f"type [{type_id}] is only declared")
        if self.is_json and kind == parser.TYPE_TAG:
            return self.type(words[at + 1], offset, bit_offset, depth)
        if self.is_json and kind == parser.FLOAT and words[at + 1] in _FLOATS:
            return self.piece(offset, _FLOATS[words[at + 1]], _float_text)
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
        if count > _MAX_PIECES and not size:
            raise FormatError(f"an array of {count} empty elements is not shown")
        inner = _Compiler(btf, self.is_json, self.pretty, self.prog_name)
        inner.nesting = self.nesting
        inner.type(element, 0, 0, depth + 1)
        if inner.failure:
            self.literal("[")
            inner.pieces[:] = [_Piece(p.offset + offset, p.code, p.convert) for p in inner.pieces]
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
                        _Piece(offset + index * size + piece.offset, piece.code, piece.convert)
                    )
            if len(self.pieces) > _MAX_PIECES:
                raise FormatError("a value of this type has too many parts")
            return self.close("]", depth, True)
        end = "\n" + "    " * depth + "]" if self.pretty else "]"
        elements = inner.many(size, count)

        def decode(raw: bytes) -> str:
            if is_string:
                text = _string_of(raw)
                if text is not None:
                    return quote(text)
            return f"[{elements(raw)}{end}"

        return self.piece(offset, f"{size * count}s", decode)

    def enum(self, type_id: int, offset: int) -> bool:
        found = _enum_names(self.btf, type_id)
        if found is None:
            return self.fail("", f"enum [{type_id}] has an impossible size")
        code, names = found
        quoted = quote if self.is_json else puts
        texts = _EnumTexts((value, quoted(name)) for value, name in names.items())
        return self.piece(offset, code, texts.__getitem__)

    def pointer(self, target: int, offset: int) -> bool:
        show = None if self.is_json else _pointer_text
        if self.prog_name is not None:
            text = _func_pointer(self.btf, target)
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
        take = _bits_of(self.btf.byteorder, bit_offset, bits)
        length = (bit_offset + bits + 7) // 8
        if self.is_json:
            return self.piece(offset, f"{length}s", lambda raw: f'"0x{take(raw):x}"')
        return self.piece(offset, f"{length}s", lambda raw: f"0x{take(raw):x}")

    def integer(self, word: int, offset: int, bit_offset: int) -> bool:
        form, encoding, bits, first = _int_layout(word, bit_offset)
        if form == "bits":
            return self.bits(offset + first // 8, first % 8, bits)
        if form == "wide":
            return self.bits(offset, 0, 128)
        if encoding == 0:
            return self.piece(offset, _UNSIGNED[bits], None)
        if encoding == parser.INT_SIGNED:
            return self.piece(offset, _SIGNED[bits], None)
        if encoding == parser.INT_CHAR:
            table = _CHARS_JSON if self.is_json else _CHARS_TEXT
            return self.piece(offset, "B", table.__getitem__)
        if encoding == parser.INT_BOOL:
            return self.piece(offset, "B", _BOOLS.__getitem__)
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


def _pointer_text(value: int) -> str:
    return f'"0x{value:x}"' if value else '"(nil)"'


def _float_text(value: float) -> str:
    text = repr(value)
    # JSON has neither infinities nor NaN.
    return text if value - value == 0 else f'"{text}"'


def _func_pointer(btf: Btf, target: int) -> str | None:
    """The signature behind a pointer, if it points to a function."""
    resolved = btf.resolve(target)
    return None if resolved is None else signature(btf, resolved)


def func_pointer_text(text: str, prog_id: int, prog_name: ProgName) -> str:
    """A struct_ops member: its signature and the program that implements it."""
    if not prog_id:
        shown = f"{text} 0"
    else:
        name = prog_name(prog_id)
        shown = f"{text} {name if name is not None else '<unknown_prog_name>'}/prog_id:{prog_id}"
    if len(shown) < LIMIT // 4:
        return shown
    raw = shown.encode("utf-8", "surrogateescape")[: LIMIT - 1]
    return raw.decode("utf-8", "surrogateescape")


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
    compiler = _Compiler(btf, is_json, pretty, prog_name)
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


class Bulk:
    """Decodes thousands of equal records at once: map elements in a dump.

    A record is literal text and values at offsets; :attr:`format` is the ``%`` format of
    one record, :meth:`columns` gives what fills it.
    """

    __slots__ = ("_compiler", "_groups", "_structs")

    def __init__(self, btf: Btf, is_json: bool, pretty: bool) -> None:
        self._compiler = _Compiler(btf, is_json, pretty, None)
        # Pieces read by one struct format: (format, length of what it reads, pieces).
        self._groups: list[tuple[str, int, list[_Piece]]] | None = None
        self._structs: dict[tuple[int, int, int], struct.Struct] = {}

    def literal(self, text: str) -> None:
        """Append text."""
        self._compiler.literal(text)

    def value(self, type_id: int, offset: int, depth: int) -> None:
        """Append the value at ``offset`` of a record."""
        self._compiler.type(type_id, offset, 0, depth)

    @property
    def is_broken(self) -> bool:
        """Whether upstream would stop in the middle of a record (:class:`BadValue`)."""
        return bool(self._compiler.failure)

    @property
    def format(self) -> str:
        """The ``%`` format of one record."""
        return "".join(self._compiler.format)

    @property
    def width(self) -> int:
        """How many values fill :attr:`format`."""
        return len(self._compiler.pieces)

    def columns(self, data: bytes, offset: int, stride: int, count: int) -> list[Sequence[object]]:
        """The values of ``count`` records, one sequence for each place of the format."""
        if self._groups is None:
            self._groups = self._grouped()
        columns: list[Sequence[object]] = []
        for number, (codes, end, pieces) in enumerate(self._groups):
            if end > stride:
                raise FormatError(f"a value has {stride} bytes, fewer than its type")
            key = (number, stride, count)
            form = self._structs.get(key)
            if form is None:
                record = f"{codes}{stride - end}x" if stride > end else codes
                form = self._structs[key] = struct.Struct(self._compiler.order + record * count)
            flat = form.unpack_from(data, offset)
            step = len(pieces)
            for index, piece in enumerate(pieces):
                column: Sequence[object] = flat[index::step]
                if piece.convert is not None:
                    column = _converted(piece.convert, column)
                columns.append(column)
        return columns

    def _grouped(self) -> list[tuple[str, int, list[_Piece]]]:
        order = self._compiler.order
        groups: list[tuple[str, int, list[_Piece]]] = []
        codes: list[str] = []
        pieces: list[_Piece] = []
        end = 0
        for piece in self._compiler.pieces:
            if piece.offset < end:
                groups.append(("".join(codes), end, pieces))
                codes, pieces, end = [], [], 0
            if piece.offset > end:
                codes.append(f"{piece.offset - end}x")
            codes.append(piece.code)
            pieces.append(piece)
            end = piece.offset + struct.calcsize(order + piece.code)
        if pieces:
            groups.append(("".join(codes), end, pieces))
        return groups


def _converted(convert: Callable[..., str], column: Sequence[object]) -> list[str]:
    """``convert`` of every value; equal ones, of which there are often many, only once."""
    known = dict.fromkeys(column, "")
    if len(known) * 2 > len(column):
        return [convert(value) for value in column]
    for value in known:
        known[value] = convert(value)
    return [known[value] for value in column]


def text(
    btf: Btf, type_id: int, data: bytes, offset: int = 0, depth: int = 0, pretty: bool = False
) -> str:
    """The text of one value; see :func:`compile_text`."""
    return compile_text(btf, type_id, depth, pretty)(data, offset)


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
    build = _Builders(btf, prog_name).type(type_id, 0)

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

    def bits(self, bit_offset: int, bits: int, at: int = 0) -> Builder:
        take = _bits_of(self.btf.byteorder, bit_offset, bits)
        unpack = struct.Struct(f"{(bit_offset + bits + 7) // 8}s").unpack_from
        return lambda data, offset: f"0x{take(unpack(data, offset + at)[0]):x}"

    def type(self, type_id: int, bit_offset: int) -> Builder:
        known = None if bit_offset else self.known.get(type_id)
        if known is None:
            if self.nesting > _MAX_DEPTH:
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
        if kind == parser.INT:
            return self.integer(words[at + 2], bit_offset)
        if kind in (parser.STRUCT, parser.UNION):
            return self.composite(type_id)
        if kind == parser.PTR:
            return self.pointer(words[at + 1])
        if kind in (parser.ENUM, parser.ENUM64):
            found = _enum_names(btf, type_id)
            if found is None:
                return _null
            code, names = found
            return self.scalar(code, lambda value: names.get(value, value))
        if kind == parser.ARRAY:
            return self.array(type_id)
        if kind in (parser.TYPEDEF, parser.VOLATILE, parser.CONST, parser.RESTRICT):
            target = btf.resolve(type_id)
            return _null if target is None else self.type(target, bit_offset)
        if kind == parser.TYPE_TAG:
            return self.type(words[at + 1], bit_offset)
        if kind == parser.VAR:
            name = btf.name(type_id)
            build = self.type(words[at + 1], bit_offset)
            return lambda data, offset: {name: build(data, offset)}
        if kind == parser.DATASEC:
            return self.datasec(type_id)
        if kind == parser.FLOAT and words[at + 1] in _FLOATS:
            return self.scalar(_FLOATS[words[at + 1]], lambda value: RawNumber(_float_text(value)))
        return _null

    def integer(self, word: int, bit_offset: int) -> Builder:
        form, encoding, bits, first = _int_layout(word, bit_offset)
        if form == "bits":
            return self.bits(first % 8, bits, first // 8)
        if form == "wide":
            return self.bits(0, 128)
        if encoding == 0:
            return self.scalar(_UNSIGNED[bits])
        if encoding == parser.INT_SIGNED:
            return self.scalar(_SIGNED[bits])
        if encoding == parser.INT_CHAR:
            return self.scalar("B", lambda value: RawNumber(_CHARS_JSON[value]))
        if encoding == parser.INT_BOOL:
            return self.scalar("B", bool)
        return self.bits(0, bits)

    def composite(self, type_id: int) -> Builder:
        members: list[tuple[str, int, Builder]] = []
        seen: set[str] = set()
        for member in self.btf.members(type_id):
            name = _Duplicate(member.name) if member.name in seen else member.name
            seen.add(member.name)
            if member.bit_size:
                build = self.bits(member.bit_offset % 8, member.bit_size)
            else:
                build = self.type(member.type_id, member.bit_offset % 8)
            members.append((name, member.bit_offset // 8, build))
        return lambda data, offset: {
            name: build(data, offset + where) for name, where, build in members
        }

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
        if count > _MAX_PIECES and not size:
            raise FormatError(f"an array of {count} empty elements is not shown")
        build = self.type(element, 0)
        length = size * count
        is_string = bool(count) and is_char(self.btf, element)

        def run(data: bytes, offset: int) -> object:
            if offset + length > len(data):
                raise struct.error
            if is_string:
                string = _string_of(bytes(data[offset : offset + length]))
                if string is not None:
                    return string
            if not size:
                return [build(data, offset) for _ in range(count)]
            return [build(data, at) for at in range(offset, offset + length, size)]

        return run

    def pointer(self, target: int) -> Builder:
        if self.prog_name is not None:
            text = _func_pointer(self.btf, target)
            if text is not None:
                name_of = self.prog_name
                return self.scalar(
                    "Q",
                    lambda value: value if value >> 32 else func_pointer_text(text, value, name_of),
                )
        return self.scalar("Q")
