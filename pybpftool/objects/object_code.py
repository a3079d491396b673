"""The code of an object file before it is loaded: instructions, what they refer to, source."""

from __future__ import annotations

from pybpftool.insn.disasm import disassemble
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Row(Record):
    """An instruction; ``refers`` has names for what its numbers do not tell yet."""

    pc: int
    text: str
    source: str
    refers: list[str]


class ObjectCode:
    """One function of an object file, instruction by instruction.

    :param sources: the line of source by the instruction that begins it.
    :param refers: what an instruction refers to.
    """

    def __init__(
        self,
        name: str,
        section: str,
        insns: bytes,
        byteorder: str,
        sources: Mapping[int, str],
        refers: Mapping[int, list[str]],
    ) -> None:
        self.name = name
        self.section = section
        self.rows = [
            Row(pc, text, sources.get(pc, ""), refers.get(pc, []))
            for pc, text in enumerate(disassemble(insns, byteorder))
            if text
        ]

    def text(self) -> str:
        """As ``prog dump xlated`` has it, names behind."""
        lines = [f"{self.name}: (section {self.section})\n"]
        shown = ""
        for row in self.rows:
            # A line of source has many records, for its columns.
            if row.source and row.source != shown:
                shown = row.source
                lines.append(f"; {shown}\n")
            names = f"  <{', '.join(row.refers)}>" if row.refers else ""
            lines.append(f"{row.pc:4}: {row.text}{names}\n")
        return "".join(lines)

    def json(self) -> dict[str, object]:
        """The same as plain data."""
        insns = []
        for row in self.rows:
            source = {"src": row.source} if row.source else {}
            refers = {"refers": row.refers} if row.refers else {}
            insns.append({**source, "pc": row.pc, "disasm": row.text, **refers})
        return {"name": self.name, "section": self.section, "insns": insns}
