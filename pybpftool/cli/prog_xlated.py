"""``prog dump xlated``: instructions as the verifier left them."""

from __future__ import annotations

from pybpftool.cli.prog_form import Dump, write_painted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.prog_form import DumpOptions
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.prog_code import CodeReader, Xlated


class XlatedDump(Dump):
    """Instructions as the verifier left them."""

    def __init__(self, ctx: Context, code: CodeReader) -> None:
        self._ctx = ctx
        self._code = code

    def gather(self, obj: BpfObject) -> Xlated:
        return self._code.xlated(obj)

    def image(self, code: Xlated) -> bytes:
        return code.insns

    def show(self, code: Xlated, options: DumpOptions) -> None:
        from pybpftool.insn import dump

        if self._ctx.json is not None:
            dump.dump_json(self._ctx.json, code, options.opcodes, options.linum)
        else:
            write_painted(
                self._ctx,
                lambda out: dump.dump_plain(out, code, options.opcodes, options.linum),
            )


def dump_unloaded(ctx: Context, insns: bytes) -> None:
    """Print instructions that the kernel has not seen yet, at once."""
    from pybpftool.insn import dump
    from pybpftool.objects.prog_code import not_loaded

    dump.dump_plain(ctx.out, not_loaded(ctx.kernel, insns, ctx.say), False, False)
    ctx.out.flush()
