"""Colours for code on a terminal: source, offsets, calls, jumps and names stand out.

Lines are painted as they pass; their text is the same with and without.
"""

from __future__ import annotations

import re

from pybpftool.output.stream import Output, escaped

_PLAIN = "\x1b[0m"
_BOLD = "\x1b[1m"
_SOURCE = "\x1b[32m"
# What a line of code is made of, the first kind that fits.
_PARTS = (
    ("\x1b[2m", r"^\s*[0-9a-f]+:|\([0-9a-f]{2}\)"),  # offsets and opcodes
    ("\x1b[36m", r"<[^>]*>|map\[[^\]]*\](?:\[[^\]]*\]\S*)?|subprog\[[^\]]*\]|#\S+"),  # names
    ("\x1b[33m", r"\b(?:call[a-z]*|goto\w*|may_goto|exit|if|leave|ret[a-z]*|j[a-z]{1,4})\b"),
)
_CODE = re.compile("|".join(f"({pattern})" for _, pattern in _PARTS))
_BAR = " | "


def painted_line(text: str) -> str:
    """A line of a dump, painted; control characters in it are shown, not acted upon."""
    text = escaped(text)
    if text.lstrip().startswith(";"):
        return f"{_SOURCE}{text}{_PLAIN}"
    if not text[:1].isspace() and not _is_code(text):
        return f"{_BOLD}{text}{_PLAIN}" if text else text
    return _BAR.join([_CODE.sub(_paint, part) for part in text.split(_BAR)])


def _is_code(text: str) -> bool:
    offset, colon, _ = text.partition(":")
    return bool(colon) and bool(offset) and not offset.strip("0123456789abcdef")


def _paint(match: re.Match[str]) -> str:
    return f"{_PARTS[(match.lastindex or 1) - 1][0]}{match.group()}{_PLAIN}"


class Painted(Output):
    """Paints what is written and hands it on to another output; :meth:`end` when all is."""

    __slots__ = ("_below", "_rest")

    def __init__(self, below: Output) -> None:
        super().__init__()
        self._below = below
        self._rest = ""

    def write(self, text: str) -> None:
        """Hand on the lines that are whole."""
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._hand_on("\n".join(map(painted_line, lines)) + "\n")

    def flush(self) -> None:
        """Nothing is kept but the beginning of a line."""

    def end(self) -> None:
        """Hand on a last line without an end."""
        rest, self._rest = self._rest, ""
        self._hand_on(painted_line(rest))

    def _hand_on(self, text: str) -> None:
        self._below.write_bytes(text.encode("utf-8", "backslashreplace"))
