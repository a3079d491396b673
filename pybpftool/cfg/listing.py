"""The texts that stand in a graph's blocks: instructions, prototypes, source lines."""

from __future__ import annotations

from pybpftool.cfg.graph import Cfg, Function
from pybpftool.insn.dump import insn_texts
from pybpftool.insn.lines import SPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pybpftool.insn.lines import LineInfo
    from pybpftool.insn.program import XlatedProgram


class Listing:
    """A program's control flow together with its texts.

    :param prog: the program.
    :param jump_tables: slots that instruction arrays hold, by map id.

    ``texts`` holds the text of each instruction by slot, ``protos`` the declaration of
    the function that begins at a slot, ``names`` the name of each function (its BTF
    name, else ``func_N``).
    """

    __slots__ = ("_prog", "_texts", "cfg", "lines", "names", "protos")

    def __init__(
        self, prog: XlatedProgram, jump_tables: Mapping[int, Sequence[int]] | None = None
    ) -> None:
        image = prog.image()
        infos = prog.functions()
        self._prog = prog
        self._texts: list[str] | None = None
        self.cfg = Cfg.build(image, [slot for slot, _ in infos], jump_tables)
        self.protos: dict[int, str] = {}
        self.names = [f"func_{function.index}" for function in self.cfg.functions]
        self.lines: LineInfo = prog.lines()
        btf = prog.btf
        if btf is not None:
            from pybpftool.btf.proto import prototype
            from pybpftool.errors import FormatError

            types = dict(infos)
            for function in self.cfg.functions:
                type_id = types.get(function.begin)
                if type_id is None:
                    continue
                proto = prototype(btf, type_id)
                if proto:
                    self.protos[function.begin] = proto
                try:
                    self.names[function.index] = btf.name(type_id) or self.names[function.index]
                except FormatError:
                    continue

    @property
    def texts(self) -> list[str]:
        """The text of each instruction by slot, ``""`` for the second half of a load."""
        if self._texts is None:
            self._texts = insn_texts(self._prog)
        return self._texts

    def shown_lines(self, function: Function) -> dict[int, int]:
        """Which line record stands before which slot of a function.

        Each where its code begins; and at the beginning of a block the one that covers
        it, for a block is reached from elsewhere.
        """
        info = self.lines
        offs = info.insn_offs
        if not offs:
            return {}
        shown = {}
        # Function by function: a record never reaches into the next one.
        records = sorted(
            [
                (off, record)
                for record, off in enumerate(offs)
                if function.begin <= off < function.end
            ]
            if not _is_sorted(offs)
            else _between(offs, function.begin, function.end)
        )
        if not records:
            return {}
        is_start = self.cfg.image.is_start
        for off, record in records:
            if is_start is None or is_start[off]:
                shown[off] = record
        at = 0
        count = len(records)
        covering = None
        for head in function.heads:
            while at < count and records[at][0] <= head:
                covering = records[at][1]
                at += 1
            if covering is not None:
                shown.setdefault(head, covering)
        return shown

    def source(self, record: int) -> str:
        """The source line of a record, without its indentation; empty without one."""
        btf = self._prog.btf
        text = btf.string(self.lines.line_offs[record]) if btf is not None else None
        return (text or "").lstrip(SPACES)

    def has_source(self, record: int) -> bool:
        """Whether a record names a source line, be it one of blanks only."""
        btf = self._prog.btf
        return btf is not None and bool(btf.string(self.lines.line_offs[record]))

    def file(self, record: int) -> str:
        """The file that a record names, empty without one."""
        btf = self._prog.btf
        return (btf.string(self.lines.file_name_offs[record]) if btf is not None else None) or ""


def _is_sorted(offs: Sequence[int]) -> bool:
    from operator import le

    return all(map(le, offs, offs[1:]))


def _between(offs: Sequence[int], begin: int, end: int) -> list[tuple[int, int]]:
    from bisect import bisect_left

    first = bisect_left(offs, begin)
    last = bisect_left(offs, end)
    return list(zip(offs[first:last], range(first, last), strict=True))
