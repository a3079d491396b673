"""What the kernel's headers of each architecture say: fixtures/abi/headers.txt."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_PATH = Path(__file__).parents[2] / "fixtures" / "abi" / "headers.txt"


class Headers(NamedTuple):
    """One architecture: its ``uname -m``, how it holds numbers, the numbers by their names."""

    machine: str
    is_64bit: bool
    byteorder: str
    numbers: dict[str, int]


def headers() -> list[Headers]:
    """All rows of the table."""
    head, *lines = _PATH.read_text().splitlines()
    names = head.split()[3:]
    rows = []
    for line in lines:
        machine, bits, byteorder, *numbers = line.split()
        values = dict(zip(names, (int(number, 0) for number in numbers)))
        rows.append(Headers(machine, bits == "64", byteorder, values))
    return rows
