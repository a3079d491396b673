"""``btf``: list BTF objects, dump types as text, JSON or C."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, UsageError
from pybpftool.objects.btf import BtfReader, load, load_files, map_types, prog_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.btf.rawdump import Part
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.objects.btf import Types
    from pybpftool.output.jsontext import JsonStream

HELP = """\
Usage: pybpftool btf { show | list } [id BTF_ID]
       pybpftool btf dump BTF_SRC [format FORMAT] [root_id ROOT_ID]...
       pybpftool btf help

       BTF_SRC := { id BTF_ID | prog PROG | map MAP [{ key | value | kv | all }] |
                    file FILE [file FILE]... }
       FORMAT  := { raw | c [unsorted] }
       PROG    := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       MAP     := { id MAP_ID | pinned FILE | name MAP_NAME }
       Options: -j, -p, -B FILE (base of split BTF), --snapshot PATH,
                show: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists the BTF objects in the kernel with the programs and maps that use them.
dump prints an object's types one by one, or as C definitions in an order that compiles.
"""

MAX_ROOTS = 16


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``btf``."""
    select(VERBS, args, "btf")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _show(ctx: Context, args: Args) -> None:
    """``btf { show | list } [id BTF_ID]``"""
    kernel = ctx.kernel
    if not args:
        read = BtfReader(kernel).read
        objects = kernel.objects("btf")
        if ctx.json is not None:
            ctx.json.array(read(obj).json() for obj in objects)
        else:
            for obj in objects:
                ctx.out.write(read(obj).text())
        return
    args.choose(("id",))
    wanted = args.number("a BTF id")
    args.end()
    obj = kernel.open("btf", wanted)
    try:
        btf = BtfReader(kernel).read(obj)
    finally:
        kernel.close(obj)
    if ctx.json is not None:
        ctx.json.value(btf.json())
    else:
        ctx.out.write(btf.text())


class _Source:
    """What is to be dumped, as the command line has it."""

    __slots__ = ("btf", "btf_id", "has_fixed_roots", "roots")

    def __init__(self) -> None:
        self.btf: Types | None = None
        self.btf_id = 0
        self.roots: list[int] = []
        self.has_fixed_roots = False


def _dump(ctx: Context, args: Args) -> None:
    what = args.choose(("map", "prog", "id", "file"))
    source = _Source()
    files: list[str] = []
    if what == "map":
        _from_map(ctx, args, source)
    elif what == "prog":
        _from_prog(ctx, args, source)
    elif what == "id":
        source.btf_id = args.number("a BTF id")
    else:
        files.append(args.take("a file name"))
        while args.accept("file"):
            files.append(args.take("a file name"))
        source.btf = load_files(files, ctx.base_btf, ctx.say, ctx.btf_file)
    as_c, is_sorted = _options(args, source)
    btf = source.btf
    if btf is None:
        btf = load(ctx.kernel, source.btf_id, ctx.base_btf, ctx.say)
    for root in source.roots:
        if not btf.has(root):
            raise BpfError(f"there is no type {root} in this BTF")
    if as_c:
        if ctx.json is not None:
            raise BpfError("a dump as C has no JSON form")
        from pybpftool.btf.c.dump import blocks

        for block in blocks(btf, source.roots, is_sorted):
            ctx.out.write(block)
        return
    from pybpftool.btf import rawdump

    roots = source.roots
    json = ctx.json
    if json is None:
        _write(ctx, btf, roots, lambda part: rawdump.text_blocks(btf, roots, part))
        return
    json.begin_object()
    json.name("types")
    json.begin_array()
    depth = json.depth if json.is_pretty else None

    def blocks_of(part: Part | None) -> Iterator[str]:
        elements = rawdump.json_blocks(btf, roots, depth, part)
        return _begun(json, elements) if part is None or not part[0] else elements

    _write(ctx, btf, roots, blocks_of)
    json.end()
    json.end()


def _begun(json: JsonStream, blocks: Iterator[str]) -> Iterator[str]:
    """Blocks of an array's elements; the array has none before the first is made."""
    for block in blocks:
        if block:
            json.raw("")  # what follows is the array's elements
            yield block
            break
    yield from blocks


# Type sections of fewer words are dumped before a second process has begun.
_WORTH_TWO = 1 << 17


def _write(
    ctx: Context, btf: Types, roots: list[int], blocks: Callable[[Part | None], Iterator[str]]
) -> None:
    """Write a raw dump; a large one in two halves, the second by a process of its own."""
    out = ctx.out
    if roots or len(btf.words) < _WORTH_TWO or out.is_terminal:
        for block in blocks(None):
            out.write(block)
        return
    from pybpftool.btf.rawdump import halves
    from pybpftool.worker import Worker

    first, second = halves(btf)
    errors = "surrogateescape" if ctx.json is None else "backslashreplace"
    out.flush()
    with Worker(
        lambda send: send(block.encode("utf-8", errors) for block in blocks(second))
    ) as worker:
        for block in blocks(first):
            out.write(block)
        written = worker.receive()
        if written is not None:
            out.write_encoded(written)
            return
    for block in blocks(second):
        out.write(block)


def _options(args: Args, source: _Source) -> tuple[bool, bool]:
    """The words after the source: whether the dump is C, whether it is sorted."""
    as_c = False
    is_sorted = True
    while len(args):
        if args.accept("format"):
            name = args.take("a format, 'raw' or 'c',")
            if name not in ("raw", "c"):
                raise UsageError(f"unknown format '{name}'; there are 'raw' and 'c'")
            as_c = name == "c"
        elif args.accept("root_id"):
            if source.has_fixed_roots:
                raise UsageError("root_id does not go with a map's key or value")
            if len(source.roots) == MAX_ROOTS:
                raise UsageError(f"at most {MAX_ROOTS} root_id are taken")
            root = args.number("a type id")
            if root in source.roots:
                raise UsageError(f"root_id {root} is given twice")
            source.roots.append(root)
        elif args.accept("unsorted"):
            is_sorted = False
        else:
            args.end()
    return as_c, is_sorted


def _from_prog(ctx: Context, args: Args, source: _Source) -> None:
    from pybpftool.cli.refs import all_ids, find_programs
    from pybpftool.objects.prog import ProgramReader

    kernel = ctx.kernel
    found = list(find_programs(kernel, ProgramReader(kernel), args))
    if len(found) > 1:
        ids = all_ids([obj.id for obj in found])
        raise BpfError(f"the programs {ids} match; give one of these ids")
    source.btf_id = prog_types(kernel, found[0])


def _from_map(ctx: Context, args: Args, source: _Source) -> None:
    from pybpftool.cli.refs import one_map

    kernel = ctx.kernel
    obj = one_map(kernel, args)
    kernel.close(obj)
    source.btf_id, key, value = map_types(kernel, obj)
    for word, roots in (("key", [key]), ("value", [value]), ("all", []), ("kv", [key, value])):
        if len(args) and args.accept(word):
            source.roots = roots
            break
    else:
        source.roots = [key, value]
    source.has_fixed_roots = bool(source.roots)


VERBS = (("show", _show), ("list", _show), ("help", _help), ("dump", _dump))
