"""``prog dump xlated … visual``: the control-flow graph as DOT, picture or JSON."""

from __future__ import annotations

from pybpftool.cli.prog_dump import XlatedDump
from pybpftool.errors import BpfError, KernelError, UsageError
from pybpftool.kernel.interface import MAP_INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cfg.listing import Listing
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.cli.prog_dump import DumpOptions
    from pybpftool.insn.program import XlatedProgram
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog import ProgramReader

_PICTURES = ("svg", "png", "pdf")
_BPF_MAP_TYPE_INSN_ARRAY = 34
_GOTOX = 0x0D
# Beyond so many nodes Graphviz can take more than half a minute to lay them out.
_MANY_BLOCKS = 6000


class VisualOptions:
    """What follows ``visual`` on the command line."""

    __slots__ = ("calls", "file", "form", "function")

    def __init__(self) -> None:
        self.form = "dot"
        self.file = ""
        self.function: str | None = None
        self.calls = False

    def take(self, args: Args) -> bool:
        """Take one of the words that may follow; whether there was one."""
        word = args.peek()
        if word in _PICTURES or word == "json":
            args.take("a format")
            self.form = word or ""
            if word != "json":
                self.file = args.take("a file name")
        elif word == "func":
            args.take("'func'")
            self.function = args.take("the name of a function")
        elif word == "calls":
            args.take("'calls'")
            self.calls = True
        else:
            return False
        if self.calls and self.function is not None:
            raise UsageError("'func' and 'calls' exclude each other")
        return True


class VisualDump(XlatedDump):
    """The control-flow graph of the translated code."""

    def __init__(self, ctx: Context, reader: ProgramReader, options: VisualOptions) -> None:
        super().__init__(ctx, reader)
        self._options = options
        self._tables: dict[int, list[int]] = {}

    def gather(self, obj: BpfObject) -> XlatedProgram:
        code = super().gather(obj)
        if has_indirect_jumps(code.insns):
            self._tables = jump_tables(self._ctx.kernel, obj)
        return code

    def show(self, code: XlatedProgram, options: DumpOptions) -> None:
        from pybpftool.cfg.listing import Listing

        listing = Listing(code, self._tables)
        visual = self._options
        only = None
        if visual.function is not None:
            only = {find_function(listing, visual.function)}
        if visual.form == "json":
            from pybpftool.cfg.record import write_json
            from pybpftool.output.jsontext import JsonStream

            json = self._ctx.json
            if json is not None:
                write_json(json, listing, options.opcodes, options.linum, only, visual.calls)
                return
            self._ctx.out.set_errors("backslashreplace")
            json = JsonStream(self._ctx.out)
            write_json(json, listing, options.opcodes, options.linum, only, visual.calls)
            self._ctx.out.write("\n")
            return
        from pybpftool.cfg.dot import write_call_graph, write_dot

        parts: list[str] = []
        write = self._ctx.out.write if visual.form == "dot" else parts.append
        if visual.calls:
            write_call_graph(write, listing)
        else:
            write_dot(
                write, listing, options.opcodes, options.linum, only, limit=visual.form != "dot"
            )
        if visual.form == "dot":
            return
        if not visual.calls:
            self._warn_of_size(listing, only)
        from pybpftool.adapters.graphviz import picture
        from pybpftool.output.files import write_file

        write_file(visual.file, picture("".join(parts), visual.form))
        if self._ctx.json is not None:
            self._ctx.json.value(None)

    def _warn_of_size(self, listing: Listing, only: set[int] | None) -> None:
        functions = [f for f in listing.cfg.functions if only is None or f.index in only]
        blocks = sum(len(function.heads) for function in functions)
        if blocks > _MANY_BLOCKS:
            self._ctx.say(
                f"Drawing {blocks} blocks can take minutes; 'visual func NAME' draws one function,"
                " 'visual calls' the call graph alone"
            )


def find_function(listing: Listing, name: str) -> int:
    """The index of the function called ``name`` (or ``func_N``); raises BpfError for none."""
    names = listing.names
    if name in names:
        return names.index(name)
    number = name.removeprefix("func_")
    if number.isdecimal() and int(number) < len(names):
        return int(number)
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise BpfError(f"the program has no function '{name}'; it has {shown}")


def has_indirect_jumps(insns: bytes) -> bool:
    """Whether there is a ``gotox`` among the instructions."""
    return _GOTOX in insns[::8]


def jump_tables(kernel: Kernel, obj: BpfObject) -> dict[int, list[int]]:
    """The instruction arrays of a program by map id: the slots that they point to.

    An array holds ``struct bpf_insn_array_value``: the second of its 32-bit words is the
    slot in the translated program (``linux/bpf.h``, Linux 6.19). Arrays that cannot
    be read are left out.
    """
    from struct import unpack_from

    tables: dict[int, list[int]] = {}
    ids = kernel.prog_arrays(obj, ("map_ids",))["map_ids"] or b""
    for (id,) in (unpack_from(f"{kernel.byteorder}I", ids, at) for at in range(0, len(ids), 4)):
        try:
            map = kernel.open("map", id)
        except KernelError:
            continue
        try:
            info = MAP_INFO.decode(map.info, kernel.byteorder)
            if info["type"] != _BPF_MAP_TYPE_INSN_ARRAY or info["value_size"] < 8:
                continue
            order = "little" if kernel.byteorder == "<" else "big"
            slots = []
            for index in range(info["max_entries"]):
                value = kernel.map_value(map, index.to_bytes(4, order))  # type: ignore[arg-type]
                slots.append(unpack_from(f"{kernel.byteorder}I", value, 4)[0])
            tables[id] = slots
        except KernelError:
            continue
        finally:
            kernel.close(map)
    return tables
