"""``prog dump jited``: machine code of the just-in-time compiler."""

from __future__ import annotations

from pybpftool.cli.prog_form import Dump, write_painted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.prog_form import DumpOptions
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.prog_code import CodeReader, Jited

# Bytes of machine code from which reading symbols beside other work pays for a thread.
_LONG = 1 << 17


class JitedDump(Dump):
    """Machine code of the just-in-time compiler."""

    def __init__(self, ctx: Context, code: CodeReader) -> None:
        self._ctx = ctx
        self._code = code

    def gather(self, obj: BpfObject) -> Jited:
        return self._code.jited(obj)

    def image(self, code: Jited) -> bytes:
        return code.image

    def show(self, code: Jited, options: DumpOptions) -> None:
        from pybpftool.jit import dump

        if code.has_bad_lines():
            self._ctx.say("The line information does not fit the machine code and is left out")
        self.read_ahead(code)
        syntax = options.syntax
        if self._ctx.json is not None:
            dump.dump_json(self._ctx.json, code, options.opcodes, options.linum, syntax)
        else:
            write_painted(
                self._ctx,
                lambda out: dump.dump_plain(out, code, options.opcodes, options.linum, syntax),
            )

    def read_ahead(self, code: Jited) -> None:
        """Read symbols while much code is disassembled: targets are all over the kernel."""
        if code.ksyms and len(code.image) > _LONG:
            self._code.symbols.read_ahead()
