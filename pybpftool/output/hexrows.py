"""Rows of hexadecimal bytes, one at a time or thousands at once.

A row is literal text and runs of bytes, as wide in one row as in the next. Many rows
are made column by column: the bytes of a whole block become hexadecimal digits in one
call, and each digit of a row is then copied to its place in all rows with one strided
assignment, so that Python's own work does not grow with the number of rows.
"""

from __future__ import annotations

from binascii import hexlify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEY, VALUE = 0, 1
"""What a run of bytes is taken from."""

# Rows made at once: their text should stay in the second-level cache.
_BLOCK = 2048
# Bytes of a run that are made at once where it has more than that; whole lines of text.
_SOME = 1 << 16
# Fewer rows than this are cheaper made one by one, as are rows with more bytes.
_FEW = 24
_WIDE = 1024

_SHOWN = bytes(byte if 32 <= byte < 127 else 46 for byte in range(256))


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

    def pieces(self, data: bytes) -> Iterator[str]:
        """The bytes of a run, some at a time."""
        if self.end is None:
            for at in range(0, len(data), _SOME):
                yield ("\n" if at else "") + hex_text(data[at : at + _SOME])
            return
        for at in range(0, len(data), _SOME):
            end = self.end if at + _SOME >= len(data) else ""
            yield (", " if at else "[")[:1] + hex_list(data[at : at + _SOME], end)[1:]
        if not data:
            yield hex_list(data)


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

    def pieces(self, key: bytes, value: bytes) -> Iterator[str]:
        """One row, little by little: for one of millions of bytes."""
        for part in self._parts:
            if isinstance(part, str):
                yield part
                continue
            data = value if part.source else key
            yield from part.pieces(data[part.offset : part.offset + part.size])

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

    __slots__ = ("_digits", "_out", "_pitches", "width")

    def __init__(self, parts: Sequence[str | Run], pitches: tuple[int, int]) -> None:
        self._pitches = pitches
        template = bytearray()
        # (place in the row, source, place in the source's digits) of every hexadecimal digit
        self._digits: list[tuple[int, int, int]] = []
        for part in parts:
            if isinstance(part, str):
                template += part.encode("ascii")
                continue
            # The form of any bytes is that of zeros.
            zeros = bytes(part.size)
            form = hex_text(zeros) if part.end is None else hex_list(zeros, part.end)
            pair = "00" if part.end is None else '00"'
            begin = 0
            for byte in range(part.offset, part.offset + part.size):
                begin = form.index(pair, begin)
                place = len(template) + begin
                self._digits.append((place, part.source, byte * 2))
                self._digits.append((place + 1, part.source, byte * 2 + 1))
                begin += 2
            template += form.encode("ascii")
        self.width = len(template)
        self._out = bytearray(template * _BLOCK)

    def blocks(self, keys: bytes, values: bytes, count: int) -> Iterator[memoryview]:
        """See :meth:`Rows.blocks`."""
        width = self.width
        out = self._out
        key_size, value_size = self._pitches
        steps = (2 * key_size, 2 * value_size)
        for start in range(0, count, _BLOCK):
            rows = min(_BLOCK, count - start)
            end = rows * width
            digits = (
                hexlify(keys[start * key_size : (start + rows) * key_size]),
                hexlify(values[start * value_size : (start + rows) * value_size]),
            )
            # Slices of bytes and bytearray are copied in half the time that views take.
            for place, source, first in self._digits:
                out[place:end:width] = digits[source][first :: steps[source]]
            yield memoryview(out)[:end]
