"""``prog dump``: a program's code as the verifier left it, or as machine code."""

from __future__ import annotations

from pybpftool.cli.refs import find_programs
from pybpftool.cli.symbols import SymbolSource, sysctl
from pybpftool.errors import BpfError, UsageError
from pybpftool.kernel.interface import PROG_INFO, unpack_u64
from pybpftool.objects.prog import ProgramReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.cli.prog_visual import VisualOptions
    from pybpftool.insn.dump import XlatedProgram
    from pybpftool.kernel.interface import BpfObject, Kernel

# Upstream's order, which decides what a shortened word means; ours come last.
_MODES = ("jited", "xlated", "joined")
# Options that write one file or graph.
_SINGLE = ("file", "visual", "html")
# A call whose number the kernel hides (bpf_insn_prepare_dump() without bpf_dump_raw_ok()).
_HIDDEN_CALL = bytes((0x85, 0, 0, 0, 0, 0, 0, 0))
# Bytes of instructions from which reading symbols beside other work pays for a thread.
_LONG = 1 << 16
_XLATED_ARRAYS = ("xlated", "jited_ksyms", "func_info", "line_info")


class DumpOptions:
    """What follows PROG on a ``prog dump`` command line."""

    __slots__ = ("file", "html", "linum", "opcodes", "syntax", "visual")

    def __init__(self) -> None:
        self.file: str | None = None
        self.html: str | None = None
        self.opcodes = False
        self.linum = False
        self.syntax = "att"
        self.visual: VisualOptions | None = None


def dump(ctx: Context, args: Args) -> None:
    """Run ``prog dump { xlated | jited | joined } PROG …``."""
    mode = args.choose(_MODES)
    reader = ProgramReader(ctx.kernel)
    found = find_programs(ctx.kernel, reader, args)
    options = _options(args, mode)
    if mode == "joined":
        from pybpftool.cli.prog_joined import JoinedDump

        dump_each(ctx, reader, found, options, JoinedDump(ctx, reader))
        return
    if mode == "jited":
        from pybpftool.cli.prog_jited import JitedDump

        dump_each(ctx, reader, found, options, JitedDump(ctx, reader))
        return
    if options.visual is not None:
        from pybpftool.cli.prog_visual import VisualDump

        if ctx.json is not None and options.visual.form == "dot":
            raise UsageError("'visual' prints a graph's text, not JSON; see 'visual json'")
        dump_each(ctx, reader, found, options, VisualDump(ctx, reader, options.visual))
        return
    dump_each(ctx, reader, found, options, XlatedDump(ctx, reader))


def _options(args: Args, mode: str) -> DumpOptions:
    options = DumpOptions()
    while args:
        if args.accept("file"):
            options.file = args.take("a file name")
        elif args.accept("opcodes"):
            options.opcodes = True
        elif args.accept("visual"):
            from pybpftool.cli.prog_visual import VisualOptions

            options.visual = options.visual or VisualOptions()
            while options.visual.take(args):
                pass
        elif args.accept("linum"):
            options.linum = True
        elif mode == "joined" and args.peek() == "html":
            args.take("'html'")
            options.html = args.take("a file name")
        elif mode != "xlated" and args.peek() == "syntax":
            args.take("'syntax'")
            options.syntax = args.choose(("att", "intel"))
        else:
            args.end()
    has_visual = options.visual is not None
    if options.file is not None and (options.opcodes or has_visual or options.linum):
        raise UsageError("'file' cannot be combined with 'opcodes', 'linum' or 'visual'")
    return options


class Dump:
    """One form of dump: how to gather a program's code and how to print it."""

    def gather(self, obj: BpfObject) -> Any:
        """Everything that printing needs; raises BpfError where the kernel withholds it."""
        raise NotImplementedError

    def image(self, code: Any) -> bytes:
        """The raw code, for ``file``."""
        raise NotImplementedError

    def show(self, code: Any, options: DumpOptions) -> None:
        """Print, as text or as one JSON value."""
        raise NotImplementedError


def dump_each(
    ctx: Context,
    reader: ProgramReader,
    found: Iterator[BpfObject],
    options: DumpOptions,
    form: Dump,
) -> None:
    """Dump the programs found: one as itself, each of several below its header."""
    items = ((reader.read(obj, is_brief=True), form.gather(obj)) for obj in found)
    prog, code = next(items)
    following = next(items, None)
    if following is not None and any(getattr(options, name) is not None for name in _SINGLE):
        what = next(name for name in _SINGLE if getattr(options, name) is not None)
        raise UsageError(f"several programs match, but '{what}' takes only one")
    if options.file is not None:
        from pybpftool.output.files import write_file

        write_file(options.file, form.image(code))
        if ctx.json is not None:
            ctx.json.value(None)
        return
    if following is None:
        form.show(code, options)
        return
    if ctx.json is not None:
        ctx.json.begin_array()
    while True:
        if ctx.json is not None:
            ctx.json.begin_object()
            ctx.json.fields(prog.header_json(device=False))
            ctx.json.name("insns")
            form.show(code, options)
            ctx.json.end()
        else:
            ctx.out.write(prog.header_text())
            form.show(code, options)
        if following is None:
            break
        if ctx.json is None:
            ctx.out.write("\n")
        prog, code = following
        following = next(items, None)
    if ctx.json is not None:
        ctx.json.end()


class XlatedDump(Dump):
    """Instructions as the verifier left them."""

    def __init__(
        self,
        ctx: Context,
        reader: ProgramReader,
        symbols: SymbolSource | None = None,
    ) -> None:
        self._ctx = ctx
        self._kernel = ctx.kernel
        self._reader = reader
        self._symbols = symbols if symbols is not None else SymbolSource(ctx)

    def gather(self, obj: BpfObject) -> XlatedProgram:
        from pybpftool.insn.dump import XlatedProgram

        kernel = self._kernel
        arrays = kernel.prog_arrays(obj, _XLATED_ARRAYS)
        info = PROG_INFO.decode(arrays["info"], kernel.byteorder)
        if not arrays["xlated"]:
            raise BpfError(why_no_code(kernel, obj, "xlated"))
        ksyms = arrays["jited_ksyms"] or b""
        if arrays["jited_ksyms"] is None and _HIDDEN_CALL in arrays["xlated"]:
            self._symbols()  # which says why all helpers look like number 0
        if ksyms and len(arrays["xlated"]) > _LONG:
            # Names of subprograms come last in the list of symbols.
            self._symbols.read_ahead()
        btf = self._reader.btf(info["btf_id"]) if info["btf_id"] else None
        return XlatedProgram(
            insns=arrays["xlated"],
            nr_jited_ksyms=info["nr_jited_ksyms"],
            jited_ksyms=unpack_u64(ksyms, kernel.byteorder),
            func_info=arrays["func_info"] or b"",
            func_info_rec_size=info["func_info_rec_size"],
            line_info=arrays["line_info"] or b"",
            line_info_rec_size=info["line_info_rec_size"],
            btf=btf,
            symbols=self._symbols,
            byteorder=kernel.byteorder,
        )

    def image(self, code: XlatedProgram) -> bytes:
        return code.insns

    def show(self, code: XlatedProgram, options: DumpOptions) -> None:
        from pybpftool.insn import dump

        if self._ctx.json is not None:
            dump.dump_json(self._ctx.json, code, options.opcodes, options.linum)
        else:
            dump.dump_plain(self._ctx.out, code, options.opcodes, options.linum)


def why_no_code(kernel: Kernel, obj: BpfObject, mode: str) -> str:
    """The reason why the kernel gave no instructions, as far as it can be told."""
    what = f"the {mode} instructions of program {obj.id} are not to be had"
    if obj.orphaned:
        return f"{what}: the network device that it was offloaded to is gone"
    if not PROG_INFO.decode(obj.info, kernel.byteorder)[f"{mode}_prog_len"]:
        if mode == "jited":
            return (
                f"{what}: it is not compiled (sysctl net.core.bpf_jit_enable is"
                f" {sysctl(kernel, 'net/core/bpf_jit_enable')}) or this needs CAP_BPF"
            )
        return f"{what}: this needs the capability CAP_BPF"
    return (
        f"{what}: the sysctls kernel.kptr_restrict ({sysctl(kernel, 'kernel/kptr_restrict')})"
        f" and net.core.bpf_jit_harden ({sysctl(kernel, 'net/core/bpf_jit_harden')})"
        " hide them"
    )
