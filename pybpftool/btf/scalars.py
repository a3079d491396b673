"""How the scalars of a value print: numbers, characters, enums, pointers to functions.

Shared by the decoders to text and JSON (:mod:`values`) and to Python (:mod:`builders`).
"""

from __future__ import annotations

from pybpftool.btf.proto import LIMIT, signature
from pybpftool.output.jsontext import quote
from pybpftool.uapi.btf import ENUM64, INT, INT_CHAR, INT_SIGNED, MODIFIERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from pybpftool.btf.table import Btf

    ProgName = Callable[[int], str | None]


# A value with more pieces than this comes from types made to explode (a struct of
# two structs of two structs ...), not from a program.
MAX_PIECES = 1 << 18
MAX_DEPTH = 128

UNSIGNED = {8: "B", 16: "H", 32: "I", 64: "Q"}
SIGNED = {8: "b", 16: "h", 32: "i", 64: "q"}
FLOATS = {2: "e", 4: "f", 8: "d"}

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
BOOLS = ["false"] + ["true"] * 255
CHARS_TEXT = [f'"{chr(c)}"' if 0x20 <= c < 0x7F else f"0x{c:x}" for c in range(256)]
CHARS_JSON = [quote(chr(c)) if 0x20 <= c < 0x7F else f'"\\u00{c:02x}"' for c in range(256)]


def puts(text: str) -> str:
    """``text`` in double quotes with the few escapes that json_writer.c knows."""
    return f'"{text.translate(_ESCAPES)}"'


def is_char(btf: Btf, type_id: int) -> bool:
    """Whether arrays of this type are shown as strings: a char, not a typedef of one."""
    for _ in range(MAX_PIECES):
        words, at = btf.at(type_id)
        kind = words[at] >> 24 & 0x7F
        if kind == INT:
            return words[at + 1] == 1 and (
                words[at + 2] >> 24 & 0xF == INT_CHAR or btf.name(type_id) == "char"
            )
        if kind not in MODIFIERS:
            return False
        type_id = words[at + 1]
    return False


def string_of(raw: bytes) -> str | None:
    """The string in a char array, if it is terminated and printable ASCII up to there."""
    end = raw.find(0)
    if end >= 0:
        part = raw[:end]
        if part.isascii():
            text = part.decode("ascii")
            if text.isprintable():
                return text
    return None


def bits_of(order: Literal["little", "big"], bit_offset: int, bits: int) -> Callable[[bytes], int]:
    """How to take ``bits`` bits at a bit offset (from the order's first bit) out of bytes."""
    mask = (1 << bits) - 1
    if order == "little":
        return lambda raw: int.from_bytes(raw, "little") >> bit_offset & mask
    spare = -(bit_offset + bits) % 8
    return lambda raw: int.from_bytes(raw, "big") >> spare & mask


def int_layout(word: int, bit_offset: int) -> tuple[str, int, int, int]:
    """How an INT is printed: (form, encoding, bits, bit offset).

    ``form`` is "bits" for what does not lie on byte borders or has an odd width,
    "wide" for 128 bits and "plain" for the rest.
    """
    encoding, first, bits = word >> 24 & 0xF, word >> 16 & 0xFF, word & 0xFF
    if bit_offset or first or bits % 8:
        return "bits", encoding, bits, bit_offset + first
    if bits == 128:
        return "wide", encoding, bits, 0
    if encoding in (0, INT_SIGNED) and bits not in UNSIGNED:
        return "bits", encoding, bits, 0
    return "plain", encoding, bits, 0


class EnumTexts(dict[int, str]):
    """Enumerators by value; other values are shown as numbers."""

    __slots__ = ()

    def __missing__(self, value: int) -> str:
        return str(value)


def enum_names(btf: Btf, type_id: int) -> tuple[str, dict[int, str]] | None:
    """Format code of an enum and its names by value; None for an odd size.

    The values have the signedness of the enum (kind_flag, Linux 6.0).
    """
    words, at = btf.at(type_id)
    size = words[at + 1]
    if size not in (1, 2, 4, 8):
        return None
    is_signed = words[at] >> 31
    bits = size * 8
    names: dict[int, str] = {}
    if is_signed:
        for name, value in btf.enumerators(type_id):
            names.setdefault(value, name)
        return SIGNED[bits], names
    mask = (1 << bits) - 1
    is_wide = words[at] >> 24 & 0x7F == ENUM64
    for name, value in btf.enumerators(type_id):
        if not value & ~mask:
            names.setdefault(value, name)
        # BTF of before Linux 6.0 says of no enum that it is signed.
        if not is_wide and value >> 31 and value - (1 << 32) >= -(1 << (bits - 1)):
            names.setdefault(value - (1 << 32) & mask, name)
    return UNSIGNED[bits], names


def pointer_text(value: int) -> str:
    return f'"0x{value:x}"' if value else '"(nil)"'


def float_text(value: float) -> str:
    text = repr(value)
    # JSON has neither infinities nor NaN.
    return text if value - value == 0 else f'"{text}"'


def pointed_signature(btf: Btf, target: int) -> str | None:
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
