"""Rows of hexadecimal bytes, one at a time or thousands at once.

A row is literal text and runs of bytes, as wide in one row as in the next. Many rows
are made column by column: the bytes of a whole block become hexadecimal digits in one
call, and each run of digits is then copied to its place in all rows with one strided
assignment, so that Python's own work does not grow with the number of rows.
"""

from __future__ import annotations

from binascii import hexlify
from math import gcd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    Code = Literal["B", "H", "I", "Q"]

KEY, VALUE = 0, 1
"""What a run of bytes is taken from."""

# Rows made at once: their text should stay in the second-level cache.
_BLOCK = 2048
# Fewer rows than this are cheaper made one by one, as are rows with more bytes.
_FEW = 24
_WIDE = 1024

_SHOWN = bytes(byte if 32 <= byte < 127 else 46 for byte in range(256))

_UNITS: dict[int, Code] = {1: "B", 2: "H", 4: "I", 8: "Q"}


def hex_text(data: bytes) -> str:
    """Bytes as upstream's ``fprint_hex()`` prints them: 16 a line, a gap after eight."""
    text = data.hex(" ")
    if len(data) <= 8:
        return text
    lines = []
    for at in range(0, len(text), 48):
        lines.append(text[at : at + 23])
        if at + 24 < len(text):
            lines[-1] += "  " + text[at + 24 : at + 47]
    return "\n".join(lines)


def hex_list(data: bytes, end: str = "]") -> str:
    """Bytes as a JSON array of strings like ``"0x1f"``; ``end`` closes one that is not empty."""
    if not data:
        return "[]"
    return '["0x' + data.hex(",").replace(",", '","0x') + '"' + end


class Run:
    """Bytes ``offset`` to ``offset + size`` of a key or value.

    ``end`` is None for text (:func:`hex_text`), or what closes a JSON array.
    """

    __slots__ = ("end", "offset", "size", "source")

    def __init__(self, source: int, offset: int, size: int, end: str | None = None) -> None:
        self.source = source
        self.offset = offset
        self.size = size
        self.end = end


def offset_rows(data: bytes) -> str:
    """Rows of an offset, pairs of bytes and characters, as upstream shows what a run gave."""
    rows = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        digits = hexlify(row, b" ", -2).decode()
        text = row.translate(_SHOWN).decode()
        # The blank in the middle belongs to the eighth character.
        text = f"{text[:8]} {text[8:]}" if len(row) >= 8 else text
        rows.append(f"{at:07x}\t{digits:40}| {text}\n")
    return "".join(rows)


class Rows:
    """Makes rows of fixed width.

    :param parts: literal texts (ASCII) and runs; a run of text is followed by a literal.
    :param pitches: bytes from one key to the next, and from one value to the next.
    """

    __slots__ = ("_columns", "_parts", "_pitches", "_size")

    def __init__(self, parts: Sequence[str | Run], pitches: tuple[int, int]) -> None:
        self._parts = list(parts)
        self._pitches = pitches
        self._size = sum(part.size for part in parts if isinstance(part, Run))
        self._columns: _Columns | None = None

    def row(self, key: bytes, value: bytes) -> str:
        """One row."""
        pieces = []
        for part in self._parts:
            if isinstance(part, str):
                pieces.append(part)
                continue
            data = value if part.source else key
            if part.size != len(data):
                data = data[part.offset : part.offset + part.size]
            pieces.append(hex_text(data) if part.end is None else hex_list(data, part.end))
        return "".join(pieces)

    def blocks(self, keys: bytes, values: bytes, count: int) -> Iterator[bytes | memoryview]:
        """``count`` rows, each block valid until the next is asked for."""
        if count < _FEW or self._size > _WIDE:
            yield "".join(self._each(keys, values, count)).encode("ascii")
            return
        yield from self._in_columns().blocks(keys, values, count)

    def texts(self, keys: bytes, values: bytes, count: int) -> list[str]:
        """``count`` rows as strings."""
        if count < _FEW or self._size > _WIDE:
            return self._each(keys, values, count)
        columns = self._in_columns()
        width = columns.width
        rows: list[str] = []
        for block in columns.blocks(keys, values, count):
            text = str(block, "ascii")
            rows += [text[at : at + width] for at in range(0, len(text), width)]
        return rows

    def _in_columns(self) -> _Columns:
        if self._columns is None:
            self._columns = _Columns(self._parts, self._pitches)
        return self._columns

    def _each(self, keys: bytes, values: bytes, count: int) -> list[str]:
        key_size, value_size = self._pitches
        row = self.row
        return [
            row(
                keys[index * key_size : (index + 1) * key_size],
                values[index * value_size : (index + 1) * value_size],
            )
            for index in range(count)
        ]


class _Columns:
    """The block-wise way; see the module."""

    __slots__ = ("_copies", "_marks", "_out", "_pitches", "_sources", "width")

    def __init__(self, parts: Sequence[str | Run], pitches: tuple[int, int]) -> None:
        self._pitches = pitches
        template = bytearray()
        # (place in the row, source, place in the source's digits, digits, digits per byte)
        groups: list[tuple[int, int, int, int, int]] = []
        for part in parts:
            if isinstance(part, str):
                template += part.encode("ascii")
            elif part.end is None:
                _text_groups(part, template, groups)
            else:
                _list_groups(part, template, groups)
        self.width = len(template)
        # Room for copies that write a separator past the end of the last row.
        self._out = bytearray(template * _BLOCK + b" " * 16)
        self._sources = sorted({(source, digits) for _, source, _, _, digits in groups})
        # A copied group of text takes the blank after it along; those that the row has
        # something else for are put right afterwards.
        self._marks = [
            (at + length - 1, template[at + length - 1 : at + length])
            for at, _, _, length, digits in groups
            if digits == 3 and template[at + length - 1] != 0x20
        ]
        self._copies: list[tuple[memoryview, tuple[int, int], int, int, int, Code]] = []
        out = memoryview(self._out)
        for group in groups:
            self._plan(out, *group)

    def _plan(
        self, out: memoryview, at: int, source: int, where: int, length: int, digits: int
    ) -> None:
        """Split the copying of a group into strided copies of units of up to eight bytes."""
        width = self.width
        pitch = self._pitches[source] * digits
        unit = gcd(8, length)
        # So many rows together are a whole number of units, in the text and in the digits.
        rows = max(unit // gcd(unit, width), unit // gcd(unit, pitch))
        code = _UNITS[unit]
        for row in range(rows):
            start = at + row * width
            end = start + (len(self._out) - start) // unit * unit
            view = out[start:end].cast(code)
            first = where + row * pitch
            for index in range(length // unit):
                target = view[index :: rows * width // unit][: _BLOCK // rows]
                self._copies.append(
                    (target, (source, digits), first + index * unit, rows, pitch, code)
                )

    def blocks(self, keys: bytes, values: bytes, count: int) -> Iterator[memoryview]:
        """See :meth:`Rows.blocks`."""
        width = self.width
        out = memoryview(self._out)
        data = (memoryview(keys), memoryview(values))
        for start in range(0, count, _BLOCK):
            rows = min(_BLOCK, count - start)
            padded = (rows + 7) // 8 * 8  # whole groups of rows; the surplus is not shown
            digits: dict[tuple[int, int], memoryview] = {}
            for source, per_byte in self._sources:
                pitch = self._pitches[source]
                part = bytes(data[source][start * pitch : (start + rows) * pitch])
                # The last unit of the last row may reach a little further.
                part += bytes((padded - rows) * pitch + 8)
                text = hexlify(part, b" ") if per_byte == 3 else hexlify(part)
                digits[source, per_byte] = memoryview(text)
            for target, source_key, first, together, pitch, code in self._copies:
                view = digits[source_key][first:]
                unit = target.itemsize
                view = view[: len(view) // unit * unit].cast(code)
                groups = padded // together
                target[:groups] = view[:: together * pitch // unit][:groups]
            for place, mark in self._marks:
                self._out[place : rows * width : width] = mark * rows
            yield out[: rows * width]


def _text_groups(
    run: Run, template: bytearray, groups: list[tuple[int, int, int, int, int]]
) -> None:
    for at in range(0, run.size, 8):
        if at:
            template += b"  " if at % 16 else b"\n"
        size = min(8, run.size - at)
        groups.append((len(template), run.source, (run.offset + at) * 3, size * 3, 3))
        template += b"xx " * size
        del template[-1]


def _list_groups(
    run: Run, template: bytearray, groups: list[tuple[int, int, int, int, int]]
) -> None:
    assert run.end is not None
    if not run.size:
        template += b"[]"
        return
    for index in range(run.size):
        template += b'","0x' if index else b'["0x'
        groups.append((len(template), run.source, (run.offset + index) * 2, 2, 2))
        template += b"00"
    template += b'"' + run.end.encode("ascii")
