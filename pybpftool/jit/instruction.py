"""Machine code for people: one record an instruction, made when it is asked for."""

from __future__ import annotations

from pybpftool.insn.instruction import SourceLine
from pybpftool.insn.lines import SPACES
from pybpftool.jit.decode import Decoder
from pybpftool.jit.names import Names
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.jit.program import JitedFunction, JitedProgram


class MachineInstruction(Record):
    """One instruction of machine code.

    ``pc`` is its offset in bytes from the beginning of its function, ``code`` its bytes,
    ``target`` what a direct jump or call goes to: ``+0x2a`` within the function, else a
    symbol; None where that is not known. ``line`` is the source line that begins here.
    """

    pc: int
    code: bytes
    text: str
    function: str
    target: str | None = None
    line: SourceLine | None = None

    def __str__(self) -> str:
        target = f" <{self.target}>" if self.target else ""
        return f"{self.pc:4x}: {' '.join(self.text.split(chr(9)))}{target}"

    def __repr__(self) -> str:
        return f"<{self!s}>"


class MachineCode:
    """The machine code of a program: a sequence of :class:`MachineInstruction`.

    Decoded as a whole when first looked at. :attr:`functions` are the names of the
    functions in the order of their code.
    """

    __slots__ = ("_decoded", "_prog", "_syntax")

    def __init__(self, prog: JitedProgram, syntax: str = "att") -> None:
        self._prog = prog
        self._syntax = syntax
        self._decoded: list[MachineInstruction] | None = None

    @property
    def data(self) -> bytes:
        """The machine code of all functions as the kernel gave it."""
        return self._prog.image

    @property
    def functions(self) -> list[str]:
        """The names of the functions."""
        return list(dict.fromkeys(insn.function for insn in self._all()))

    def _all(self) -> list[MachineInstruction]:
        if self._decoded is None:
            prog = self._prog
            decoder = Decoder(prog.machine, prog.byteorder, self._syntax)
            functions = prog.functions()
            decoded = [decoder.decode(each.code, each.address or 0) for each in functions]
            names = Names(prog, functions, decoded)
            found: list[MachineInstruction] = []
            for function, insns in zip(functions, decoded):
                targets = dict(names.targets(function, insns))
                lines = self._lines(function, insns.pcs)
                name = names.function(function)
                columns = zip(insns.pcs, insns.codes, insns.texts)
                for index, (pc, code, text) in enumerate(columns):
                    target, line = targets.get(index), lines.get(index)
                    found.append(MachineInstruction(pc, code, text, name, target, line))
            self._decoded = found
        return self._decoded

    def _lines(self, function: JitedFunction, pcs: list[int]) -> dict[int, SourceLine]:
        prog = self._prog
        btf = prog.btf
        if btf is None:
            return {}
        info = prog.lines()
        found = {}
        for index, record in prog.shown_lines(function, pcs):
            number, column = info.number(record)
            text = btf.string(info.line_offs[record]) or ""
            file = btf.string(info.file_name_offs[record]) or ""
            found[index] = SourceLine(text.lstrip(SPACES), file, number, column)
        return found

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[MachineInstruction]:
        return iter(self._all())

    def __getitem__(self, index: int) -> MachineInstruction:
        return self._all()[index]

    def __str__(self) -> str:
        rows = []
        name = None
        for insn in self._all():
            if insn.function != name:
                name = insn.function
                rows.append(f"{name}:\n")
            rows.append(f"{insn}\n")
        return "".join(rows)

    def __repr__(self) -> str:
        return f"<{len(self.data)} bytes of machine code>"
