"""JSON text in the two layouts of upstream's ``json_writer.c``.

Compact (``-j``) is plain JSON without blanks. Pretty (``-p``) is upstream's own
layout: every property name starts a line, indented by four blanks per nesting
level, while the elements of an array follow each other without line breaks; an
array whose last element was written is closed on a line of its own.
"""

from __future__ import annotations

from pybpftool.output.stream import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

try:
    # The accelerated halves of the json package; importing the package itself
    # costs as much as a whole `prog show`, most of it for `re`.
    from _json import encode_basestring, make_encoder
except ImportError:  # pragma: no cover - interpreters without the accelerator
    from json.encoder import encode_basestring

    make_encoder = None  # type: ignore[misc, assignment]  # None is asked for below

quote: Callable[[str], str] = encode_basestring
"""A string as a JSON string; other characters than ASCII stay as they are."""


class RawNumber:
    """A number written exactly as ``text`` says (for forms that Python would change)."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _compact_python(value: object) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, RawNumber):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(k)}:{_compact_python(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_compact_python, value)) + "]"
    _refuse(value)
    raise AssertionError


def _make_compact() -> Callable[[object], str]:
    if make_encoder is None:  # pragma: no cover
        return _compact_python
    encoder = make_encoder(None, _refuse, quote, None, ":", ",", False, False, True)

    def compact(value: object) -> str:
        try:
            return "".join(encoder(value, 0))
        except TypeError:
            return _compact_python(value)

    return compact


compact: Callable[[object], str] = _make_compact()
"""JSON of None, bool, int, str, list, tuple, dict and :class:`RawNumber`, without blanks."""


def pretty(value: object, depth: int = 0) -> str:
    """``value`` in upstream's pretty layout, as it stands ``depth`` levels deep."""
    if isinstance(value, dict):
        if not value:
            return "{}"
        pad = "\n" + "    " * (depth + 1)
        fields = ",".join(
            f"{pad}{quote(name)}: {pretty(item, depth + 1)}" for name, item in value.items()
        )
        return "{" + fields + "\n" + "    " * depth + "}"
    if isinstance(value, (list, tuple)):
        if not value:
            return "[]"
        items = ",".join(pretty(item, depth + 1) for item in value)
        return "[" + items + "\n" + "    " * depth + "]"
    return compact(value)


class JsonStream:
    """Writes one JSON document to an :class:`Output` piece by piece.

    Values are whole Python structures (:meth:`value`); only what must stream is
    opened and closed by hand. An error in the middle leaves a valid document:
    :meth:`error` writes ``{"error": …}`` where the next value would stand and
    :meth:`finish` closes what is open.
    """

    __slots__ = ("_named", "_open", "_out", "_separate", "is_pretty")

    def __init__(self, out: Output, is_pretty: bool = False) -> None:
        self._out = out
        self.is_pretty = is_pretty
        self._open: list[str] = []  # closing brackets, innermost last
        self._separate = False  # a comma is due before the next value or name
        self._named = False  # a name was written and waits for its value

    @property
    def depth(self) -> int:
        """How many objects and arrays are open."""
        return len(self._open)

    @property
    def is_complete(self) -> bool:
        """Whether the document has ended: another value would be a second document."""
        return self._separate and not self._open

    def _begin_value(self) -> None:
        if self._separate:
            self._out.write(",")
        self._separate = True
        self._named = False

    def text(self, value: object) -> str:
        """``value`` as text in this stream's layout at the current depth."""
        return pretty(value, len(self._open)) if self.is_pretty else compact(value)

    def value(self, value: object) -> None:
        """Write a whole value: an array's next element, a named value or the document."""
        text = self.text(value)  # first: where that fails, no comma waits for a value
        self._begin_value()
        self._out.write(text)

    def raw(self, text: str) -> None:
        """Write one value (or several, with their commas) that is JSON text already."""
        self._begin_value()
        self._out.write(text)

    def raw_pieces(self, pieces: Iterable[str]) -> None:
        """As :meth:`raw`, one value that comes in pieces."""
        self._begin_value()
        self._out.write_pieces(pieces)

    def raw_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """As :meth:`raw`, a large block in ASCII."""
        self._begin_value()
        self._out.write_bytes(data)

    def begin_array(self) -> None:
        """Open an array."""
        self._begin_value()
        self._out.write("[")
        self._open.append("]")
        self._separate = False

    def begin_object(self) -> None:
        """Open an object."""
        self._begin_value()
        self._out.write("{")
        self._open.append("}")
        self._separate = False

    def name(self, name: str) -> None:
        """Write a property's name; exactly one value must follow."""
        if self.is_pretty:
            pad = "\n" + "    " * len(self._open)
            self._out.write(f"{',' if self._separate else ''}{pad}{quote(name)}: ")
        else:
            self._out.write(f"{',' if self._separate else ''}{quote(name)}:")
        self._separate = False
        self._named = True

    def fields(self, fields: dict[str, object]) -> None:
        """Write several properties of the open object."""
        for name, value in fields.items():
            self.name(name)
            self.value(value)

    def end(self) -> None:
        """Close the innermost open object or array."""
        bracket = self._open.pop()
        if self.is_pretty and self._separate:
            self._out.write("\n" + "    " * len(self._open))
        self._out.write(bracket)
        self._separate = True

    def array(self, values: Iterable[object]) -> None:
        """Write an array whose elements are written as they come."""
        self.begin_array()
        for value in values:
            self.value(value)
        self.end()

    def error(self, message: str, more: dict[str, object] | None = None) -> None:
        """Report an error in the stream: as an element, or as a property of an open object.

        ``more`` are the members that follow ``error``.
        """
        fields = {"error": message, **(more or {})}
        if self._open and self._open[-1] == "}" and not self._named:
            self.fields(fields)
        else:
            self.value(fields)

    def ensure_value(self) -> None:
        """Write ``null`` if a name still waits for its value (a command that printed nothing)."""
        if self._named:
            self.value(None)

    def finish(self, depth: int = 0) -> None:
        """Close everything that is open beyond ``depth``."""
        while len(self._open) > depth:
            self.end()
