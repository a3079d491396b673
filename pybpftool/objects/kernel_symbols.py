"""The kernel's symbols for one run: read once, when first asked for or ahead of that."""

from __future__ import annotations

from pybpftool.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pybpftool.insn.symbols import KernelSymbols
    from pybpftool.kernel.interface import Kernel

KALLSYMS = "/proc/kallsyms"
# Walks over the kernel's symbols, each half as long as reading the list as far: dumps of many
# programs read it.
_WALKS = 2
_CAP_SYSLOG = 34  # include/uapi/linux/capability.h


def silent(sentence: str) -> None:
    """Nobody listens."""


class SymbolSource:
    """Call it for the symbols; None, and a sentence to ``say``, where they cannot be read."""

    __slots__ = ("_ahead", "_is_read", "_kernel", "_say", "_symbols")

    def __init__(self, kernel: Kernel, say: Callable[[str], object] = silent) -> None:
        self._kernel = kernel
        self._say = say
        self._ahead: Callable[[], bytes] | None = None
        self._is_read = False
        self._symbols: KernelSymbols | None = None

    def read_ahead(self) -> None:
        """Let the kernel list its symbols, which takes it long, beside what follows here.

        Worth it where all of them are needed and there is much else to do.
        """
        if self._kernel.is_live and not self._is_read and self._ahead is None:
            from pybpftool.ahead import meanwhile

            kernel = self._kernel
            try:
                self._ahead = meanwhile(lambda: kernel.file_in_background(KALLSYMS))
            except RuntimeError:
                pass  # no thread can be started: read when they are asked for

    def __call__(self) -> KernelSymbols | None:
        if not self._is_read:
            self._is_read = True
            self._symbols = self._read()
        return self._symbols

    def _read(self) -> KernelSymbols | None:
        from pybpftool.insn.symbols import KernelSymbols

        kernel = self._kernel
        try:
            if self._ahead is not None:
                symbols = KernelSymbols(self._ahead())
            else:
                read = kernel.stream(KALLSYMS)
                if kernel.symbol_names([], False) is not None:
                    asked = AskedSymbols(kernel)
                    return KernelSymbols(b"", read, asked.names, asked.address)
                symbols = KernelSymbols(b"", read)
        except KernelError as error:
            self._say(f"Functions are shown without their names: {error}")
            return None
        if symbols.restricted:
            self._say(f"Functions are shown without their names: {why_hidden(kernel)}")
        return symbols


class AskedSymbols:
    """What a kernel that shows addresses tells of its symbols without a list of them."""

    __slots__ = ("_kernel", "_known", "_walks")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[int, str] = {}
        self._walks = _WALKS

    def names(self, addresses: Iterable[int]) -> dict[int, str]:
        """The names of symbols that begin at some addresses, empty where none does.

        Those that are left out must be looked for in the list.
        """
        known = self._known
        new = set(addresses).difference(known)
        if new:
            known.update(self._kernel.symbol_names([*new], self._walks > 0) or {})
            # Where the list is read for one, it is there for all others.
            self._walks = self._walks - 1 if new.issubset(known) else 0
        return {address: known[address] for address in addresses if address in known}

    def address(self, name: str) -> int:
        """The address of a symbol of the kernel; 0 where the list must be asked."""
        return self._kernel.symbol_address(name)


def sysctl(kernel: Kernel, name: str) -> str:
    """The value of ``/proc/sys/<name>``, for a sentence."""
    try:
        return kernel.file(f"/proc/sys/{name}").strip().decode("ascii", "replace")
    except KernelError:
        return "unreadable"


def why_hidden(kernel: Kernel) -> str:
    """Why the kernel shows no addresses to this reader, for a sentence."""
    if not may_see_addresses(kernel):
        return "this needs the capability CAP_SYSLOG (try as root)"
    value = sysctl(kernel, "kernel/kptr_restrict")
    return f"the sysctl kernel.kptr_restrict ({value}) hides the kernel's addresses"


def may_see_addresses(kernel: Kernel) -> bool:
    """False where CAP_SYSLOG is what is missing for addresses of the kernel.

    With kernel.kptr_restrict at 2 they are hidden all the same. Of a recorded kernel, and
    where it cannot be told, True.
    """
    if not kernel.is_live or sysctl(kernel, "kernel/kptr_restrict") == "2":
        return True
    try:
        _, _, rest = kernel.file("/proc/self/status").partition(b"\nCapEff:")
        return bool(int(rest.split()[0], 16) >> _CAP_SYSLOG & 1)
    except (KernelError, ValueError, IndexError):
        return True
