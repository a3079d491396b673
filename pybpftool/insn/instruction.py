"""BPF instructions for people: one record an instruction, made when it is asked for."""

from __future__ import annotations

from _bisect import bisect_left

from pybpftool.insn.disasm import CALL, LDIMM64, disassemble
from pybpftool.insn.lines import SPACES
from pybpftool.records import Record
from pybpftool.uapi.bpf import (
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_IDX,
    BPF_PSEUDO_MAP_IDX_VALUE,
    BPF_PSEUDO_MAP_VALUE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.insn.program import XlatedProgram

OF_MAPS = (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, BPF_PSEUDO_MAP_IDX, BPF_PSEUDO_MAP_IDX_VALUE)
_KINDS = {0: "helper", BPF_PSEUDO_CALL: "subprogram", BPF_PSEUDO_KFUNC_CALL: "kfunc"}


class SourceLine(Record):
    """The line of source that an instruction was made from."""

    text: str
    file: str
    number: int
    column: int

    def __str__(self) -> str:
        return self.text


class Instruction(Record):
    """One BPF instruction (``struct bpf_insn``) as the verifier left it.

    ``pc`` is its slot in the program; a 64-bit load takes two. ``imm`` is signed, that of
    a 64-bit load has 64 bits, unsigned. ``line`` is the line of source that covers it,
    None where there is none.
    """

    pc: int
    code: int
    dst_reg: int
    src_reg: int
    off: int
    imm: int
    text: str
    line: SourceLine | None = None

    def __str__(self) -> str:
        return f"{self.pc:4}: {self.text}"

    def __repr__(self) -> str:
        return f"<{self.pc}: {self.text}>"

    @property
    def call_kind(self) -> str | None:
        """``helper``, ``kfunc`` or ``subprogram`` for a call of a function, else None."""
        return _KINDS.get(self.src_reg) if self.code == CALL else None

    @property
    def map_id(self) -> int | None:
        """The id of the map that a 64-bit load refers to, None for all else."""
        if self.code != LDIMM64 or self.src_reg not in OF_MAPS:
            return None
        return self.imm & 0xFFFFFFFF


class Instructions:
    """The instructions of a program: a sequence of :class:`Instruction`.

    An index counts instructions; :meth:`at` takes a ``pc``. Printed, it is what
    ``prog dump xlated`` shows, without source lines.
    """

    __slots__ = ("_image", "_lines", "_prog", "_starts", "_texts")

    def __init__(self, prog: XlatedProgram) -> None:
        self._prog = prog
        self._image = prog.image()
        self._starts = self._image.starts()
        self._texts: list[str] | None = None
        self._lines = prog.lines()

    @property
    def data(self) -> bytes:
        """The instructions as the kernel gave them."""
        return self._prog.insns

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Instruction]:
        return map(self.at, self._starts)

    def of_code(self, code: int) -> Iterator[Instruction]:
        """Those whose opcode is ``code``."""
        image = self._image
        codes, is_start = image.codes, image.is_start
        slot = codes.find(code)
        while 0 <= slot < image.count:
            if is_start is None or is_start[slot]:
                yield self.at(slot)
            slot = codes.find(code, slot + 1)

    def __getitem__(self, index: int) -> Instruction:
        return self.at(self._starts[index])

    def at(self, pc: int) -> Instruction:
        """The instruction at a slot; IndexError where none begins."""
        image = self._image
        is_start = image.is_start
        if not 0 <= pc < image.count or (is_start is not None and not is_start[pc]):
            raise IndexError(f"no instruction begins at {pc}")
        code, dst, src, off, imm = image.split(pc)
        if code == LDIMM64 and pc + 1 < image.count:
            imm = imm & 0xFFFFFFFF | (image.imms[pc + 1] & 0xFFFFFFFF) << 32
        return Instruction(pc, code, dst, src, off, imm, self.texts[pc], self.line(pc))

    @property
    def texts(self) -> list[str]:
        """The text of each instruction by slot, empty for the second half of a 64-bit load."""
        if self._texts is None:
            prog = self._prog
            self._texts = disassemble(prog.insns, prog.byteorder, prog.calls())
        return self._texts

    def line(self, pc: int) -> SourceLine | None:
        """The line of source that covers a slot."""
        btf = self._prog.btf
        if btf is None:
            return None
        lines = self._lines
        record = lines.find(pc)
        if record is None:
            return None
        number, column = lines.number(record)
        text = btf.string(lines.line_offs[record]) or ""
        file = btf.string(lines.file_name_offs[record]) or ""
        return SourceLine(text.lstrip(SPACES), file, number, column)

    def between(self, begin: int, end: int) -> list[Instruction]:
        """The instructions that begin in the slots from ``begin`` to before ``end``."""
        starts = self._starts
        first, last = bisect_left(starts, begin), bisect_left(starts, end)
        return [self.at(pc) for pc in starts[first:last]]

    def __str__(self) -> str:
        texts = self.texts
        return "".join([f"{pc:4}: {texts[pc]}\n" for pc in self._starts])

    def __repr__(self) -> str:
        return f"<{len(self)} BPF instructions>"
