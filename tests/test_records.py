"""Records: the fields, defaults and methods of a named tuple."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.records import Record

ROOT = str(Path(__file__).resolve().parent.parent)


class Point(Record):
    """A place."""

    x: int
    y: int = 2

    def total(self) -> int:
        return self.x + self.y


def test_fields_defaults_and_methods() -> None:
    point = Point(1)
    assert (point.x, point.y) == (1, 2)
    assert point.total() == 3
    assert point == Point(x=1, y=2)
    assert point._asdict() == {"x": 1, "y": 2}
    assert point._replace(x=5) == Point(5, 2)


def test_they_print_and_document_themselves() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert Point.__doc__ == "A place."
    assert Point.__module__ == __name__


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]


def test_nothing_else_can_be_set() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]


def test_defining_one_imports_no_typing() -> None:
    code = (
        f"import sys\nsys.path.insert(0, {ROOT!r})\n"
        "from pybpftool.records import Record\n"
        "class P(Record):\n    __annotations__ = {'x': 'int'}\n"
        "assert P(1).x == 1\nsys.exit('typing' in sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    assert subprocess.run(command, check=False).returncode == 0
