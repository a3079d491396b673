"""``prog dump jited``: gathers a program's machine code and prints it."""

from __future__ import annotations

from pybpftool.cli.prog_dump import Dump, why_no_code
from pybpftool.cli.symbols import SymbolSource
from pybpftool.errors import BpfError
from pybpftool.kernel.interface import PROG_INFO, unpack_u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.prog_dump import DumpOptions
    from pybpftool.jit.program import JitedProgram
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog import ProgramReader

_ARRAYS = (
    *("jited", "jited_ksyms", "jited_func_lens"),
    *("func_info", "line_info", "jited_line_info"),
)


class JitedDump(Dump):
    """Machine code of the just-in-time compiler."""

    def __init__(self, ctx: Context, reader: ProgramReader) -> None:
        self._ctx = ctx
        self._reader = reader
        self.symbols = SymbolSource(ctx)

    def gather(self, obj: BpfObject) -> JitedProgram:
        from pybpftool.jit.program import JitedProgram

        kernel = self._ctx.kernel
        arrays = kernel.prog_arrays(obj, _ARRAYS)
        info = PROG_INFO.decode(arrays["info"], kernel.byteorder)
        if not arrays["jited"]:
            raise BpfError(why_no_code(kernel, obj, "jited"))
        if info["ifindex"]:
            raise BpfError(
                f"the machine code of program {obj.id} is that of the network device"
                f" {info['ifindex']}, for which there is no disassembler"
            )
        return JitedProgram(
            image=arrays["jited"],
            func_lens=_unpack_u32(arrays["jited_func_lens"] or b"", kernel),
            ksyms=unpack_u64(arrays["jited_ksyms"] or b"", kernel.byteorder),
            func_info=arrays["func_info"] or b"",
            func_info_rec_size=info["func_info_rec_size"],
            line_info=arrays["line_info"] or b"",
            line_info_rec_size=info["line_info_rec_size"],
            line_addresses=_line_addresses(
                arrays["jited_line_info"] or b"", info["jited_line_info_rec_size"], kernel
            ),
            btf=self._reader.btf(info["btf_id"]) if info["btf_id"] else None,
            symbols=self.symbols,
            machine=kernel.machine,
            byteorder=kernel.byteorder,
        )

    def image(self, code: JitedProgram) -> bytes:
        return code.image

    def show(self, code: JitedProgram, options: DumpOptions) -> None:
        from pybpftool.jit import dump

        if code.has_bad_lines():
            self._ctx.say("The line information does not fit the machine code and is left out")
        self.read_ahead(code)
        syntax = options.syntax
        if self._ctx.json is not None:
            dump.dump_json(self._ctx.json, code, options.opcodes, options.linum, syntax)
        else:
            dump.dump_plain(self._ctx.out, code, options.opcodes, options.linum, syntax)

    def read_ahead(self, code: JitedProgram) -> None:
        """Read symbols while code is disassembled: names of targets come from all over them."""
        if code.ksyms:
            self.symbols.read_ahead()


def _unpack_u32(data: bytes, kernel: Kernel) -> tuple[int, ...]:
    from struct import unpack

    count = len(data) // 4
    return unpack(f"{kernel.byteorder}{count}I", data[: 4 * count])


def _line_addresses(data: bytes, rec_size: int, kernel: Kernel) -> tuple[int, ...]:
    if rec_size < 8 or len(data) < rec_size:
        return ()
    from struct import iter_unpack

    usable = len(data) // rec_size * rec_size
    form = f"{kernel.byteorder}Q{rec_size - 8}x"
    return tuple([address for (address,) in iter_unpack(form, data[:usable])])
