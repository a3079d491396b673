"""``obj``: BPF object files, looked at without loading them and without privilege."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import FormatError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.gen.bpf_object import BpfObject
    from pybpftool.gen.description import Description
    from pybpftool.objects.object_code import ObjectCode

HELP = """\
Usage: pybpftool obj { show | list } FILE...
       pybpftool obj dis FILE [name FUNCTION]
       pybpftool obj relocs FILE...
       pybpftool obj check FILE... [--against KERNEL]
       pybpftool obj verify FILE... [--csv] [--compare BASE]
       pybpftool obj help

show tells what object files have: programs, maps, variables, what they declare, their
sections. dis prints the instructions with lines of source and names of what they refer
to. relocs lists what instructions refer to, and CO-RE relocations. check looks for all
that an object needs of a kernel in its BTF: KERNEL is a snapshot or a file with BTF
(raw or ELF); without it, the running kernel or the one of --snapshot. Exit status of
check: 0 all is there, 1 something is not, 2 it could not be told.

verify has the running kernel's verifier judge each program, and prints what that took;
nothing stays loaded, or is attached or pinned. It needs the system's libbpf. BASE is
what --csv or -j printed before, or a CSV of veristat. Exit status of verify: 0 all
programs are verified, 1 one is refused (with BASE: that was not before), 2 it could not
be told.
"""

EXIT_MISSING = 1
EXIT_TROUBLE = 2


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``obj``."""
    if not args:
        raise UsageError("expected a command after 'obj'; see 'pybpftool obj help'")
    select(VERBS, args, "obj")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _paths(args: Args) -> list[str]:
    paths = [args.take("an object file")]
    while args:
        paths.append(args.take("an object file"))
    return paths


def _opened(paths: list[str]) -> Iterator[tuple[str, BpfObject]]:
    from pybpftool.gen.opening import open_file

    for path in paths:
        yield path, open_file(path)


def _described(paths: list[str]) -> list[Description]:
    from pybpftool.gen.description import Description

    return [Description(path, obj) for path, obj in _opened(paths)]


def _show(ctx: Context, args: Args) -> None:
    """``obj { show | list } FILE...``"""
    found = _described(_paths(args))
    if ctx.json is not None:
        ctx.json.value([one.json() for one in found])
    else:
        ctx.out.write("".join([one.text() for one in found]))


def _relocs(ctx: Context, args: Args) -> None:
    """``obj relocs FILE...``"""
    found = _described(_paths(args))
    if ctx.json is not None:
        ctx.json.value([one.relocations_json() for one in found])
    else:
        ctx.out.write("".join([one.relocations_text() for one in found]))


def _dis(ctx: Context, args: Args) -> None:
    """``obj dis FILE [name FUNCTION]``"""
    path = args.take("an object file")
    wanted = None
    if args:
        args.choose(("name",))
        wanted = args.take("the name of a function")
    args.end()
    _, obj = next(_opened([path]))
    functions = _code(obj)
    if wanted is not None:
        functions = [one for one in functions if one.name == wanted]
        if not functions:
            raise FormatError(f"'{path}' has no function '{wanted}'")
    if ctx.json is not None:
        ctx.json.value([one.json() for one in functions])
    else:
        ctx.out.escape()  # source lines are whatever the file says
        ctx.out.write("\n".join([one.text() for one in functions]))


def _code(obj: BpfObject) -> list[ObjectCode]:
    """The code of an object's functions with all that is known of it."""
    from pybpftool.gen.description import btf_ext, core_relocations
    from pybpftool.objects.object_code import ObjectCode

    ext = btf_ext(obj)
    core = core_relocations(obj)
    found = []
    for program in obj.functions:
        section = obj.elf.sections[program.section_index].name or ""
        sources = {}
        if ext is not None and obj.btf is not None:
            for line in ext.lines.get(section, ()):
                text = obj.btf.string(line.text) or ""
                sources[line.offset // 8 - program.start] = text.strip()
        refers: dict[int, list[str]] = {}
        for one in program.relocations:
            offset = f"+{one.offset}" if one.kind == "data" else ""
            refers.setdefault(one.insn, []).append(f"{one.kind} {one.name}{offset}")
        for relocation in core:
            if relocation.program == program.name:
                what = f"{relocation.kind} {relocation.what}"
                refers.setdefault(relocation.insn, []).append(what)
        order = obj.elf.order
        found.append(ObjectCode(program.name, section, program.data, order, sources, refers))
    return found


def _check(ctx: Context, args: Args) -> None:
    """``obj check FILE... [--against KERNEL]``"""
    from pybpftool.cli.recorded import guarded
    from pybpftool.gen.against import check, kernel_targets, targets_in

    ctx.failure_status = EXIT_TROUBLE
    paths = _paths(args)
    against = _against(ctx)

    def run_checks() -> None:
        targets = targets_in(against, ctx.base_btf) if against else kernel_targets(ctx.kernel)
        reports = [check(path, obj, targets) for path, obj in _opened(paths)]
        if ctx.json is not None:
            ctx.json.value([report.json() for report in reports])
        else:
            ctx.out.write("".join([report.text() for report in reports]))
        if any(report.findings for report in reports):
            ctx.status = EXIT_MISSING

    if ctx.options.snapshot is None:
        run_checks()
    else:
        guarded(run_checks)


def _against(ctx: Context) -> str:
    """The file with BTF that ``--against`` names; a snapshot takes the place of the kernel."""
    path = ""
    for name, value in ctx.options.of_object:
        if name == "against":
            path = value
    if path:
        try:
            with open(path, "rb", buffering=0) as file:
                is_snapshot = file.read(2) == b"PK"
        except IsADirectoryError:
            is_snapshot = True
        except (OSError, ValueError):
            return path  # who reads it says why it cannot be
        if is_snapshot:
            ctx.options.snapshot = path
            return ""
    return path


def _verify(ctx: Context, args: Args) -> None:
    """``obj verify FILE... [--csv] [--compare BASE]``"""
    from pybpftool.cli.obj_verify import verify

    verify(ctx, args)


VERBS = (
    ("show", _show),
    ("list", _show),
    ("dis", _dis),
    ("relocs", _relocs),
    ("check", _check),
    ("verify", _verify),
    ("help", _help),
)
