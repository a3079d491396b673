"""Bytes as a string literal of C, which compilers read faster than a list of numbers."""

from __future__ import annotations

_BYTES_A_LINE = 64
_PIECE = 128 * _BYTES_A_LINE  # what is written at once: the same memory again and again
_DIGITS = b"0123456789abcdef"
# The hexadecimal digits of every byte.
_LOW = _DIGITS * 16
_HIGH = bytes([digit for digit in _DIGITS for _ in range(16)])
_ZERO, _SHORT_ZERO = b"\\x00", b"\\0"


def c_string(data: bytes) -> str:
    """A literal over several lines, with its quotation marks."""
    if not data:
        return '""'
    # Digits go to their places in strides, and no call is made for a byte: object files are long.
    parts = ['"\\\n']
    text = bytearray(_ZERO) * _PIECE
    step = 4 * _BYTES_A_LINE
    for begin in range(0, len(data), _PIECE):
        piece = data[begin : begin + _PIECE]
        if len(piece) < _PIECE:
            text = text[: 4 * len(piece)]
        text[2::4] = piece.translate(_HIGH)
        text[3::4] = piece.translate(_LOW)
        lines = b"\\\n".join([text[at : at + step] for at in range(0, len(text), step)])
        parts += [lines.replace(_ZERO, _SHORT_ZERO).decode(), "\\\n"]
    parts[-1] = '"'
    return "".join(parts)


def c_name(name: str) -> str:
    """A short literal, as it is where it can be."""
    if name.isascii() and name.replace(".", "_").isidentifier():
        return f'"{name}"'
    escaped = [f"\\{c:03o}" for c in name.encode("utf-8", "surrogateescape")]
    return f'"{"".join(escaped)}"'
