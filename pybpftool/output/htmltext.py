"""Text for HTML: names and source lines that hold whatever somebody chose."""

from __future__ import annotations

from html import escape

from pybpftool.invisible import INVISIBLE

# What HTML has no place for, spelt out.
_CONTROLS = {c: f"\\x{c:02x}" for c in (*range(9), *range(11, 32), *range(127, 160))}
_CONTROLS.update({0xDC00 + byte: f"\\x{byte:02x}" for byte in range(128, 256)})
_CONTROLS.update({c: f"\\u{c:04x}" for c in (*range(0xD800, 0xDC80), *range(0xDD00, 0xE000))})
# What turns the direction of text or hides it.
_CONTROLS.update({ord(c): f"\\u{ord(c):04x}" for c in INVISIBLE})

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""A content security policy with which nothing may be loaded, whatever the text holds."""


def html_text(text: str) -> str:
    """The text for an element or a quoted attribute."""
    if not (text.isascii() and text.replace("\n", "").isprintable()):
        text = text.translate(_CONTROLS)  # which takes its time
    return escape(text)
