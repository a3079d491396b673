"""What stands at places in files, by symbol and USDT probe."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import Kernel


class FileSymbols:
    """The symbols at places in the files of one kernel's machine, each asked for once."""

    __slots__ = ("_kernel", "_known")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[tuple[str, int], str] = {}

    def at(self, path: str, offset: int) -> str:
        """``work+0x4, usdt app:begin``; empty where nothing is known of the place."""
        key = path, offset
        if key not in self._known:
            self._known[key] = self._asked(path, offset)
        return self._known[key]

    def of_places(self, places: tuple[str, ...]) -> str:
        """What stands at these places, ``PATH+0xOFFSET`` each, once."""
        found = []
        for place in places:
            path, _, offset = place.rpartition("+")
            found.append(self.at(path, int(offset, 16)) if offset.startswith("0x") else "")
        return ", ".join(filter(None, dict.fromkeys(found)))

    def _asked(self, path: str, offset: int) -> str:
        try:
            found = self._kernel.file_place(path, offset)
        except BpfError:
            return ""
        symbol, at = found.get("symbol", ""), found.get("symbol_offset", 0)
        words = [f"{symbol}+{at:#x}" if at else symbol] if symbol else []
        return ", ".join([*words, *(f"usdt {name}" for name in found.get("usdt", ()))])
