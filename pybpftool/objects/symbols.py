"""``--resolve``: names beside the numbers that listings show."""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.prog import ProgramReader


class Place(Record):
    """A place in an executable.

    ``symbol`` is the function that it is in (empty when unknown), ``offset`` counts
    bytes from there. ``usdt`` is "provider:name" of each USDT probe at the place.
    """

    symbol: str = ""
    offset: int = 0
    usdt: tuple[str, ...] = ()

    @property
    def symbol_text(self) -> str:
        """``symbol`` or ``symbol+0x1f``."""
        return f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol

    def json(self) -> dict[str, Any]:
        """The JSON properties of the place."""
        json: dict[str, Any] = {}
        if self.symbol:
            json["symbol"] = self.symbol
            json["symbol_offset"] = self.offset
        if self.usdt:
            json["usdt"] = list(self.usdt)
        return json


class Resolver:
    """Looks names up and keeps them; what cannot be found has no name."""

    __slots__ = ("_kernel", "_progs", "_reader")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._progs: dict[int, str] = {}
        self._reader: ProgramReader | None = None

    def prog_name(self, id: int) -> str:
        """The full name of a program, empty when it has none or is gone."""
        name = self._progs.get(id)
        if name is None:
            name = self._progs[id] = self._find_prog_name(id)
        return name

    def _find_prog_name(self, id: int) -> str:
        if self._reader is None:
            from pybpftool.objects.prog import ProgramReader

            self._reader = ProgramReader(self._kernel)
        try:
            obj = self._kernel.open("prog", id)
        except BpfError:
            return ""
        try:
            return self._reader.name_of(obj)
        finally:
            self._kernel.close(obj)

    def place(self, path: str, offset: int) -> Place:
        """What stands at a file offset of an executable."""
        try:
            found = self._kernel.file_place(path, offset)
        except BpfError:
            found = {}
        return Place(
            found.get("symbol", ""), found.get("symbol_offset", 0), tuple(found.get("usdt", ()))
        )
