"""Characters that nobody sees, or that turn the text around them."""

from __future__ import annotations

INVISIBLE = (
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2065\u2066\u2067\u2068\u2069\ufeff"
)
"""Unicode's Cf that turn the direction of text or hide it, and line separators."""
