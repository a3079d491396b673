"""Records: the fields, defaults and methods of a named tuple."""

from __future__ import annotations

import copy
import pickle
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


def test_wrong_calls_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="needs a value for 'x'"):
        Point(y=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 2 values, not 3"):
        Point(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="twice a value for 'x'"):
        Point(1, x=2)  # type: ignore[misc]
    with pytest.raises(TypeError, match="no field 'z'"):
        Point(1, z=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="no field z"):
        Point(1)._replace(z=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 2 values, not 1"):
        Point._make([1])


def test_they_are_tuples_that_can_be_copied_and_pickled() -> None:
    point = Point(1, 5)
    assert tuple(point) == (1, 5)
    assert hash(point) == hash(Point(1, 5))
    for again in (pickle.loads(pickle.dumps(point)), copy.deepcopy(point)):
        assert type(again) is Point
        assert again == point
    assert Point._make(iter([3, 4])) == Point(3, 4)
    assert Point._fields == ("x", "y")


def test_a_field_without_a_default_cannot_follow_one_that_has_one() -> None:
    body = {"__annotations__": {"a": "int", "b": "int"}, "a": 1, "__module__": __name__}
    with pytest.raises(TypeError, match="without a default"):
        metaclass: type = type(Point)
        metaclass("Wrong", (Record,), body)


def test_nothing_else_can_be_set() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]


def test_defining_one_imports_neither_typing_nor_collections() -> None:
    code = (
        f"import sys\nsys.path.insert(0, {ROOT!r})\n"
        "from pybpftool.records import Record\n"
        "class P(Record):\n    __annotations__ = {'x': 'int'}\n"
        "assert P(1).x == 1\nsys.exit('typing' in sys.modules or 'collections' in sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    assert subprocess.run(command, check=False).returncode == 0
