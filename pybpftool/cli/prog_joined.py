"""``prog dump joined``: source, translated instructions and machine code in one view."""

from __future__ import annotations

from pybpftool.cli.prog_form import Dump, write_painted
from pybpftool.errors import BpfError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pybpftool.cli.context import Context
    from pybpftool.cli.prog_form import DumpOptions
    from pybpftool.joined.model import Joined
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.prog import ProgramReader
    from pybpftool.objects.prog_code import CodeReader, Jited, Xlated


class _Code:
    """What :class:`JoinedDump` gathers of one program."""

    __slots__ = ("header", "jited", "reason", "tables", "xlated")

    def __init__(
        self,
        xlated: Xlated,
        jited: Jited | None,
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

    def __init__(self, ctx: Context, reader: ProgramReader, code: CodeReader) -> None:
        self._ctx = ctx
        self._reader = reader
        self._code = code

    def gather(self, obj: BpfObject) -> _Code:
        xlated = self._code.xlated(obj)
        jited = None
        reason = ""
        try:
            jited = self._code.jited(obj)
        except BpfError as error:
            reason = str(error)
        tables = self._code.jump_tables(obj, xlated)
        header = self._reader.read(obj, is_brief=True).header_text().strip()
        return _Code(xlated, jited, tables, header, reason)

    def image(self, code: _Code) -> bytes:
        raise UsageError("'file' writes raw code: use it with 'xlated' or 'jited'")

    def show(self, code: _Code, options: DumpOptions) -> None:
        if code.jited is not None and code.jited.ksyms:
            self._code.symbols.read_ahead()
        joined = self._joined(code, options)
        if code.reason and options.html is None:
            self._ctx.say(f"Without machine code: {code.reason}")
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

            width = 0
            self._ctx.out.escape()  # source lines are whatever the program's BTF says
            if self._ctx.out.is_terminal:
                from pybpftool.cli.terminal import terminal_width

                width = terminal_width(self._ctx)
            write_painted(
                self._ctx,
                lambda out: write_text(out, joined, options.opcodes, options.linum, width),
            )

    def _joined(self, code: _Code, options: DumpOptions) -> Joined:
        """The view, without machine code where nothing can disassemble it."""
        from pybpftool.joined.model import Joined

        if code.jited is not None:
            try:
                return Joined(code.xlated, code.jited, code.tables, options.syntax)
            except BpfError as error:
                code.reason = str(error)
        return Joined(code.xlated, None, code.tables, options.syntax)

    def _write_page(self, joined: Joined, code: _Code, options: DumpOptions) -> None:
        from pybpftool.joined.html import drawing, page
        from pybpftool.output.files import write_file

        kernel = self._ctx.kernel
        title = f"BPF program {code.header.partition('  tag ')[0]}"
        details = f"{code.header}, Linux {kernel.release} {kernel.machine}"
        if code.reason:
            details += f". Without machine code: {code.reason}"
        data = page(joined, title, details, drawing(joined), options.opcodes)
        write_file(options.html or "", data)
