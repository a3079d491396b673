"""``report``: a machine's BPF objects as one HTML page."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool report FILE
       pybpftool report help

Writes a page of HTML that needs nothing else, about the running kernel or the one of
--snapshot: a graph of hooks, programs, maps and owners with search and filters, memory
and time by owner, all places in the order of execution, a sheet for each program
(source, instructions, machine code, control flow, calls) and each map (definition,
elements). It can be read with scripts off, and on paper.

Exit status: 0, or 2 where some part could not be seen, which stands in the page, too.
"""


def run(ctx: Context, args: Args) -> None:
    """Run ``report``."""
    if args.peek() == "help" and len(args) == 1:
        ctx.show_help(HELP)
        return
    path = args.take("the path of the page to write")
    args.end()
    from pybpftool.cli.progress import Progress
    from pybpftool.cli.unseen import tell_unseen
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.owners import Graph
    from pybpftool.objects.prog_code import CodeReader
    from pybpftool.output.files import write_file
    from pybpftool.page.document import page

    with Progress("Writing the page"):
        inventory = Inventory(ctx.kernel)
        graph = Graph(inventory)
        code = CodeReader(ctx.kernel, inventory.reader)
        unseen = [*graph.unseen, *graph.missing.remarks]
        write_file(path, page(graph, code, unseen, _when(ctx)))
    if ctx.json is not None:
        ctx.json.value(None)
    tell_unseen(ctx, graph.unseen)


def _when(ctx: Context) -> str:
    import time

    kernel = ctx.kernel
    second = getattr(kernel, "recorded_at", None)
    text = f"Linux {kernel.release} {kernel.machine}"
    try:
        shown = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(second or time.time()))
    except (OverflowError, ValueError, OSError):
        return text
    return f"{text}, {'recorded ' if second else ''}{shown}"
