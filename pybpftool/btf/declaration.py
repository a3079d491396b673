"""Declarations of single types as C writes them, without the definitions behind them."""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    CONST,
    FUNC,
    FUNC_PROTO,
    FWD,
    KIND_NAMES,
    PTR,
    RESTRICT,
    TYPE_TAG,
    VAR,
    VOLATILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf

KINDS = tuple(name.lower() for name in KIND_NAMES)
"""The words for kinds by number: ``int``, ``ptr``, … ``enum64``; ``unknown`` is void."""

# What C writes before a name.
_TAGGED = {"struct": "struct ", "union": "union ", "enum": "enum ", "enum64": "enum "}
_CONST = {CONST: "const", VOLATILE: "volatile", RESTRICT: "restrict"}
_LIMIT = 1024  # references of one declaration
_MAX_PARAMS = 4096  # of one declaration, those of prototypes within prototypes included


def declaration(btf: Btf, id: int, name: str = "", left: list[int] | None = None) -> str:
    """A declaration: what is read inside out, written outside in."""
    inner = name
    qualifiers: list[str] = []
    for _ in range(_LIMIT):
        words, at = btf.at(id)
        info = words[at]
        kind = info >> 24 & 0x7F
        if kind in _CONST:
            if _CONST[kind] not in qualifiers:
                qualifiers.append(_CONST[kind])
        elif kind == PTR:
            spaced = "".join(f" {word}" for word in qualifiers)
            inner = f"*{spaced}{' ' if spaced and inner else ''}{inner}"
            qualifiers = []
        elif kind == ARRAY:
            inner = f"({inner})" if inner.startswith("*") else inner
            inner += f"[{words[at + 4]}]"
            id = words[at + 2]
            continue
        elif kind == FUNC_PROTO:
            inner = f"({inner})" if inner.startswith("*") or not inner else inner
            inner += f"({_parameters(btf, id, [_MAX_PARAMS] if left is None else left)})"
        elif kind in (FUNC, VAR):
            inner = inner or btf.name(id)
        elif kind != TYPE_TAG:
            words_before = "".join(f"{word} " for word in qualifiers)
            base = words_before + _base_name(btf, id, kind, info)
            return f"{base} {inner}" if inner else base
        id = words[at + 1]
    raise FormatError(f"the BTF's type [{id}] refers to itself")


def _parameters(btf: Btf, id: int, left: list[int]) -> str:
    params = btf.params(id)
    if not params:
        return "void"
    left[0] -= len(params) + 32  # so that prototypes nest 128 deep at most
    if left[0] < 0:
        # A function that takes a pointer to its own kind would be written without end.
        raise FormatError(f"the declaration of the BTF's type [{id}] has too many parameters")
    return ", ".join(
        [declaration(btf, param, name, left) if param else "..." for name, param in params]
    )


def _base_name(btf: Btf, id: int, kind: int, info: int) -> str:
    if not id:
        return "void"
    name = btf.name(id)
    if kind == FWD:
        return f"{'union' if info >> 31 else 'struct'} {name}"
    word = KINDS[kind] if kind < len(KINDS) else f"kind {kind}"
    if name:
        return _TAGGED.get(word, "") + name
    return f"{_TAGGED[word]}{{...}}" if word in _TAGGED else f"({word})"
