"""The texts that stand in a graph's blocks: instructions, prototypes, source lines."""

from __future__ import annotations

from _bisect import bisect_left
from _operator import le  # without the Python of operator

from pybpftool.cfg.graph import Cfg, Function
from pybpftool.cnumber import decimal
from pybpftool.errors import BpfError
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

    __slots__ = ("_is_sorted", "_prog", "_texts", "cfg", "lines", "names", "protos")

    def __init__(
        self, prog: XlatedProgram, jump_tables: Mapping[int, Sequence[int]] | None = None
    ) -> None:
        image = prog.image()
        infos = prog.functions()
        self._prog = prog
        self._texts: list[str] | None = None
        self._is_sorted: bool | None = None
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

    def function(self, name: str) -> int:
        """The index of the function called ``name`` (or ``func_N``); BpfError for none."""
        names = self.names
        if name in names:
            return names.index(name)
        number = decimal(name.removeprefix("func_"))
        if number is not None and number < len(names):
            return number
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise BpfError(f"the program has no function '{name}'; it has {shown}")

    def line_begins(self, function: Function) -> list[tuple[int, int]]:
        """``(slot, line record)`` for each record of a function, ascending by slot.

        A record that lies within an instruction is left out; of several at one slot the
        last one counts.
        """
        offs = self.lines.insn_offs
        begin, end = function.begin, function.end
        if self._is_sorted is None:
            self._is_sorted = all(map(le, offs, offs[1:]))
        if self._is_sorted:
            first, last = bisect_left(offs, begin), bisect_left(offs, end)
            found = dict(zip(offs[first:last], range(first, last)))
        else:
            places = [(off, i) for i, off in enumerate(offs) if begin <= off < end]
            found = dict(sorted(places))
        is_start = self.cfg.image.is_start
        if is_start is None or all(map(is_start.__getitem__, found)):
            return list(found.items())
        return [(off, record) for off, record in found.items() if is_start[off]]

    def shown_lines(self, function: Function) -> dict[int, int]:
        """Which line record stands before which slot of a function.

        Each where its code begins; and at the beginning of a block the one that covers
        it, for a block is reached from elsewhere.
        """
        records = self.line_begins(function)
        shown = dict(records)
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
