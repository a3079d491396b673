"""``--resolve``: names beside the numbers that listings show."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.prog import ProgramReader


class Place:
    """A place in an executable.

    ``symbol`` is the function that it is in (empty when unknown), ``offset`` counts
    bytes from there. ``usdt`` is "provider:name" of each USDT probe at the place.
    """

    __slots__ = ("offset", "symbol", "usdt")

    def __init__(self, symbol: str = "", offset: int = 0, usdt: tuple[str, ...] = ()) -> None:
        self.symbol = symbol
        self.offset = offset
        self.usdt = usdt

    @property
    def symbol_text(self) -> str:
        """``symbol`` or ``symbol+0x1f``."""
        return f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol

    def record(self) -> dict[str, Any]:
        """The JSON properties of the place."""
        record: dict[str, Any] = {}
        if self.symbol:
            record["symbol"] = self.symbol
            record["symbol_offset"] = self.offset
        if self.usdt:
            record["usdt"] = list(self.usdt)
        return record


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
