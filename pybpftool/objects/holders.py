"""The processes that hold an object, as listings show them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Holders = Sequence[tuple[int, str]]

# Forked processes hold the same: as a rule the next object has the very list of the one before.
_last_text: list[Any] = [None, ""]


def pids_text(holders: Holders) -> str:
    """The line ``pids COMM(PID), …`` and the line break before it; empty for nobody."""
    if not holders:
        return ""
    known, text = _last_text
    if holders is not known:
        text = "\n\tpids " + ", ".join([f"{comm}({pid})" for pid, comm in holders])
        _last_text[:] = holders, text
    return str(text)
