"""What stands at an offset of an executable: function and USDT probe."""

from __future__ import annotations

from bisect import bisect_right

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.elf.sections import Probes


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


_images: dict[str, _Image | None] = {}


def file_place(path: str, offset: int) -> dict[str, Any]:
    """What stands at a file offset of the executable ``path``.

    :return: ``symbol`` and ``symbol_offset`` (bytes from its beginning) when it is in
        a function, ``usdt`` (a list of "provider:name") when USDT probes are there.
        Empty for files that are gone or are no ELF files.
    """
    if path not in _images:
        from pybpftool.elf.sections import read_probes

        try:
            _images[path] = _Image(read_probes(path))
        except BpfError:
            _images[path] = None
    image = _images[path]
    return {} if image is None else image.place(offset)
