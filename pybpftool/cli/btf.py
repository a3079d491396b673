"""``btf``: list BTF objects, dump types as text, JSON or C."""

from __future__ import annotations

from pybpftool.btf.load import SYSFS, VMLINUX, from_file, from_id, vmlinux
from pybpftool.cli.grammar import select
from pybpftool.cnumber import c_number
from pybpftool.errors import BpfError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.btf.hashmap import AppendMap
    from pybpftool.btf.rawdump import Part
    from pybpftool.btf.table import Btf
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject

HELP = """\
Usage: pybpftool btf { show | list } [id BTF_ID]
       pybpftool btf dump BTF_SRC [format FORMAT] [root_id ROOT_ID]...
       pybpftool btf help

       BTF_SRC := { id BTF_ID | prog PROG | map MAP [{ key | value | kv | all }] |
                    file FILE [file FILE]... }
       FORMAT  := { raw | c [unsorted] }
       PROG    := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       MAP     := { id MAP_ID | pinned FILE | name MAP_NAME }
       Options: -j, -p, -B FILE (base of split BTF), --snapshot PATH

show lists the BTF objects in the kernel with the programs and maps that use them.
dump prints an object's types one by one, or as C definitions in an order that compiles.
"""

MAX_FILES = 64
MAX_ROOTS = 16


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``btf``."""
    select(VERBS, args, "btf")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


# Where the id of a program's or map's BTF stands in struct bpf_prog_info and bpf_map_info.
_BTF_ID_AT = {"prog": 128, "map": 64}


def _show(ctx: Context, args: Args) -> None:
    wanted: int | None = None
    if len(args):
        args.choose(("id",))
        wanted = args.number("a BTF id")
        args.end()
    kernel = ctx.kernel
    if wanted is not None:
        obj = kernel.open("btf", wanted)
        try:
            listing = _Listing(ctx)
            if ctx.json is not None:
                ctx.json.value(listing.record(obj))
            else:
                ctx.out.write(listing.text(obj))
        finally:
            kernel.close(obj)
        return
    listing = _Listing(ctx)
    objects = kernel.objects("btf")
    if ctx.json is not None:
        ctx.json.array(listing.record(obj) for obj in objects)
    else:
        for obj in objects:
            ctx.out.write(listing.text(obj))


class _Listing:
    """Renders BTF objects with the programs and maps that use them."""

    __slots__ = ("_holders", "_kernel", "_maps", "_progs")

    def __init__(self, ctx: Context) -> None:
        self._kernel = ctx.kernel
        self._progs = self._users("prog")
        self._maps = self._users("map")
        self._holders = ctx.kernel.holders("btf")

    def _users(self, kind: str) -> AppendMap:
        from pybpftool.btf.hashmap import AppendMap

        users = AppendMap()
        at = _BTF_ID_AT[kind]
        order = "little" if self._kernel.byteorder == "<" else "big"
        for obj in self._kernel.objects(kind):
            btf_id = int.from_bytes(obj.info[at : at + 4], order)  # type: ignore[arg-type]
            if btf_id:
                users.append(btf_id, obj.id)
        return users

    def _facts(self, obj: BpfObject) -> tuple[int, bool, str]:
        from pybpftool.kernel.interface import BTF_INFO

        info = BTF_INFO.decode(obj.info, self._kernel.byteorder)
        # Only the kernel's own objects have names.
        name = self._kernel.btf_name(obj.id) if info["name_len"] else ""
        return info["btf_size"], bool(info["kernel_btf"]), name

    def text(self, obj: BpfObject) -> str:
        """The line of one object."""
        size, is_kernel, name = self._facts(obj)
        shown = f"[{name}]" if is_kernel else name or "<anon>"
        parts = [f"{obj.id}: name {shown}  size {size}B"]
        progs = self._progs.get(obj.id)
        if progs:
            parts.append("  prog_ids " + ",".join(map(str, progs)))
        maps = self._maps.get(obj.id)
        if maps:
            parts.append("  map_ids " + ",".join(map(str, maps)))
        holders = self._holders.get(obj.id)
        if holders:
            parts.append("\n\tpids " + ", ".join(f"{comm}({pid})" for pid, comm in holders))
        parts.append("\n")
        return "".join(parts)

    def record(self, obj: BpfObject) -> dict[str, object]:
        """The JSON object of one object."""
        size, is_kernel, name = self._facts(obj)
        record: dict[str, object] = {
            "id": obj.id,
            "size": size,
            "prog_ids": self._progs.get(obj.id),
            "map_ids": self._maps.get(obj.id),
        }
        holders = self._holders.get(obj.id)
        if holders:
            record["pids"] = [{"pid": pid, "comm": comm} for pid, comm in holders]
        record["kernel"] = is_kernel
        if name:
            record["name"] = name
        return record


class _Source:
    """What is to be dumped, as the command line has it."""

    __slots__ = ("btf", "btf_id", "has_fixed_roots", "roots")

    def __init__(self) -> None:
        self.btf: Btf | None = None
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
        source.btf = _from_files(ctx, files)
    as_c, is_sorted = _options(args, source)
    btf = source.btf if source.btf is not None else _from_kernel(ctx, source.btf_id)
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
    if roots or btf.has(btf.start_id):
        json.raw("")  # what follows is the array's elements
    _write(ctx, btf, roots, lambda part: rawdump.json_blocks(btf, roots, depth, part))
    json.end()
    json.end()


# Type sections of fewer words are dumped before a second process has begun.
_WORTH_TWO = 1 << 17


def _write(
    ctx: Context, btf: Btf, roots: list[int], blocks: Callable[[Part | None], Iterator[str]]
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
            out.write_bytes(written)
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
            word = args.take("a type id")
            root = c_number(word)
            if root is None or root >> 32:
                raise UsageError(f"cannot read '{word}' as a type id")
            if root in source.roots:
                raise UsageError(f"root_id {root} is given twice")
            source.roots.append(root)
        elif args.accept("unsorted"):
            is_sorted = False
        else:
            args.end()
    return as_c, is_sorted


def _from_files(ctx: Context, paths: list[str]) -> Btf:
    files = [path for path in paths if path != VMLINUX]
    if len(files) < len(paths) and files:
        ctx.say(f"'{VMLINUX}' is left out: it is the base of the other files")
    base = ctx.base_btf
    if len(files) > MAX_FILES:
        raise UsageError(f"at most {MAX_FILES} files are taken")
    if not files:
        return from_file(VMLINUX, base)
    if base is None and any(path.startswith(SYSFS) for path in files):
        base = vmlinux()
    if len(files) == 1:
        return from_file(files[0], base)
    if base is None:
        raise UsageError("merging several BTF files needs a base: give -B, or files of " + SYSFS)
    from pybpftool.btf.merge import merge

    return merge([(path, from_file(path, base)) for path in files], base)


def _from_kernel(ctx: Context, btf_id: int) -> Btf:
    base = ctx.base_btf
    kernel = ctx.kernel
    if base is None and btf_id:
        obj = kernel.open("btf", btf_id)
        try:
            if is_kernel_btf(obj) and kernel.btf_name(btf_id) != "vmlinux":
                ctx.say(f"no base BTF was given with -B; taking '{VMLINUX}'")
                base = vmlinux(kernel)
        finally:
            kernel.close(obj)
    return from_id(btf_id, kernel, base)


def is_kernel_btf(obj: BpfObject) -> bool:
    """Whether a BTF object is the kernel's own or a module's."""
    from pybpftool.kernel.interface import BTF_INFO

    return bool(BTF_INFO.decode(obj.info, "<")["kernel_btf"])


def _from_prog(ctx: Context, args: Args, source: _Source) -> None:
    from pybpftool.cli.refs import find_programs
    from pybpftool.kernel.interface import PROG_INFO
    from pybpftool.objects.prog import ProgramReader

    kernel = ctx.kernel
    found = list(find_programs(kernel, ProgramReader(kernel), args))
    if len(found) > 1:
        raise BpfError("several programs match; name one of them with its id")
    source.btf_id = PROG_INFO.decode(found[0].info, kernel.byteorder)["btf_id"]


def _from_map(ctx: Context, args: Args, source: _Source) -> None:
    from pybpftool.kernel.interface import MAP_INFO

    kernel = ctx.kernel
    how = args.choose(("id", "name", "pinned"))
    if how == "name":
        name = args.take("a map name")
        raw = name.encode("utf-8", "surrogateescape")
        found = [
            obj
            for obj in kernel.objects("map")
            if MAP_INFO.decode(obj.info, kernel.byteorder)["name"].rstrip(b"\0") == raw
        ]
        if not found:
            raise BpfError(f"there is no map named '{name}'")
        if len(found) > 1:
            raise BpfError("several maps match; name one of them with its id")
        opened = None
    elif how == "id":
        opened = kernel.open("map", args.number("a map id"))
    else:
        path = args.take("the path of a pinned map")
        opened = kernel.open_pinned(path)
    if opened is not None:
        kernel.close(opened)
        if opened.kind != "map":
            raise BpfError(f"'{path}' is a {opened.kind}, not a map")
        found = [opened]
    info = MAP_INFO.decode(found[0].info, kernel.byteorder)
    source.btf_id = info["btf_id"]
    key, value = info["btf_key_type_id"], info["btf_value_type_id"]
    for word, roots in (("key", [key]), ("value", [value]), ("all", []), ("kv", [key, value])):
        if len(args) and args.accept(word):
            source.roots = roots
            break
    else:
        source.roots = [key, value]
    source.has_fixed_roots = bool(source.roots)


VERBS = [("show", _show), ("list", _show), ("help", _help), ("dump", _dump)]
