"""The members of a zip file by name, read straight: thousands of small ones are what we have.

The standard library's zipfile makes several objects for each member and costs ten times what
inflating it does; importing it costs more than all of this. Layouts are those of PKWARE's
APPNOTE.TXT 6.3, without zip64, several disks or encryption. Nothing is believed: offsets and
sizes are checked against the file, and a member is inflated no further than it claims.
"""

from __future__ import annotations

import os
import struct
import zlib

from pybpftool.errors import FormatError

_END = struct.Struct("<4s4H2IH")  # end of central directory
_ENTRY = struct.Struct("<4s4B4H3I5H2I")  # central directory entry
_LOCAL = struct.Struct("<4s5H3I2H")  # local file header
_LONGEST_COMMENT = 0xFFFF
_ENCRYPTED = 1
STORED, DEFLATED = 0, 8
# What a file may have at most: a snapshot of a large host has some ten thousand.
_MAX_DIRECTORY = 1 << 28


class BadZip(Exception):
    """The file is not a zip file, or a truncated one."""


class ZipFile:
    """An open zip file; :meth:`read` gives a member. Raises OSError, BadZip, FormatError."""

    __slots__ = ("_data", "_entries", "_fd", "_moved", "_size")

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size
        self._data = b""
        self._moved = 0
        self._entries = self._directory()

    def close(self) -> None:
        """Close the file, which cannot be read any more; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _at(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        if len(data) != length:
            raise BadZip
        return data

    def _directory(self) -> dict[bytes, int]:
        """Name -> where its entry is in the central directory, which is kept as it is."""
        begin = max(self._size - _END.size - _LONGEST_COMMENT, 0)
        tail = os.pread(self._fd, self._size - begin, begin)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            raise BadZip
        _, disk, first, here, count, size, offset, comment = _END.unpack_from(tail, at)
        where = begin + at - size  # what precedes the archive, if anything, moves all offsets
        moved = where - offset
        if disk or first or here != count or moved < 0 or size > _MAX_DIRECTORY:
            raise BadZip
        if len(tail) - at - _END.size < comment:
            raise BadZip
        data = self._at(where, size)
        entries = {}
        unpack, step = _ENTRY.unpack_from, _ENTRY.size
        at = 0
        while at < size:
            if size - at < step:
                raise BadZip
            fields = unpack(data, at)
            if fields[0] != b"PK\1\2":
                raise BadZip
            name_at = at + step
            entries[data[name_at : name_at + fields[12]]] = at
            at = name_at + sum(fields[12:15])  # name, extra field, comment
        if at != size:
            raise BadZip
        self._data, self._moved = data, moved
        return entries

    def read(self, name: str, most: int) -> bytes:
        """A member of at most so many bytes; KeyError where there is none."""
        entry = _ENTRY.unpack_from(self._data, self._entries[name.encode()])
        flags, method, crc, packed, plain = entry[5], entry[6], *entry[9:12]
        offset = entry[18] + self._moved
        if plain > most:
            raise FormatError(f"{name} claims {plain} bytes")
        if method not in (STORED, DEFLATED):
            raise FormatError(f"{name} is compressed in a way that no snapshot is")
        if flags & _ENCRYPTED:
            raise FormatError(f"{name} is encrypted")
        if packed > self._size or (method == STORED and packed != plain):
            raise FormatError(f"{name} does not have the size that it claims")
        # The local header is as long as its own lengths say; guess that they are the directory's.
        guess = _LOCAL.size + len(name) + packed
        data = os.pread(self._fd, guess, offset)
        if len(data) < _LOCAL.size or data[:4] != b"PK\3\4":
            raise FormatError(f"{name} is not where the directory says")
        fields = _LOCAL.unpack_from(data)
        begin = _LOCAL.size + fields[9] + fields[10]
        if data[_LOCAL.size : _LOCAL.size + fields[9]] != name.encode():
            raise FormatError(f"{name} is not where the directory says")
        if begin + packed > len(data):
            data += os.pread(self._fd, begin + packed - len(data), offset + len(data))
        data = data[begin : begin + packed]
        if len(data) != packed:
            raise FormatError(f"{name} is cut off")
        if method == DEFLATED:
            try:
                inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                data = inflate.decompress(data, plain + 1)
            except zlib.error as error:
                raise FormatError(f"{name}: {error}") from None
            if len(data) != plain or not inflate.eof:
                raise FormatError(f"{name} does not have the size that it claims")
        if zlib.crc32(data) != crc:
            raise FormatError(f"{name} has a wrong checksum")
        return data
