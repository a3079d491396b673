"""Kernel symbols by address, out of the text of ``/proc/kallsyms``.

A dump needs a handful of the 100,000 and more symbols, so the text is searched,
not parsed: the kernel's own symbols stand in it in the order of their addresses
(``kernel/kallsyms.c`` walks a table sorted by ``scripts/kallsyms.c``), those of
modules, ftrace and BPF programs follow without an order.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Beyond so many addresses one pass over the whole text is cheaper than a search
# for each of them (a search by bisection takes about 10 us, the pass some 30 ms).
_BULK = 1500
# The same for addresses that bisection did not find (a scan takes about 1 ms).
_FEW_SCANS = 16
_CALL_BASE = "__bpf_call_base"
# Bytes read at a time.
_BLOCK = 1 << 19


class KernelSymbols:
    """Symbols of one kernel.

    :param text: what ``/proc/kallsyms`` holds: lines of ``ADDRESS TYPE NAME [MODULE]``.
    :param read: reads the rest of it (``read`` of a file opened for bytes). It is called
        only as far as needed: the kernel takes longer to write the file than all that
        is done with it here.
    :param names: the names that are told without the text, where the kernel shows addresses:
        of symbols that begin at some addresses, empty where none does, without those that must
        be looked for in the text.
    :param address: the same for the address of a symbol of the kernel, 0 for unknown.

    ``call_base`` is the address of ``__bpf_call_base``, to which the immediate of a
    helper or kfunc call in a translated program is relative; 0 when unknown.
    ``restricted`` tells that the kernel shows addresses as zero to this reader
    (``kernel.kptr_restrict``); no symbol has a name then.
    """

    __slots__ = (
        "_ask_address",
        "_ask_names",
        "_call_base",
        "_read",
        "_restricted",
        "_text",
        "_width",
    )

    def __init__(
        self,
        text: bytes,
        read: Callable[[int], bytes] | None = None,
        names: Callable[[Iterable[int]], dict[int, str]] | None = None,
        address: Callable[[str], int] | None = None,
    ) -> None:
        self._text = text
        self._read = read
        self._ask_names = names
        self._ask_address = address
        self._width = -1  # nothing has been looked at
        self._call_base = 0
        self._restricted = False

    @property
    def call_base(self) -> int:
        """The address of ``__bpf_call_base``; 0 when unknown."""
        if self._ask_address is not None and not self._call_base:
            self._call_base = self._ask_address(_CALL_BASE)
        if not self._call_base:
            self._look()
        return self._call_base

    @property
    def restricted(self) -> bool:
        """Whether addresses are shown as zero."""
        if self._ask_names is None:
            self._look()
        return self._restricted

    def _look(self) -> None:
        """Find out how the text is made, and the address of ``__bpf_call_base``."""
        if self._width >= 0:
            return
        while len(self._text) < 64 and self._extend():
            pass
        # 16 digits on 64-bit kernels, 8 on 32-bit ones.
        self._width = max(self._text.find(b" ", 0, 64), 0)
        needle = b" " + _CALL_BASE.encode()
        begin = 0
        while True:
            at = self._text.find(needle, begin)
            end = at + len(needle)
            # A match at the very end may be the beginning of a longer name.
            if at < 0 or (end == len(self._text) and self._read):
                begin = at if at >= 0 else max(len(self._text) - len(needle), 0)
                if not self._extend() and at < 0:
                    break
            elif self._text[end : end + 1] in (b"", b"\n", b"\t", b" "):
                self._call_base = self._address(self._text.rfind(b"\n", 0, at) + 1)
                if not self._call_base:
                    self._restricted = True
                    self._text = b""
                    self._read = None
                break
            else:
                begin = end

    def _extend(self) -> bool:
        """Read one more block; False at the end."""
        if self._read is None:
            return False
        block = self._read(_BLOCK)
        if not block:
            self._read = None
            return False
        self._text += block
        return True

    def _extend_beyond(self, key: bytes) -> None:
        """Read until all of the kernel's own symbols up to ``key`` are there."""
        while self._read:
            # The last line may be cut off.
            line = self._text.rfind(b"\n", 0, self._text.rfind(b"\n")) + 1
            if self._text[line : line + self._width] > key:
                break
            self._extend()

    def _extend_to_end(self) -> None:
        while self._extend():
            pass

    def _address(self, line: int) -> int:
        try:
            return int(self._text[line : line + self._width], 16)
        except ValueError:
            return 0

    def name(self, address: int) -> str | None:
        """The name of the symbol that begins at ``address``."""
        return self.names((address,)).get(address)

    def names(self, addresses: Iterable[int]) -> dict[int, str]:
        """The names of those of ``addresses`` at which a symbol begins.

        Of several symbols at one address, that one is taken which a binary search
        (``bsearch(3)``) over all symbols in a stable order by address meets first.
        """
        found: dict[int, str] = {}
        asked = set(addresses)
        if self._ask_names is not None:
            told = self._ask_names(asked)
            found = {address: name for address, name in told.items() if name}
            asked.difference_update(told)
        rest = [address for address in asked if address > 0]
        if not rest:
            return found
        self._look()
        wanted = {address: b"%0*x" % (self._width, address) for address in rest}
        if not self._text or not self._width:
            return found
        self._extend_beyond(max(wanted.values()))
        text = self._text
        lines: dict[int, int] = {}
        if len(wanted) <= _BULK:
            for address, key in wanted.items():
                at = self._bisect(key)
                if at >= 0:
                    lines[address] = at
        missing = [address for address in wanted if address not in lines]
        if missing:
            self._extend_to_end()
            text = self._text
        if len(missing) > _FEW_SCANS:
            self._scan_all(missing, wanted, lines)
        else:
            for address in missing:
                at = 0 if text.startswith(wanted[address] + b" ") else -1
                if at < 0:
                    at = text.find(b"\n" + wanted[address] + b" ") + 1 or -1
                if at >= 0:
                    lines[address] = at
        keys: list[bytes] = []
        for address, at in lines.items():
            end = text.find(b"\n", at) + 1
            if not end and self._read:
                # The line is cut off where reading stopped.
                self._extend_to_end()
                text = self._text
                end = text.find(b"\n", at) + 1
            if end and text.startswith(wanted[address], end):
                self._extend_to_end()
                text = self._text
                keys = keys or self._sorted_keys()
                at = self._met_first(wanted[address], keys, at)
                end = text.find(b"\n", at) + 1
            fields = text[at : end - 1 if end else len(text)].split(None, 3)
            if len(fields) > 2:
                found[address] = fields[2].decode("utf-8", "surrogateescape")
        return found

    def _bisect(self, key: bytes) -> int:
        """Where the first line with ``key`` begins among the sorted lines, else -1."""
        text = self._text
        width = self._width
        low = 0
        high = len(text)
        # Module symbols lie above the kernel's: bisection that runs into them may
        # go astray, which only means that the caller scans.
        while low < high:
            middle = (low + high) // 2
            line = text.rfind(b"\n", low, middle) + 1 or low
            if text[line : line + width] < key:
                low = text.find(b"\n", middle) + 1 or high
            else:
                high = line
        return low if text.startswith(key + b" ", low) else -1

    def _scan_all(
        self, missing: list[int], wanted: dict[int, bytes], lines: dict[int, int]
    ) -> None:
        """Enter the first line of each of the ``missing`` addresses that exists."""
        width = self._width
        by_key = {wanted[address]: address for address in missing}
        at = 0
        for line in self._text.split(b"\n"):
            address = by_key.pop(line[:width], 0)
            if address:
                lines[address] = at
            at += len(line) + 1

    def _sorted_keys(self) -> list[bytes]:
        width = self._width
        zero = b"0" * width
        keys = [line[:width] for line in self._text.split(b"\n")]
        return sorted(key for key in keys if key != zero and len(key) == width)

    def _met_first(self, key: bytes, keys: list[bytes], at: int) -> int:
        """The line, among those with ``key`` from ``at`` on, that ``bsearch`` picks."""
        from bisect import bisect_left

        low = 0
        high = len(keys)
        while True:
            middle = (low + high) // 2
            if keys[middle] < key:
                low = middle + 1
            elif keys[middle] > key:
                high = middle
            else:
                break
        for _ in range(middle - bisect_left(keys, key)):
            following = self._text.find(b"\n" + key + b" ", at) + 1
            if not following:
                break
            at = following
        return at
