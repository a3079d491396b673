"""The functions behind the addresses that probes of many functions stand at."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.kernel.interface import Kernel


class ProbedFunctions:
    """Names of the functions behind the addresses of kprobe_multi links.

    ``is_known`` is false when the kernel shows no addresses to this reader
    (``kernel.kptr_restrict``).
    """

    __slots__ = ("_offsets", "_text", "is_known")

    def __init__(self, kernel: Kernel) -> None:
        try:
            self._text = b"\n" + kernel.file("/proc/kallsyms")
        except BpfError:
            self._text = b"\n"
        width = self._text.find(b" ", 0, 64) - 1
        zeros = b"0" * max(width, 8)
        self.is_known = width > 0 and not self._is_hidden(zeros)
        # With indirect branch tracking a function begins with endbr64 (4 bytes) and
        # ftrace, so also kprobe_multi, attaches behind it.
        self._offsets: Sequence[int] = (0,)
        if kernel.machine == "x86_64":
            tracked = _has_branch_tracking(kernel)
            if tracked is None:
                self._offsets = (0, 4)
            elif tracked:
                self._offsets = (4, 0)

    def _is_hidden(self, zeros: bytes) -> bool:
        at = self._text.find(b" __bpf_call_base\n")
        return at >= 0 and self._text[self._text.rfind(b"\n", 0, at) + 1 :].startswith(zeros)

    def find(self, addresses: Sequence[int]) -> dict[int, tuple[str, str]]:
        """address -> (function, module); the module is empty for the kernel's own functions.

        Of several symbols at one address the first in the kernel's order is taken.
        Addresses at which no function begins are left out.
        """
        text = self._text
        width = max(text.find(b" ", 0, 64) - 1, 0)
        if not self.is_known:
            return {}
        lines: dict[bytes, bytes] = {}
        wanted = {b"%0*x" % (width, a - o) for a in addresses for o in self._offsets if a > o}
        if len(wanted) > 16:
            for line in text.split(b"\n"):
                if line[:width] in wanted:
                    lines.setdefault(line[:width], line)
        else:
            for key in wanted:
                at = text.find(b"\n" + key + b" ")
                if at >= 0:
                    end = text.find(b"\n", at + 1)
                    lines[key] = text[at + 1 : end if end >= 0 else len(text)]
        found = {}
        for address in addresses:
            for offset in self._offsets:
                match = lines.get(b"%0*x" % (width, max(address - offset, 0)))
                if match is not None:
                    found[address] = _symbol(match)
                    break
        return found


def _symbol(line: bytes) -> tuple[str, str]:
    """(name, module) of a line ``ADDRESS TYPE NAME [MODULE]`` of /proc/kallsyms."""
    fields = line.decode("utf-8", "surrogateescape").split()
    module = fields[3].strip("[]") if len(fields) > 3 else ""
    return fields[2] if len(fields) > 2 else "", module


def _has_branch_tracking(kernel: Kernel) -> bool | None:
    """CONFIG_X86_KERNEL_IBT; None when the kernel's configuration cannot be read."""
    for path in (f"/boot/config-{kernel.release}", "/proc/config.gz"):
        try:
            text = kernel.file(path)
        except BpfError:
            continue
        if text.startswith(b"\x1f\x8b"):
            import zlib

            try:
                text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(text, 1 << 24)
            except zlib.error:
                continue
        return b"\nCONFIG_X86_KERNEL_IBT=y\n" in text
    return None
