"""Bytes as a string literal of C, which compilers read faster than a list of numbers."""

from __future__ import annotations

_BYTES_A_LINE = 24
# Digits are escaped as well, so that none can follow a short escape; question marks, so that
# none begin a trigraph.
_PLAIN = frozenset(range(32, 127)) - set(b'0123456789"\\?')
_ESCAPES = ["\\0", *[chr(c) if c in _PLAIN else f"\\{c:03o}" for c in range(1, 256)]]


def c_string(data: bytes) -> str:
    """A literal over several lines, with its quotation marks."""
    escape = _ESCAPES.__getitem__
    step = _BYTES_A_LINE
    lines = ["".join(map(escape, data[at : at + step])) for at in range(0, len(data), step)]
    return '"\\\n' + "\\\n".join(lines) + '"'


def c_name(name: str) -> str:
    """A short literal, as it is where it can be."""
    if name.isascii() and name.replace(".", "_").isidentifier():
        return f'"{name}"'
    escape = _ESCAPES.__getitem__
    return f'"{"".join(map(escape, name.encode("utf-8", "surrogateescape")))}"'
