"""Whether recorded answers have the types that the questions declare.

A question's answer has the type that its method of :class:`Kernel` is annotated with, so
that a new question needs no second description.
"""

from __future__ import annotations

import ast

from pybpftool.kernel.interface import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any], bool]

_PLAIN = {"str": str, "bytes": bytes, "bool": bool, "float": float, "None": type(None)}
_known: dict[str, Check] = {}


def answer_fits(method: str, value: Any) -> bool:
    """Whether a decoded answer is what ``method`` may answer; tuples come back as lists."""
    check = _known.get(method)
    if check is None:
        declared: str = getattr(Kernel, method).__annotations__["return"]
        check = _known[method] = check_of(declared)
    return check(value)


def check_of(annotation: str) -> Check:
    """A function that says whether a value has the type that an annotation writes."""
    return _check(ast.parse(annotation, mode="eval").body)


def _check(node: ast.expr) -> Check:
    if isinstance(node, ast.BinOp):  # A | B
        left, right = _check(node.left), _check(node.right)
        return lambda value: left(value) or right(value)
    if isinstance(node, ast.Subscript):
        inner = node.slice
        parts = [_check(part) for part in (inner.elts if isinstance(inner, ast.Tuple) else [inner])]
        return _container(ast.unparse(node.value), parts)
    name = ast.unparse(node)
    if name == "Any":
        return lambda value: True
    if name == "int":
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    kind = _PLAIN[name]
    return lambda value: isinstance(value, kind)


def _call(check: Check, value: Any) -> bool:
    return check(value)


def _container(name: str, parts: list[Check]) -> Check:
    if name == "tuple":
        return lambda value: (
            isinstance(value, list) and len(value) == len(parts) and all(map(_call, parts, value))
        )
    if name == "dict":
        key, item = parts
        return lambda value: (
            isinstance(value, dict) and all(key(k) and item(v) for k, v in value.items())
        )
    assert name == "list", name
    (each,) = parts
    return lambda value: isinstance(value, list) and all(map(each, value))
