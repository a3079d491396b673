"""Thousands of equal records decoded at once: the elements of a map in a dump."""

from __future__ import annotations

import struct

from pybpftool.btf.values import Compiler, Piece
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.btf.table import Btf


class Bulk:
    """Decodes thousands of equal records at once: map elements in a dump.

    A record is literal text and values at offsets; :attr:`format` is the ``%`` format of
    one record, :meth:`columns` gives what fills it.
    """

    __slots__ = ("_compiler", "_groups", "_structs")

    def __init__(self, btf: Btf, is_json: bool, pretty: bool) -> None:
        self._compiler = Compiler(btf, is_json, pretty, None)
        # Pieces read by one struct format: (format, length of what it reads, pieces).
        self._groups: list[tuple[str, int, list[Piece]]] | None = None
        self._structs: dict[tuple[int, int, int], struct.Struct] = {}

    def literal(self, text: str) -> None:
        """Append text."""
        self._compiler.literal(text)

    def value(self, type_id: int, offset: int, depth: int) -> None:
        """Append the value at ``offset`` of a record."""
        self._compiler.type(type_id, offset, 0, depth)

    @property
    def is_broken(self) -> bool:
        """Whether upstream would stop in the middle of a record (:class:`BadValue`)."""
        return bool(self._compiler.failure)

    @property
    def format(self) -> str:
        """The ``%`` format of one record."""
        return "".join(self._compiler.format)

    @property
    def width(self) -> int:
        """How many values fill :attr:`format`."""
        return len(self._compiler.pieces)

    def columns(self, data: bytes, offset: int, stride: int, count: int) -> list[Sequence[object]]:
        """The values of ``count`` records, one sequence for each place of the format."""
        if self._groups is None:
            self._groups = self._grouped()
        if offset + stride * count > len(data):
            raise FormatError(f"{count} values of {stride} bytes are more than there are")
        columns: list[Sequence[object]] = []
        for number, (codes, end, pieces) in enumerate(self._groups):
            if end > stride:
                raise FormatError(f"a value has {stride} bytes, fewer than its type")
            key = (number, stride, count)
            form = self._structs.get(key)
            if form is None:
                record = f"{codes}{stride - end}x" if stride > end else codes
                form = self._structs[key] = struct.Struct(self._compiler.order + record * count)
            flat = form.unpack_from(data, offset)
            step = len(pieces)
            for index, piece in enumerate(pieces):
                column: Sequence[object] = flat[index::step]
                if piece.convert is not None:
                    column = _converted(piece.convert, column)
                columns.append(column)
        return columns

    def _grouped(self) -> list[tuple[str, int, list[Piece]]]:
        order = self._compiler.order
        groups: list[tuple[str, int, list[Piece]]] = []
        codes: list[str] = []
        pieces: list[Piece] = []
        end = 0
        for piece in self._compiler.pieces:
            if piece.offset < end:
                groups.append(("".join(codes), end, pieces))
                codes, pieces, end = [], [], 0
            if piece.offset > end:
                codes.append(f"{piece.offset - end}x")
            codes.append(piece.code)
            pieces.append(piece)
            end = piece.offset + struct.calcsize(order + piece.code)
        if pieces:
            groups.append(("".join(codes), end, pieces))
        return groups


def _converted(convert: Callable[..., str], column: Sequence[object]) -> list[str]:
    """``convert`` of every value; equal ones, of which there are often many, only once."""
    known = dict.fromkeys(column, "")
    if len(known) * 2 > len(column):
        return [convert(value) for value in column]
    for value in known:
        known[value] = convert(value)
    return [known[value] for value in column]
