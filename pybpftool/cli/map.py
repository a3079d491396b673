"""``map``: list maps; the commands on their elements are in modules of their own."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.objects.map import MapReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool map { show | list } [MAP]
       pybpftool map dump MAP [stacks [folded | svg [FILE]] [counts MAP] [pid PID]]
       pybpftool map { lookup | getnext } MAP [key DATA]
       pybpftool map update MAP [key DATA] [value VALUE] [UPDATE_FLAGS]
       pybpftool map delete MAP key DATA
       pybpftool map { push | enqueue } MAP value VALUE
       pybpftool map { peek | pop | dequeue } MAP
       pybpftool map create FILE type TYPE key KEY_SIZE value VALUE_SIZE \\
                         entries MAX_ENTRIES name NAME [flags FLAGS] \\
                         [inner_map MAP] [offload_dev NAME]
       pybpftool map pin MAP FILE
       pybpftool map freeze MAP
       pybpftool map event_pipe MAP [cpu N index M]
       pybpftool map help

       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       DATA := { [hex] BYTES | INITIALIZER }
       INITIALIZER := a C initializer like '{.pid = 1, .cpu = 2}' or =17, by the map's BTF
       VALUE := { DATA | MAP | PROG }
       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       UPDATE_FLAGS := { any | exist | noexist }
       TYPE := a map type as 'map show' names it: hash, array, percpu_hash, lpm_trie, ...
       Options: -j, -p, -f (show pinned paths), -n (mount nothing), --snapshot PATH,
                --full (show more), --full --elements (and how many elements there are),
                show: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``map``."""
    select(VERBS, args, "map")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _from(module: str, function: str) -> Callable[[Context, Args], None]:
    def handler(ctx: Context, args: Args) -> None:
        # Not importlib.import_module(), as in main.
        getattr(__import__(f"pybpftool.cli.{module}", fromlist=(function,)), function)(ctx, args)

    return handler


def _show(ctx: Context, args: Args) -> None:
    """``map { show | list } [MAP]``."""
    kernel = ctx.kernel
    if len(args) not in (0, 2):
        args.choose(("id", "name", "pinned"))
        args.take("its value")
        args.end()
    found = None
    if args:
        from pybpftool.cli.refs import find_maps

        found = find_maps(kernel, args)
    if ctx.options.is_full:
        from pybpftool.cli import full

        full.show(ctx, "map", found)
        return
    pins = kernel.pinned("map") if ctx.options.bpffs else None
    listing = kernel.listing("map")
    read = MapReader(kernel, pins, listing.held).read
    json = ctx.json
    if found is not None and json is not None:
        from pybpftool.cli.listing import single_or_array

        single_or_array(json, (read(obj).json() for obj in found))
        return
    from pybpftool.cli.listing import write_records

    write_records(ctx, listing, read, found)


VERBS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
    ("dump", _from("map_dump", "dump")),
    ("update", _from("map_elem", "update")),
    ("lookup", _from("map_elem", "lookup")),
    ("getnext", _from("map_elem", "getnext")),
    ("delete", _from("map_elem", "delete")),
    ("pin", _from("map_create", "pin")),
    ("event_pipe", _from("event_pipe", "event_pipe")),
    ("create", _from("map_create", "create")),
    ("peek", _from("map_elem", "lookup")),
    ("push", _from("map_elem", "update")),
    ("enqueue", _from("map_elem", "update")),
    ("pop", _from("map_elem", "pop")),
    ("dequeue", _from("map_elem", "pop")),
    ("freeze", _from("map_create", "freeze")),
)
