"""Records: named tuples that cost little to define and to import.

``typing.NamedTuple`` is what type checkers see. ``collections.namedtuple`` compiles a
constructor for each class (a tenth of a millisecond, before :mod:`collections` itself is
loaded), which is more than an everyday command spends on all else that it defines; so at
run time a record is a tuple with one getter a field and the methods of :class:`Record`,
which all records share. A module that defines records needs
``from __future__ import annotations``.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers read this name as True
if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    try:
        from _collections import _tuplegetter
    except ImportError:  # an interpreter that is not CPython

        def _tuplegetter(index, doc):
            return property(lambda record: tuple.__getitem__(record, index), doc=doc)

    _tuple_new = tuple.__new__

    class _Fields(type):
        def __new__(meta, name, bases, body):
            if bases[0] is tuple or bases[0] is not Record:
                return super().__new__(meta, name, bases, body)
            fields = tuple(body.pop("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            if any(field in defaults for field in fields[: len(fields) - len(defaults)]):
                raise TypeError(f"{name}: a field without a default follows one that has one")
            for index, field in enumerate(fields):
                if field[0] == "_":
                    raise TypeError(f"{name}: a field's name cannot begin with '_': {field}")
                body[field] = _tuplegetter(index, f"Field {index} of {name}.")
            body.setdefault("__slots__", ())
            body["_fields"] = body["__match_args__"] = fields
            body["_field_defaults"] = defaults
            body["_count"] = len(fields)
            return super().__new__(meta, name, bases, body)

    def _completed(cls, values, named):
        """The values of all fields; TypeError where there are too few or too many."""
        following = cls._fields[len(values) :]
        given = {**cls._field_defaults, **named}
        if len(values) <= cls._count and named.keys() <= frozenset(following) <= given.keys():
            return (*values, *[given[field] for field in following])
        raise TypeError(f"{cls.__name__} {_misfit(cls._fields, len(values), given, named)}")

    def _misfit(fields, count, given, named):
        """What is wrong with the values of a record, of which ``count`` came without a name."""
        if count > len(fields):
            return f"takes {len(fields)} values, not {count}"
        for field in fields[count:]:
            if field not in given:
                return f"needs a value for '{field}'"
        wrong = next(field for field in named if field not in fields[count:])
        return f"takes {'twice a value for' if wrong in fields else 'no field'} '{wrong}'"

    class Record(tuple, metaclass=_Fields):
        """Base of all records: fields are class annotations, defaults stand last."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}
        _count = 0

        def __new__(cls, /, *values, **named):
            if named or len(values) != cls._count:
                values = _completed(cls, values, named)
            return _tuple_new(cls, values)

        @classmethod
        def _make(cls, iterable):
            """A record of these values, in the order of the fields."""
            record = _tuple_new(cls, iterable)
            if len(record) != cls._count:
                raise TypeError(f"{cls.__name__} takes {cls._count} values, not {len(record)}")
            return record

        def _replace(self, /, **changes):
            """A copy with other values for some fields."""
            record = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"{type(self).__name__} has no field {', '.join(changes)}")
            return record

        def _asdict(self):
            """The values by the names of their fields."""
            return dict(zip(self._fields, self))

        def __repr__(self):
            values = ", ".join([f"{f}={v!r}" for f, v in zip(self._fields, self)])
            return f"{type(self).__name__}({values})"

        def __getnewargs__(self):
            return tuple(self)


def readable(cls: type) -> set[str]:
    """The public fields and properties of a class of records."""
    return {
        name
        for each in cls.__mro__
        for name, value in vars(each).items()
        if name[0] != "_" and hasattr(type(value), "__set__")
    }


__all__ = ["Record", "readable"]
