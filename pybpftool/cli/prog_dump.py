"""``prog dump``: a program's code as the verifier left it, or as machine code."""

from __future__ import annotations

from pybpftool.cli.prog_form import DumpOptions, VisualOptions
from pybpftool.cli.refs import find_programs
from pybpftool.errors import UsageError
from pybpftool.objects.prog import ProgramReader
from pybpftool.objects.prog_code import CodeReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.cli.prog_form import Dump
    from pybpftool.kernel.interface import BpfObject

# Upstream's order, which decides what a shortened word means; ours come last.
_MODES = ("jited", "xlated", "joined")
# Options that write one file or graph.
_SINGLE = ("file", "visual", "html")


def dump(ctx: Context, args: Args) -> None:
    """Run ``prog dump { xlated | jited | joined } PROG …``."""
    mode = args.choose(_MODES)
    reader = ProgramReader(ctx.kernel)
    found = find_programs(ctx.kernel, reader, args)
    options = _options(args, mode)
    code = CodeReader(ctx.kernel, reader, ctx.say, ctx.aside)
    form: Dump
    if mode == "joined":
        from pybpftool.cli.prog_joined import JoinedDump

        form = JoinedDump(ctx, reader, code)
    elif ctx.json is not None and options.visual is not None and options.visual.form == "dot":
        raise UsageError("'visual' prints a graph's text, not JSON; see 'visual json'")
    elif mode == "jited":
        from pybpftool.cli.prog_jited import JitedDump

        form = JitedDump(ctx, code)
    elif options.visual is not None:
        from pybpftool.cli.prog_visual import VisualDump

        form = VisualDump(ctx, code, options.visual)
    else:
        from pybpftool.cli.prog_xlated import XlatedDump

        form = XlatedDump(ctx, code)
    dump_each(ctx, reader, found, options, form)


def _options(args: Args, mode: str) -> DumpOptions:
    options = DumpOptions()
    while args:
        if args.accept("file"):
            options.file = args.take("a file name")
        elif args.accept("opcodes"):
            options.opcodes = True
        elif args.accept("visual"):
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
