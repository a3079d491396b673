"""Function prototypes as instruction dumps show them above a function's first instruction."""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    CONST,
    DATASEC,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
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
    from pybpftool.btf.table import Btf

LIMIT = 1024  # upstream's buffer, with the terminating NUL; longer prototypes are left out
# Each level but a pointer adds three characters and more: nothing printable nests deeper.
_DEPTH = 400

_NAMED = {
    INT: "",
    TYPEDEF: "",
    FLOAT: "",
    STRUCT: "struct ",
    UNION: "union ",
    ENUM: "enum ",
    ENUM64: "enum ",
}
_QUALIFIERS = {
    VOLATILE: "volatile ",
    CONST: "const ",
    RESTRICT: "restrict ",
}


class _Unprintable(Exception):
    """The type has no text, or one that is too long."""


def prototype(btf: Btf, type_id: int, has_tags: bool = False) -> str:
    """The declaration of a type, of a function for the most part.

    Empty where upstream prints none: for void-like kinds (tags, unknown ones)
    anywhere in it and for texts of 1024 bytes and more. With ``has_tags`` those
    of types are attributes, as in C.
    """
    try:
        parts: list[str] = []
        _type(btf, type_id, parts, 0, has_tags)
        text = "".join(parts)
    except (_Unprintable, FormatError):
        return ""
    return text if _bytes(text) < LIMIT else ""


def signature(btf: Btf, type_id: int) -> str | None:
    """A function prototype without a name, or None where :func:`prototype` is empty."""
    parts: list[str] = []
    try:
        words, at = btf.at(type_id)
        if words[at] >> 24 & 0x7F != FUNC_PROTO:
            return None
        _function(btf, type_id, None, parts, 0, False)
    except (_Unprintable, FormatError):
        return None
    text = "".join(parts)
    return text if _bytes(text) < LIMIT else None


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def _type(btf: Btf, type_id: int, parts: list[str], depth: int, has_tags: bool) -> None:
    if depth > _DEPTH or len(parts) > LIMIT * 2:
        raise _Unprintable
    if not type_id:
        parts.append("void ")
        return
    words, at = btf.at(type_id)
    info = words[at]
    kind = info >> 24 & 0x7F
    if kind in _NAMED:
        parts.append(f"{_NAMED[kind]}{btf.names[words[at - 1]]} ")
    elif kind == PTR:
        stars = 0
        while kind == PTR and stars < LIMIT:
            stars += 1
            type_id = words[at + 1]
            words, at = btf.at(type_id)
            kind = words[at] >> 24 & 0x7F
        _type(btf, type_id, parts, depth + 1, has_tags)
        parts.append("* " * stars)
    elif kind in _QUALIFIERS:
        parts.append(_QUALIFIERS[kind])
        _type(btf, words[at + 1], parts, depth + 1, has_tags)
    elif kind == ARRAY:
        _type(btf, words[at + 2], parts, depth + 1, has_tags)
        parts.append(f"[{words[at + 4]}]")
    elif kind == FWD:
        parts.append(f"{'union' if info >> 31 else 'struct'} {btf.names[words[at - 1]]} ")
    elif kind == FUNC_PROTO:
        _function(btf, type_id, None, parts, depth + 1, has_tags)
    elif kind == FUNC:
        _function(btf, words[at + 1], btf.names[words[at - 1]], parts, depth + 1, has_tags)
    elif kind == VAR:
        if words[at + 2] == 0:
            parts.append("static ")
        _type(btf, words[at + 1], parts, depth + 1, has_tags)
        parts.append(f" {btf.names[words[at - 1]]}")
    elif kind == DATASEC:
        parts.append(f'section ("{btf.names[words[at - 1]]}") ')
    elif kind == TYPE_TAG and has_tags:
        from pybpftool.btf.c.declare import type_tag

        _type(btf, words[at + 1], parts, depth + 1, has_tags)
        mark = type_tag(btf.names[words[at - 1]], bool(info >> 31))
        parts.append(f"{mark[1:]} " if mark else "")
    else:
        raise _Unprintable


def _function(
    btf: Btf, proto_id: int, name: str | None, parts: list[str], depth: int, has_tags: bool
) -> None:
    words, at = btf.at(proto_id)
    _type(btf, words[at + 1], parts, depth, has_tags)
    parts.append("(" if name is None else f"{name}(")
    params = words[at] & 0xFFFFFF
    if params > LIMIT:
        raise _Unprintable
    for index in range(params):
        if index:
            parts.append(", ")
        element = at + 2 + 2 * index
        param_id = words[element + 1]
        if not param_id:
            parts.append("...")
            continue
        _type(btf, param_id, parts, depth + 1, has_tags)
        if words[element]:
            parts.append(btf.names[words[element]])
        elif parts[-1].endswith(" "):
            # The blank was for a name that does not follow.
            parts[-1] = parts[-1][:-1]
    parts.append(")")
