"""A program's instructions without what differs from load to load.

Ids of maps become their names, addresses of helpers, kfuncs and kernel variables the names of
these, names of subprograms lose the tag: equal sources give equal texts on two machines.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.insn.disasm import CALL, LDIMM64
from pybpftool.insn.instruction import OF_MAPS
from pybpftool.objects.prog_code import XLATED_ARRAYS, xlated_program
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.insn.instruction import Instructions
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.kernel_symbols import SymbolSource
    from pybpftool.objects.prog import ProgramReader


class Line(Record):
    """An instruction as text and the line of source that it comes from, empty if unknown."""

    pc: int
    text: str
    source: str
    place: str
    """``file:line`` of the source."""
    target: int | None
    """Where a jump goes, as a pc."""
    shown: str
    """The part of the text that everybody is shown: without callees and addresses."""
    is_hidden: bool
    """Whether the kernel put zeros in place of the rest (bpf_insn_prepare_dump())."""

    def without_target(self) -> str:
        """The text without the distance of the jump, which changes with what lies between."""
        return self.text if self.target is None else self.text.rpartition("pc")[0]


class PortableReader:
    """Reads programs' instructions of one kernel; ``symbols`` are those of its ``CodeReader``."""

    __slots__ = ("_kernel", "_reader", "_symbols")

    def __init__(self, kernel: Kernel, reader: ProgramReader, symbols: SymbolSource) -> None:
        self._kernel = kernel
        self._reader = reader
        self._symbols = symbols

    def raw(self, obj: BpfObject) -> bytes | None:
        """The instructions as the kernel gives them, None where it withholds them."""
        try:
            found: bytes | None = self._kernel.prog_arrays(obj, ("xlated",))["xlated"]
        except BpfError:
            return None
        return found or None

    def instructions(self, obj: BpfObject) -> Instructions | None:
        """The instructions, None where the kernel withholds them."""
        from pybpftool.insn.instruction import Instructions

        kernel = self._kernel
        try:
            arrays = kernel.prog_arrays(obj, XLATED_ARRAYS)
        except BpfError:
            return None
        if not arrays["xlated"]:
            return None
        try:
            return Instructions(xlated_program(kernel, arrays, self._reader.btf, self._symbols))
        except BpfError:  # of the BTF: only source lines are lost
            return Instructions(xlated_program(kernel, arrays, None, self._symbols))

    def lines(self, obj: BpfObject, map_name: Callable[[int], str]) -> list[Line] | None:
        """The instructions as comparable lines, None where the kernel withholds them."""
        code = self.instructions(obj)
        if code is None:
            return None
        lines = []
        for insn in code:
            source = insn.line
            text = _portable(insn.text, insn.code, insn.src_reg, insn.imm, map_name, self._name)
            place = "" if source is None else f"{source.file}:{source.number}"
            target = None
            if insn.code & 7 in (5, 6) and insn.code & 0xF0 not in (0x80, 0x90) and "pc" in text:
                target = insn.pc + 1 + (insn.imm if insn.code == 0x06 else insn.off)
            shown, is_hidden = _shown(text, insn.code, insn.src_reg, insn.imm)
            told = "" if source is None else source.text
            lines.append(Line(insn.pc, text, told, place, target, shown, is_hidden))
        return lines

    def calls(self, obj: BpfObject) -> set[str] | None:
        """The helpers and kfuncs that are called, by their names in the kernel.

        None where the kernel withholds the instructions or what they call. A helper that
        the verifier replaced by instructions is not called any more.
        """
        code = self.instructions(obj)
        if code is None:
            return None
        names = set()
        for insn in code.of_code(CALL):
            kind = insn.call_kind
            if kind in ("helper", "kfunc"):
                name = insn.text.partition(" call ")[2].partition("#")[0]
                if name.startswith("0x") or not insn.imm:
                    return None
                names.add(name.partition(".")[0])
        return names

    def _name(self, address: int) -> str | None:
        if self._kernel.is_kernel_address(address) is False:
            return None
        symbols = self._symbols()
        return None if symbols is None else symbols.name(address)


def _shown(text: str, code: int, source: int, imm: int) -> tuple[str, bool]:
    """What stays of a text without what kernel.kptr_restrict and CAP_SYSLOG decide about."""
    if code == CALL:
        head, _, callee = text.partition(" call ")
        return f"{head} call", not imm or callee.startswith("0x")
    if code == LDIMM64 and source not in OF_MAPS:
        return text.partition(" = ")[0] + " =", not imm
    return text, False


def hides_callees(insns: bytes) -> bool:
    """Whether some call goes to 0, as the kernel shows it to who may not see addresses."""
    codes = insns[::8]
    slot = codes.find(CALL)
    while slot >= 0:
        if insns[slot * 8 + 4 : slot * 8 + 8] == bytes(4):
            return True
        slot = codes.find(CALL, slot + 1)
    return False


def masked(insns: bytes, byteorder: str, map_key: Callable[[int], int]) -> bytes:
    """Instructions whose map ids are replaced by ``map_key(id)``, a number of 32 bits.

    Cheaper than text: what is equal so on two runs of one kernel is equal.
    """
    codes = insns[::8]
    slot = codes.find(LDIMM64)
    if slot < 0:
        return insns
    data = bytearray(insns)
    order: Any = "little" if byteorder == "<" else "big"
    while slot >= 0:
        at = slot * 8
        registers = data[at + 1]
        if (registers >> 4 if byteorder == "<" else registers & 15) in OF_MAPS:
            id = int.from_bytes(data[at + 4 : at + 8], order)
            data[at + 4 : at + 8] = map_key(id).to_bytes(4, order)
        slot = codes.find(LDIMM64, slot + 2)
    return bytes(data)


def _portable(
    text: str,
    code: int,
    source: int,
    imm: int,
    map_name: Callable[[int], str],
    symbol: Callable[[int], str | None],
) -> str:
    """The text of an instruction without ids and addresses."""
    if code == LDIMM64:
        if source in OF_MAPS:
            id = imm & 0xFFFFFFFF
            return text.replace(f"[id:{id}]", f"[{map_name(id)}]", 1)
        name = symbol(imm)
        return text if name is None else text.rpartition("0x")[0] + name
    if code != CALL:
        return text
    head, _, callee = text.partition(" call ")
    before, _, after = callee.partition("#")
    if source == 1:  # a subprogram: pc+12#bpf_prog_<tag>_name
        name = after
        if name.startswith("bpf_prog_"):
            name = name.split("_", 3)[3] if name.count("_") > 2 else name
        return f"{head} call {name or before}"
    return f"{head} call {before}"
