"""How long something is to last, on a command line."""

from __future__ import annotations

from pybpftool.errors import UsageError

_LONGEST = 24 * 3600.0


def seconds(word: str) -> float:
    """The seconds of ``15s``, ``500ms``, ``2m`` or ``1h``; a number alone is seconds."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    digits = word.rstrip("msh")
    unit = units.get(word[len(digits) :] or "s")
    if unit is None or not (digits.isascii() and digits.replace(".", "", 1).isdigit()):
        raise UsageError(f"cannot read '{word}' as a time like 15s, 500ms or 2m")
    found = float(digits) * unit
    if found > _LONGEST:
        raise UsageError(f"'{word}' is longer than a day")
    return found
