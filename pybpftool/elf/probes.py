"""What stands at an offset of an executable: function and USDT probe."""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_right

from pybpftool.errors import BpfError, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Probes:
    """What an ELF file tells about places in its code.

    ``segments`` is (file offset, address, size) of what is loaded; ``functions`` is
    (address, size, name) in the order of addresses; ``usdt`` is (address, "provider:name")
    of the USDT probes (systemtap's notes).
    """

    __slots__ = ("functions", "segments", "usdt")

    def __init__(
        self,
        segments: list[tuple[int, int, int]],
        functions: list[tuple[int, int, str]],
        usdt: list[tuple[int, str]],
    ) -> None:
        self.segments = segments
        self.functions = functions
        self.usdt = usdt


class _Image:
    """The places of one file, ready to be searched."""

    __slots__ = ("_addresses", "_probes", "_usdt")

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._addresses = [address for address, _, _ in probes.functions]
        self._usdt: dict[int, list[str]] = {}
        for address, label in probes.usdt:
            self._usdt.setdefault(address, []).append(label)

    def place(self, offset: int) -> dict[str, Any]:
        for start, address, size in self._probes.segments:
            if start <= offset < start + size:
                return self._at(offset - start + address)
        return {}

    def _at(self, address: int) -> dict[str, Any]:
        place: dict[str, Any] = {}
        # Functions may lie inside others; the one that begins last is meant.
        index = bisect_right(self._addresses, address) - 1
        if index >= 0:
            begin, size, name = self._probes.functions[index]
            if address < begin + size or address == begin:
                place = {"symbol": name, "symbol_offset": address - begin}
        labels = self._usdt.get(address)
        if labels:
            place["usdt"] = list(dict.fromkeys(labels))
        return place


_STT_FUNC, _STT_GNU_IFUNC = 2, 10
_NT_STAPSDT = 3


def read_probes(path: str) -> Probes:
    """Functions and USDT probes of an ELF file; raises BpfError or FormatError."""
    from pybpftool.adapters.elftools import image
    from pybpftool.elf.sections import check_extent

    try:
        # Not blocking: what is opened may turn out to be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BpfError(f"'{path}' is not a regular file")
            found = image(file, check_extent)
        functions: dict[int, tuple[int, int, str]] = {}
        for data, strings in found.symbols:
            for row in _functions(data, strings, found.order, found.word * 8):
                functions.setdefault(row[0], row)
        usdt: list[tuple[int, str]] = []
        for data in found.notes:
            usdt += _usdt(data, found.order, found.word, found.base_address)
    except FormatError as error:
        raise FormatError(f"cannot read '{path}': {error}") from None
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name or number"
        raise BpfError(f"cannot read '{path}': {reason}") from None
    except (MemoryError, struct.error) as error:
        raise FormatError(f"cannot read '{path}': broken ({type(error).__name__})") from None
    return Probes(found.segments, sorted(functions.values()), usdt)


def read_build_id(path: str) -> str:
    """The build id of an ELF file in hexadecimal, empty without one; raises BpfError."""
    from pybpftool.adapters.elftools import build_id

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            return build_id(file)
    except (OSError, ValueError, OverflowError) as error:
        raise BpfError(f"cannot read '{path}': {error}") from None


def _functions(
    data: bytes, strings: bytes, order: str, elf_class: int
) -> list[tuple[int, int, str]]:
    """(address, size, name) of the functions that a symbol table defines."""
    if elf_class == 64:  # st_name, st_info, st_other, st_shndx, st_value, st_size
        layout, name_at, info_at, index_at, value_at, size_at = "IBBHQQ", 0, 1, 3, 4, 5
    else:  # st_name, st_value, st_size, st_info, st_other, st_shndx
        layout, name_at, info_at, index_at, value_at, size_at = "IIIBBH", 0, 3, 5, 1, 2
    symbol = struct.Struct(order + layout)
    found = []
    for row in symbol.iter_unpack(data[: len(data) // symbol.size * symbol.size]):
        if row[info_at] & 15 in (_STT_FUNC, _STT_GNU_IFUNC) and row[index_at] and row[value_at]:
            start = row[name_at]
            end = strings.find(b"\0", start)
            name = strings[start : end if end >= 0 else len(strings)]
            if name:
                found.append((row[value_at], row[size_at], name.decode("utf-8", "surrogateescape")))
    return found


def _usdt(data: bytes, order: str, word: int, base_address: int) -> list[tuple[int, str]]:
    """(address, "provider:name") of the probes in a .note.stapsdt section.

    A note's description is three addresses (of the probe, of .stapsdt.base when the
    file was linked, of the semaphore) and three strings (provider, name, arguments).
    """
    found = []
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from(order + "III", data, at)
        start = at + 12 + ((name_size + 3) & ~3)
        description = data[start : start + size]
        if kind == _NT_STAPSDT and len(description) > 3 * word:
            code = "Q" if word == 8 else "I"
            address, linked_base, _ = struct.unpack_from(f"{order}3{code}", description)
            if base_address:
                # prelink(8) moves the sections, not what the notes say.
                address = (address + base_address - linked_base) % (1 << 8 * word)
            strings = description[3 * word :].split(b"\0")
            if len(strings) > 2:
                label = b":".join(strings[:2]).decode("utf-8", "surrogateescape")
                found.append((address, label))
        at = start + ((size + 3) & ~3)
    return found


_images: dict[str, _Image | None] = {}


def file_place(path: str, offset: int) -> dict[str, Any]:
    """What stands at a file offset of the executable ``path``.

    :return: ``symbol`` and ``symbol_offset`` (bytes from its beginning) when it is in
        a function, ``usdt`` (a list of "provider:name") when USDT probes are there.
        Empty for files that are gone or are not ELF files.
    """
    if path not in _images:
        try:
            _images[path] = _Image(read_probes(path))
        except BpfError:
            _images[path] = None
    image = _images[path]
    return {} if image is None else image.place(offset)
