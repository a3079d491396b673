"""What an instruction refers to by name."""

from __future__ import annotations

from pybpftool.records import Record


class Relocated(Record):
    """An instruction (by its number in its program) and what it refers to.

    ``kind`` is "map", "data" (``offset`` bytes into a map of variables), "call", "address"
    (of a function), "extern", "extern call" or "jump table".
    """

    insn: int
    kind: str
    name: str
    offset: int
