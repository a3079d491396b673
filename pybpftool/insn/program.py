"""What is needed to show a program's translated instructions."""

from __future__ import annotations

from pybpftool.insn.disasm import CallNames, Image
from pybpftool.insn.lines import LineInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.btf.table import Btf
    from pybpftool.insn.symbols import KernelSymbols


class XlatedProgram:
    """A program's translated instructions and what explains them.

    :param insns: instruction slots of 8 bytes (``xlated_prog_insns``).
    :param nr_jited_ksyms: number of native functions, 0 for an interpreted program.
    :param jited_ksyms: their addresses, empty where the kernel hides them.
    :param func_info: records of ``struct bpf_func_info``, ``func_info_rec_size`` bytes each.
    :param line_info: records of ``struct bpf_line_info``, ``line_info_rec_size`` bytes each.
    :param btf: the program's BTF; without it neither prototypes nor source lines show.
    :param symbols: reads the kernel's symbols, called only when a call needs them.
    :param byteorder: ``"<"`` or ``">"``, that of all the bytes given here.
    """

    __slots__ = (
        "btf",
        "byteorder",
        "func_info",
        "func_info_rec_size",
        "insns",
        "jited_ksyms",
        "line_info",
        "line_info_rec_size",
        "nr_jited_ksyms",
        "symbols",
    )

    def __init__(
        self,
        insns: bytes,
        nr_jited_ksyms: int = 0,
        jited_ksyms: Sequence[int] = (),
        func_info: bytes = b"",
        func_info_rec_size: int = 8,
        line_info: bytes = b"",
        line_info_rec_size: int = 16,
        btf: Btf | None = None,
        symbols: Callable[[], KernelSymbols | None] | None = None,
        byteorder: str = "<",
    ) -> None:
        self.insns = insns
        self.nr_jited_ksyms = nr_jited_ksyms
        self.jited_ksyms = jited_ksyms
        self.func_info = func_info
        self.func_info_rec_size = func_info_rec_size
        self.line_info = line_info
        self.line_info_rec_size = line_info_rec_size
        self.btf = btf
        self.symbols = symbols
        self.byteorder = byteorder

    def image(self) -> Image:
        """The instructions, laid out for work in bulk."""
        return Image(self.insns, self.byteorder)

    def calls(self) -> CallNames:
        """How this program's calls are shown."""
        return CallNames(self.nr_jited_ksyms, self.jited_ksyms, self.symbols)

    def lines(self) -> LineInfo:
        """The line records, none without BTF."""
        if self.btf is None:
            return LineInfo(b"")
        return LineInfo(self.line_info, self.line_info_rec_size, self.byteorder)

    def functions(self) -> list[tuple[int, int]]:
        """``(insn_off, type_id)`` of each function record."""
        size = self.func_info_rec_size
        if size < 8 or len(self.func_info) < size:
            return []
        from struct import iter_unpack

        usable = len(self.func_info) // size * size
        return list(iter_unpack(f"{self.byteorder}II{size - 8}x", self.func_info[:usable]))

    def prototypes(self, image: Image) -> list[tuple[int, str]]:
        """``(slot, declaration)`` for each function, where upstream's dumps show it.

        Records are matched in turn: one that no instruction reaches ends the matching.
        """
        result: list[tuple[int, str]] = []
        if self.btf is None:
            return result
        from pybpftool.btf.proto import prototype

        before = -1
        for slot, type_id in self.functions():
            if not before < slot < image.count or (image.is_start and not image.is_start[slot]):
                break
            before = slot
            text = prototype(self.btf, type_id)
            if text:
                result.append((slot, text))
        return result
