"""Words of reports: hostile names made harmless, lists and the nearest right word."""

from __future__ import annotations

from pybpftool.invisible import INVISIBLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def shown(text: str) -> str:
    """Text for one line: control characters, bytes that are not UTF-8 and the like escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if c.isprintable() and c not in INVISIBLE else _escaped(c) for c in text])


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def shell_quoted(path: str) -> str:
    """A path for a command that is copied into bash, which names the same file."""
    if shown(path) == path:
        from shlex import quote

        return quote(path)
    pieces = []
    for c in path:
        if c in "'\\":
            pieces.append(f"\\{c}")
        elif shown(c) == c:
            pieces.append(c)
        else:
            pieces += [f"\\x{byte:02x}" for byte in c.encode("utf-8", "surrogateescape")]
    return f"$'{''.join(pieces)}'"


def value_text(value: Any) -> str:
    """A field's value for a person."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ", ".join(value_text(one) for one in value) if value else "none"
    return shown(str(value)) or '""'


def value_json(value: Any) -> Any:
    """A field's value as JSON; what is hidden or not told is an object that says so."""
    if isinstance(value, (tuple, list)):
        return [value_json(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"unknown": str(value)}


def counted(number: int, what: str, many: str = "") -> str:
    """``1 rule``, ``3 rules``."""
    return f"{number} {what}" if number == 1 else f"{number} {many or what + 's'}"


def nearest(word: str, words: Iterable[str], likeness: float = 0.6) -> str:
    """A remark that names the right word that is most like a wrong one, if any is.

    ``likeness`` is what difflib calls the ratio of two words, from 0 to 1.
    """
    try:
        from difflib import get_close_matches
    except ImportError:  # part of a Python that its user may not read: no remark then
        return ""

    found = get_close_matches(word, list(words), 1, likeness)
    return f"; did you mean '{found[0]}'?" if found else ""


def glob(pattern: str, text: str) -> bool:
    """Whether text fits a pattern with ``*``, ``?`` and ``[…]``; case matters."""
    if not any(mark in pattern for mark in "*?["):
        return pattern == text
    from fnmatch import fnmatchcase

    return fnmatchcase(text, pattern)
