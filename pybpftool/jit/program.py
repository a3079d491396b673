"""The machine code of one program, split into its functions."""

from __future__ import annotations

from _operator import lt  # without the Python of operator
from itertools import compress, count

from pybpftool.insn.lines import (
    LineCursor,
    LineInfo,
    jited_line_ranges,
    line_addresses_mended,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.btf.table import Btf
    from pybpftool.insn.symbols import KernelSymbols


class JitedFunction:
    """One function of a program's native image.

    ``offset`` is where it begins in the image, ``address`` where it lies in the kernel
    (None where the kernel hides that), ``type_id`` its ``BTF_KIND_FUNC`` (None without
    BTF), ``records`` the indexes of its line records.
    """

    __slots__ = ("address", "code", "index", "offset", "records", "type_id")

    def __init__(self, index: int, code: bytes, offset: int) -> None:
        self.index = index
        self.code = code
        self.offset = offset
        self.address: int | None = None
        self.type_id: int | None = None
        self.records = range(0)


class JitedProgram:
    """A program's machine code and what explains it.

    :param image: the machine code of all functions (``jited_prog_insns``).
    :param func_lens: bytes of each function (``jited_func_lens``); empty on kernels
        that do not tell them.
    :param ksyms: address of each function (``jited_ksyms``); empty where they are hidden.
    :param func_info: records of ``struct bpf_func_info``, ``func_info_rec_size`` bytes each.
    :param line_info: records of ``struct bpf_line_info``, ``line_info_rec_size`` bytes each.
    :param line_addresses: address of the code of each line record (``jited_line_info``).
    :param btf: the program's BTF; without it neither prototypes nor source lines show.
    :param symbols: reads the kernel's symbols; called at most once.
    :param machine: the kernel's ``uname -m``.
    :param byteorder: ``"<"`` or ``">"``, that of the kernel and all the bytes given here.
    """

    __slots__ = (
        "_ranges",
        "_read",
        "_symbols",
        "btf",
        "byteorder",
        "func_info",
        "func_info_rec_size",
        "func_lens",
        "image",
        "ksyms",
        "line_addresses",
        "line_info",
        "line_info_rec_size",
        "machine",
    )

    def __init__(
        self,
        image: bytes,
        func_lens: Sequence[int] = (),
        ksyms: Sequence[int] = (),
        func_info: bytes = b"",
        func_info_rec_size: int = 8,
        line_info: bytes = b"",
        line_info_rec_size: int = 16,
        line_addresses: Sequence[int] = (),
        btf: Btf | None = None,
        symbols: Callable[[], KernelSymbols | None] | None = None,
        machine: str = "x86_64",
        byteorder: str = "<",
    ) -> None:
        self.image = image
        self.func_lens = func_lens
        self.ksyms = ksyms
        self.func_info = func_info
        self.func_info_rec_size = func_info_rec_size
        self.line_info = line_info
        self.line_info_rec_size = line_info_rec_size
        self.line_addresses = line_addresses_mended(line_addresses, ksyms, func_lens)
        self.btf = btf
        self.machine = machine
        self.byteorder = byteorder
        self._read = symbols
        self._ranges: list[range] | bool | None = False  # not looked at yet
        self._symbols: KernelSymbols | None = None

    def symbols(self) -> KernelSymbols | None:
        """The kernel's symbols, None without any."""
        if self._read is not None:
            read, self._read = self._read, None
            self._symbols = read()
        return self._symbols

    @property
    def is_split(self) -> bool:
        """Whether the kernel told where the functions begin."""
        return bool(self.func_lens)

    def lines(self) -> LineInfo:
        """The line records, none without BTF."""
        if self.btf is None:
            return LineInfo(b"")
        return LineInfo(self.line_info, self.line_info_rec_size, self.byteorder)

    def functions(self) -> list[JitedFunction]:
        """The functions in the order of the image; one for all where they are not told.

        Lengths beyond the image are cut: a hostile recording gives no more than its bytes.
        """
        result = []
        at = 0
        for index, length in enumerate(self.func_lens or (len(self.image),)):
            function = JitedFunction(index, self.image[at : at + length], at)
            if self.func_lens and index < len(self.ksyms):
                function.address = self.ksyms[index]
            result.append(function)
            at += length
        self._add_types(result)
        ranges = self._line_ranges()
        if ranges is not None:
            for function, records in zip(result, ranges):
                function.records = records
        return result

    def _add_types(self, functions: list[JitedFunction]) -> None:
        size = self.func_info_rec_size
        if self.btf is None or size < 8 or not self.func_lens:
            return
        order = "little" if self.byteorder == "<" else "big"
        for function in functions:
            record = self.func_info[function.index * size : (function.index + 1) * size]
            if len(record) == size:
                function.type_id = int.from_bytes(record[4:8], order)  # type: ignore[arg-type]  # a word of two

    def has_bad_lines(self) -> bool:
        """Whether there are line records whose addresses do not fit the functions."""
        return self._can_have_lines() and self._line_ranges() is None

    def _can_have_lines(self) -> bool:
        size = self.line_info_rec_size
        return (
            self.btf is not None
            and size >= 16
            and bool(self.line_addresses)
            and bool(self.ksyms)
            and len(self.line_addresses) == len(self.line_info) // size
            and len(self.ksyms) == len(self.func_lens)
        )

    def _line_ranges(self) -> list[range] | None:
        if isinstance(self._ranges, bool):
            self._ranges = None
            if self._can_have_lines():
                self._ranges = jited_line_ranges(self.line_addresses, self.ksyms, self.func_lens)
        return self._ranges

    def shown_lines(self, function: JitedFunction, pcs: Sequence[int]) -> list[tuple[int, int]]:
        """``(index of the instruction, line record)`` for each record of a function to show.

        :param pcs: where the function's instructions begin.
        """
        if not function.records or function.address is None:
            return []
        base = function.address
        records: Sequence[int] = function.records
        wanted = [self.line_addresses[record] - base for record in records]
        if not all(map(lt, wanted, wanted[1:])):
            # Of those with one address the last is of the instruction that has machine code.
            last = dict(zip(wanted, records))
            wanted, records = list(last), list(last.values())
        at = list(compress(count(), map(set(wanted).__contains__, pcs)))
        if len(at) == len(wanted):
            return list(zip(at, records))
        # Records between instructions: the general rule.
        cursor = LineCursor(wanted)
        found = ((i, cursor.find(pc)) for i, pc in enumerate(pcs))
        return [(i, records[record]) for i, record in found if record is not None]
