"""``iter``: list and pin iterators."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject

HELP = """\
Usage: pybpftool iter { show | list }
       pybpftool iter pin OBJ PATH [map MAP]
       pybpftool iter help

       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       Options: -j, -p, -n, -d (all that libbpf and the verifier say), --snapshot PATH,
                list: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

list shows all iterators: what each walks over (of which map, cgroup or task), its
program, the files that run it, and the processes that hold it. pin loads the object
file OBJ, attaches its first program as an iterator and pins it at PATH. Reading that
file runs the program for each object of its kind: tasks, sockets, maps, with map the
elements of one map; what it prints is the content of the file.
"""
_PIN_WORDS = 2  # that pin cannot do without


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``iter``."""
    select(VERBS, args, "iter")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    # Upstream quirk: the text comes with JSON, too.
    from pybpftool.output.stream import write_stderr

    ctx.out.flush()
    write_stderr(HELP.encode())


def _pin(ctx: Context, args: Args) -> None:
    from pybpftool.control import require_live
    from pybpftool.control.iterators import pin_iterator

    kernel = ctx.kernel
    require_live(kernel)
    if len(args) < _PIN_WORDS and ctx.json is not None:
        # Upstream quirk: what is wrong is in the document, and the usage comes all the same.
        _help(ctx, args)
    path = args.take("an object file")
    pin_path = args.take("a path to pin at")
    map: BpfObject | None = None
    # Upstream quirk: other words that follow go unread, and success has no JSON.
    if args and args.accept("map"):
        from pybpftool.cli.refs import one_map

        map = one_map(kernel, args)
    options = ctx.options
    aloud = ctx.debug if options.debug else None
    try:
        fd = None if map is None else map.fd
        pin_iterator(kernel, path, pin_path, fd, not options.nomount, aloud)
    except LoadError as error:
        from pybpftool.cli.prog_load import show_log

        show_log(ctx, error)
        raise
    finally:
        if map is not None:
            kernel.close(map)


def _list(ctx: Context, args: Args) -> None:
    """``iter { show | list }``"""
    from pybpftool.objects.iterators import collect

    args.end()
    json = ctx.json
    if json is not None:
        json.begin_array()
    for record in collect(ctx.kernel):
        if isinstance(record, BpfError):
            ctx.error(record)
        elif json is not None:
            json.value(record.json())
        else:
            ctx.out.write(record.text())
    if json is not None:
        json.end()


VERBS = (
    ("help", _help),
    ("pin", _pin),
    # Beyond upstream.
    ("show", _list),
    ("list", _list),
)
