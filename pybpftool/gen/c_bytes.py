"""Bytes as a string literal of C, which compilers read faster than a list of numbers."""

from __future__ import annotations

_BYTES_A_LINE = 64


def c_string(data: bytes) -> str:
    """A literal over several lines, with its quotation marks."""
    if not data:
        return '""'
    step = _BYTES_A_LINE
    # Four calls for a line's bytes, none for a byte: object files are long.
    lines = ";".join([data[at : at + step].hex(",") for at in range(0, len(data), step)])
    text = lines.replace(",", "\\x").replace(";", "\\\n\\x").replace("\\x00", "\\0")
    first = "\\x" if data[0] else "\\0"
    return f'"\\\n{first}{text[2:] if not data[0] else text}"'


def c_name(name: str) -> str:
    """A short literal, as it is where it can be."""
    if name.isascii() and name.replace(".", "_").isidentifier():
        return f'"{name}"'
    escaped = [f"\\{c:03o}" for c in name.encode("utf-8", "surrogateescape")]
    return f'"{"".join(escaped)}"'
