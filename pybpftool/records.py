"""Records: named tuples that cost little to define.

``typing.NamedTuple`` is what type checkers see; at run time a record is a plain
``collections.namedtuple``, because importing :mod:`typing` costs more than most commands.
A module that defines records needs ``from __future__ import annotations``.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers read this name as True
if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    from collections import namedtuple

    class _Fields(type):
        def __new__(meta, name, bases, body):
            if not bases:
                return super().__new__(meta, name, bases, body)
            fields = body.pop("__annotations__", {})
            defaults = [body.pop(field) for field in fields if field in body]
            row = namedtuple(name, fields, defaults=defaults)
            return type(name, (row,), {"__slots__": (), **body})

    class Record(metaclass=_Fields):
        """Base of all records: fields are class annotations, defaults stand last."""


__all__ = ["Record"]
