"""Numbers as C reads them."""

from __future__ import annotations

BLANKS = " \t\n\v\f\r"  # what isspace() of C takes for such
_MOST_DIGITS = 20  # of 64 bits; int() of Python 3.11 refuses more than 4300, and takes long before


def decimal(text: str) -> int | None:
    """A decimal number of at most 20 digits and nothing else; None when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def c_number(text: str) -> int | None:
    """``text`` as ``strtoull(text, …, 0)`` reads it: decimal, 0x hexadecimal or 0 octal.

    None when it is not such a number. Blanks and a plus sign may stand before it as in
    C; a minus sign, which C would let wrap around, is refused.
    """
    if not text.isdigit():
        text = text.lstrip(BLANKS).removeprefix("+")
    if not text.isascii() or not text.isalnum():
        return None
    try:
        if text[:2] in ("0x", "0X"):
            # int() takes a second prefix, which C does not.
            return None if text[2:4] in ("0x", "0X") else int(text[2:], 16)
        if text.isdigit():
            return int(text, 8 if text[0] == "0" else 10)
    except ValueError:
        pass
    return None
