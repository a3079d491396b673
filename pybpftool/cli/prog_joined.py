"""``prog dump joined``: source, translated instructions and machine code in one view."""

from __future__ import annotations

from pybpftool.cli.prog_dump import Dump, XlatedDump
from pybpftool.cli.prog_jited import JitedDump
from pybpftool.errors import BpfError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pybpftool.cli.context import Context
    from pybpftool.cli.prog_dump import DumpOptions
    from pybpftool.insn.program import XlatedProgram
    from pybpftool.jit.program import JitedProgram
    from pybpftool.joined.model import Joined
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.prog import ProgramReader

# A drawing of more blocks makes a page that browsers handle badly.
_MANY_BLOCKS = 1500


class _Code:
    """What :class:`JoinedDump` gathers of one program."""

    __slots__ = ("header", "jited", "reason", "tables", "xlated")

    def __init__(
        self,
        xlated: XlatedProgram,
        jited: JitedProgram | None,
        tables: Mapping[int, Sequence[int]],
        header: str,
        reason: str,
    ) -> None:
        self.xlated = xlated
        self.jited = jited
        self.tables = tables
        self.header = header
        self.reason = reason


class JoinedDump(Dump):
    """All forms of a program side by side."""

    def __init__(self, ctx: Context, reader: ProgramReader) -> None:
        self._ctx = ctx
        self._reader = reader
        self._jited = JitedDump(ctx, reader)
        # One reading of the symbols serves both.
        self._xlated = XlatedDump(ctx, reader, self._jited.symbols)

    def gather(self, obj: BpfObject) -> _Code:
        from pybpftool.cli.prog_visual import has_indirect_jumps, jump_tables

        kernel = self._ctx.kernel
        xlated = self._xlated.gather(obj)
        jited = None
        reason = ""
        try:
            jited = self._jited.gather(obj)
        except BpfError as error:
            reason = str(error)
        tables = jump_tables(kernel, obj) if has_indirect_jumps(xlated.insns) else {}
        header = self._reader.read(obj, is_brief=True).header_text().strip()
        return _Code(xlated, jited, tables, header, reason)

    def image(self, code: _Code) -> bytes:
        raise UsageError("'file' writes raw code: use it with 'xlated' or 'jited'")

    def show(self, code: _Code, options: DumpOptions) -> None:
        from pybpftool.joined.model import Joined

        if code.reason and options.html is None:
            self._ctx.say(f"Without machine code: {code.reason}")
        if code.jited is not None:
            self._jited.read_ahead(code.jited)
        joined = Joined(code.xlated, code.jited, code.tables, options.syntax)
        json = self._ctx.json
        if options.html is not None:
            self._write_page(joined, code, options)
            if json is not None:
                json.value(None)
        elif json is not None:
            from pybpftool.joined.record import write_json

            write_json(json, joined, options.opcodes)
        else:
            from pybpftool.joined.text import write_text

            write_text(self._ctx.out, joined, options.opcodes, options.linum)

    def _write_page(self, joined: Joined, code: _Code, options: DumpOptions) -> None:
        from pybpftool.joined.html import page
        from pybpftool.output.files import write_file

        kernel = self._ctx.kernel
        title = f"BPF program {code.header.partition('  tag ')[0]}"
        details = f"{code.header}, Linux {kernel.release} {kernel.machine}"
        if code.reason:
            details += f". Without machine code: {code.reason}"
        data = page(joined, title, details, _drawing(joined), options.opcodes)
        write_file(options.html or "", data)


def _drawing(joined: Joined) -> str:
    """The control-flow graph as SVG, or why there is none."""
    blocks = sum(len(function.heads) for function in joined.listing.cfg.functions)
    if blocks > _MANY_BLOCKS:
        return f"Left out: {blocks} blocks are too many to look at."
    from pybpftool.adapters.graphviz import picture
    from pybpftool.cfg.dot import write_dot

    parts: list[str] = []
    write_dot(parts.append, joined.listing, limit=True)
    try:
        return picture("".join(parts), "svg").decode("utf-8", "replace")
    except BpfError as error:
        return f"Left out: {error}."
