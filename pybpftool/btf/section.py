"""The type section of BTF: its header, and where each type stands (``include/uapi/linux/btf.h``).

Everything is read on demand from the section as it stands in memory, so that opening the
126,000 types of a kernel to look at one of them costs little.
"""

from __future__ import annotations

import struct
import sys
from _bisect import bisect_left  # without the Python of bisect

from pybpftool.btf.names import Names
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import KIND_MAX, KINDS, MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from mmap import mmap
    from typing import Literal

HEADER_BYTES = 32  # as far as this program knows the header
HEADER_MIN = 24  # up to and including str_len
_MAX_STR = 0x7FFFFFFF
_PIECE = 1 << 16  # words that are searched at once
_SOME = 8192  # types that are looked for at once


class _Sizes(dict[int, int]):
    """Words that a type takes, by its ``info`` word; filled as words are met."""

    __slots__ = ("_layout",)

    def __init__(self, layout: bytes) -> None:
        super().__init__()
        self._layout = layout

    def __missing__(self, info: int) -> int:
        kind = info >> 24 & 0x7F
        if 0 < kind <= KIND_MAX:
            row = KINDS[kind]
            trailer = (row.words, row.element_words)
        else:
            # The header may describe kinds that we do not know (struct btf_layout).
            entry = self._layout[kind * 4 : kind * 4 + 2]
            if len(entry) < 2:
                raise FormatError(f"the BTF has a type of unknown kind {kind}")
            if entry[0] % 4 or entry[1] % 4:
                raise FormatError(f"the BTF declares impossible sizes for kind {kind}")
            trailer = (entry[0] // 4, entry[1] // 4)
        words = 3 + trailer[0] + trailer[1] * (info & 0xFFFFFF)
        self[info] = words
        return words


class Header:
    """``struct btf_header``: where the sections are, after :class:`FormatError` for what cannot be.

    Offsets count from the end of the header.
    """

    __slots__ = (
        "bytes",
        "is_swapped",
        "layout_len",
        "layout_off",
        "order",
        "str_len",
        "str_off",
        "type_len",
        "type_off",
    )

    def __init__(self, data: bytes | mmap) -> None:
        header = bytes(data[:HEADER_BYTES])
        if len(header) < HEADER_MIN:
            raise FormatError("the data is too short to be BTF")
        self.order: Literal["little", "big"]
        if int.from_bytes(header[:2], "little") == MAGIC:
            self.order = "little"
        elif int.from_bytes(header[:2], "big") == MAGIC:
            self.order = "big"
        else:
            raise FormatError("the data is not BTF (its first two bytes are not 0xeb9f)")
        order = "<" if self.order == "little" else ">"
        (self.bytes,) = struct.unpack_from(f"{order}I", header, 4)
        self.is_swapped = self.order != sys.byteorder
        if self.is_swapped and self.bytes < HEADER_MIN:
            raise FormatError(f"the BTF header claims to have only {self.bytes} bytes")
        if self.bytes > len(data):
            raise FormatError(
                f"the BTF is truncated: a header of {self.bytes} bytes in {len(data)} bytes"
            )
        known = header[: self.bytes].ljust(HEADER_BYTES, b"\0")
        (
            self.type_off,
            self.type_len,
            self.str_off,
            self.str_len,
            self.layout_off,
            self.layout_len,
        ) = struct.unpack_from(f"{order}6I", known, 8)
        self._check(len(data))

    def _check(self, size: int) -> None:
        strings_end = self.str_off + self.str_len
        if strings_end > size - self.bytes:
            raise FormatError(
                f"the BTF is truncated: its strings end at {self.bytes + strings_end},"
                f" the data at {size}"
            )
        types_end = self.type_off + self.type_len
        if types_end > self.str_off:
            raise FormatError("the BTF's type section runs into its strings")
        if self.type_off % 4 or self.type_len % 4:
            raise FormatError("the BTF's type section is not made of whole 32-bit words")
        layout_off, layout_len = self.layout_off, self.layout_len
        if layout_len and (
            layout_off % 4
            or layout_len % 4
            or layout_off < types_end
            or layout_off + layout_len > self.str_off
        ):
            raise FormatError("the BTF's layout section is misplaced")


class TypeSection:
    """Where the types of one BTF object are; split BTF continues the ids of its ``base``.

    Type ids count from 1; 0 is ``void``. Methods raise :class:`FormatError` for
    ids that the data does not have.
    """

    __slots__ = (
        "_layout",
        "_offsets",
        "_position",
        "base",
        "byteorder",
        "names",
        "sizes",
        "start_id",
        "string_end",
        "words",
    )

    base: TypeSection | None
    byteorder: Literal["little", "big"]
    names: Names
    start_id: int
    sizes: _Sizes
    string_end: int

    def __init__(self, data: bytes | mmap, base: TypeSection | None) -> None:
        header = Header(data)
        self.byteorder = header.order
        str_len = header.str_len
        string_end = header.bytes + header.str_off + str_len
        if base is None or str_len:
            if not str_len or str_len - 1 > _MAX_STR or data[string_end - 1]:
                raise FormatError("the BTF's string section is empty or not terminated")
            if base is None and data[string_end - str_len]:
                raise FormatError("the BTF refers to a base BTF, which is not given")
        view = memoryview(data)[header.bytes :]
        self.base = base
        self._layout = bytes(view[header.layout_off : header.layout_off + header.layout_len])
        if not self._layout and base is not None:
            self._layout = base._layout
        if base is None:
            self.start_id = 1
            start = 0
        else:
            self.start_id = base.count
            start = base.string_end
        self.string_end = start + str_len
        """Where the string offsets of BTF on top of this one begin."""
        self.names = Names(
            data, string_end - str_len, string_end, start, base.names if base is not None else None
        )
        types = view[header.type_off : header.type_off + header.type_len]
        self.words: memoryview
        """The type section as native 32-bit words."""
        if header.is_swapped:
            from array import array

            native = array("I", types.tobytes())
            native.byteswap()
            self.words = memoryview(native)
        else:
            self.words = types.cast("I")
        self.sizes = _Sizes(self._layout)
        self._offsets: list[int] = []
        self._position = 1

    @property
    def count(self) -> int:
        """One more than the largest type id (``void`` and the base's types included)."""
        self._scan(1 << 62)
        return self.start_id + len(self._offsets)

    def has(self, type_id: int) -> bool:
        """Whether there is a type of this id (void included)."""
        self._scan(type_id - self.start_id)
        return type_id < self.start_id + len(self._offsets)

    def _scan(self, until: int) -> None:
        """Find where types begin, as far as the own type number ``until`` (from 0)."""
        end = len(self.words) + 1
        if self._position >= end:
            return
        offsets = self._offsets
        known = len(offsets)
        try:
            self._position = self._scanned(until)
        except IndexError:
            position = offsets.pop()
            if position != end:
                last = self.start_id + len(offsets) - 1
                del offsets[known:]  # who asks again is refused again
                raise FormatError(f"the BTF's type [{last}] is cut off") from None
            self._position = position

    def _scanned(self, until: int) -> int:
        """The place behind the types that are scanned; IndexError behind the last place found.

        A function of its own: where memory is short in a ``try`` of one as long as this, CPython
        3.11 wants memory to leave it, and does so for good.
        """
        offsets = self._offsets
        position = self._position
        words = self.words
        sizes = self.sizes
        append = offsets.append
        if until - len(offsets) > 1 << 20:
            while True:
                append(position)
                position += sizes[words[position]]
                append(position)
                position += sizes[words[position]]
                append(position)
                position += sizes[words[position]]
                append(position)
                position += sizes[words[position]]
        for _ in range(until + 1 - len(offsets)):
            append(position)
            position += sizes[words[position]]
        return position

    def places_of(self, word: int) -> Iterator[int]:
        """Indexes into :attr:`words` at which there is this number, ascending."""
        whole = word.to_bytes(4, sys.byteorder)
        # Two bytes, the latter of which are few: zeros, which most words end with, are many.
        needle, shift = whole, 0
        if sys.byteorder == "little" and whole[1]:
            needle = whole[:2]
        elif sys.byteorder == "big" and whole[3]:
            needle, shift = whole[2:], 2
        for start in range(0, len(self.words), _PIECE):
            piece = self.words[start : start + _PIECE].tobytes()
            at = piece.find(needle)
            while at >= 0:
                if at % 4 == shift and piece.startswith(whole, at - shift):
                    yield start + at // 4
                at = piece.find(needle, at + 1)

    def own_offsets(self) -> list[int]:
        """Indexes into :attr:`words` of all own types' ``info`` words, in the order of ids."""
        self._scan(1 << 62)
        return self._offsets

    def scanned_offsets(self) -> list[int]:
        """As :meth:`own_offsets`, but only as far as types have been looked for."""
        return self._offsets

    def scan_to(self, type_id: int) -> bool:
        """Look for types up to ``type_id``; whether there may be more after it."""
        self._scan(type_id - self.start_id)
        return self._position <= len(self.words)

    def own_offsets_before(self, word: int) -> list[int]:
        """As :meth:`own_offsets`, of the types that begin before this word."""
        return self._offsets[: self.count_before(word)]

    def count_before(self, word: int) -> int:
        """How many own types begin before this word."""
        # The one that begins at the word is looked for, too: who asks has found its name.
        while self._position <= word + 1:
            if not self.scan_to(self.start_id + len(self._offsets) + _SOME):
                break
        return bisect_left(self._offsets, word + 1)

    def after(self, word: int) -> tuple[int, int]:
        """The first type that begins at this word or after it: its id and its first word."""
        own = self.count_before(word)
        self.scan_to(self.start_id + own)
        if own == len(self._offsets):
            return self.start_id + own, self._position - 1
        return self.start_id + own, self._offsets[own] - 1

    def at(self, type_id: int) -> tuple[Sequence[int], int]:
        """Where a type is: the words it is in and the index of its ``info`` word.

        The name's offset is the word before, size or type the word after it.
        """
        own = type_id - self.start_id
        if own < 0:
            if self.base is not None:
                return self.base.at(type_id)
            if type_id == 0:
                return (0, 0, 0), 1
            raise FormatError(f"type id {type_id} is negative")
        offsets = self._offsets
        if own >= len(offsets):
            self._scan(own)
            if own >= len(offsets):
                raise FormatError(f"the BTF has no type [{type_id}]")
        return self.words, offsets[own]

    def kind(self, type_id: int) -> int:
        """The type's kind (0 for void)."""
        words, at = self.at(type_id)
        return words[at] >> 24 & 0x7F
