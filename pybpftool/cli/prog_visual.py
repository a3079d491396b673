"""``prog dump xlated … visual``: the control-flow graph as DOT, picture or JSON."""

from __future__ import annotations

from pybpftool.cli.prog_xlated import XlatedDump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cfg.listing import Listing
    from pybpftool.cli.context import Context
    from pybpftool.cli.prog_form import DumpOptions, VisualOptions
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.prog_code import CodeReader, Xlated

# Beyond so many nodes Graphviz can take more than half a minute to lay them out.
_MANY_BLOCKS = 6000


class VisualDump(XlatedDump):
    """The control-flow graph of the translated code."""

    def __init__(self, ctx: Context, code: CodeReader, options: VisualOptions) -> None:
        super().__init__(ctx, code)
        self._options = options
        self._tables: dict[int, list[int]] = {}

    def gather(self, obj: BpfObject) -> Xlated:
        code = super().gather(obj)
        self._tables = self._code.jump_tables(obj, code)
        return code

    def show(self, code: Xlated, options: DumpOptions) -> None:
        from pybpftool.cfg.listing import Listing

        listing = Listing(code, self._tables)
        visual = self._options
        only = None
        if visual.function is not None:
            only = {listing.function(visual.function)}
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
