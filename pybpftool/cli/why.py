"""``why``: what keeps an object alive, and where it acts."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.cli.unseen import tell_unseen
from pybpftool.errors import BpfError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.inspect.owners import Graph
    from pybpftool.inspect.tree import Branch

HELP = """\
Usage: pybpftool why prog PROG
       pybpftool why map MAP
       pybpftool why link LINK
       pybpftool why pin PATH
       pybpftool why pid PID
       pybpftool why dev NAME [netns NETNS]
       pybpftool why cgroup PATH
       pybpftool why help

       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       LINK := { id LINK_ID | pinned FILE }
       NETNS := { a name of ip-netns(8) | a process id | a path }
       Options: -j, -p, --snapshot PATH

Each path that keeps an object alive: pins, processes with their units or containers,
links, devices, cgroups, slots of other maps; and where it acts, through tail calls as
well. A pin or a process shows what it keeps alive, a device or cgroup the programs
there in the order of execution, inherited ones too. A number alone is an id, a path a
pinned file, any other word a name.

Exit status: 0, or 2 where some part could not be seen, which is named at the end.
"""

_REFERENCES = {"prog": ("id", "tag", "name", "pinned"), "map": ("id", "name", "pinned"),
               "link": ("id", "pinned")}  # fmt: skip


def run(ctx: Context, args: Args) -> None:
    """Run ``why``."""
    if not args:
        raise UsageError("expected what is asked about after 'why'; see 'pybpftool why help'")
    select(VERBS, args, "why")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _graph(ctx: Context) -> Graph:
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.owners import Graph

    return Graph(Inventory(ctx.kernel))


def _ids(ctx: Context, args: Args, kind: str) -> list[int]:
    """The ids of the objects that a reference means."""
    from pybpftool.cli import refs
    from pybpftool.cli.grammar import Args
    from pybpftool.cnumber import c_number
    from pybpftool.objects.prog import ProgramReader

    kernel = ctx.kernel
    if len(args) == 1:
        word = args.take(f"a {kind}")
        how = "pinned" if "/" in word else "id" if c_number(word) is not None else "name"
        if how not in _REFERENCES[kind]:
            raise UsageError(f"cannot read '{word}' as the id or the path of a {kind}")
        args = Args([how, word])
    if kind == "prog":
        found = [obj.id for obj in refs.find_programs(kernel, ProgramReader(kernel), args)]
    elif kind == "map":
        found = [obj.id for obj in refs.find_maps(kernel, args)]
    else:
        from pybpftool.cli.link import find_link

        obj = find_link(kernel, args)
        found = [obj.id]
        kernel.close(obj)
    args.end()
    return found


def _object(kind: str, ctx: Context, args: Args) -> None:
    """``why { prog PROG | map MAP | link LINK }``"""
    from pybpftool.inspect.why import Why

    ids = _ids(ctx, args, kind)
    graph = _graph(ctx)
    why = Why(graph)
    _answer(ctx, graph, [why.of_object((kind, id)) for id in ids])


def _prog(ctx: Context, args: Args) -> None:
    """``why prog PROG``"""
    _object("prog", ctx, args)


def _map(ctx: Context, args: Args) -> None:
    """``why map MAP``"""
    _object("map", ctx, args)


def _link(ctx: Context, args: Args) -> None:
    """``why link LINK``"""
    _object("link", ctx, args)


def _pin(ctx: Context, args: Args) -> None:
    """``why pin PATH``: a pinned file, or all in a directory"""
    import os

    from pybpftool.inspect.why import Why

    path = args.take("the path of a pinned object")
    args.end()
    graph = _graph(ctx)
    path = os.path.abspath(path) if ctx.kernel.is_live else os.path.normpath(path)
    pins = sorted(str(id) for kind, id in graph.down if kind == "pin")
    found = [pin for pin in pins if pin == path or pin.startswith(path.rstrip("/") + "/")]
    if not found:
        obj = ctx.kernel.open_pinned(path)  # by another mount, or a symbolic link
        ctx.kernel.close(obj)
        graph.add_pin(path, obj.kind, obj.id)
        found = [path]
    why = Why(graph)
    _answer(ctx, graph, [why.of_holder(("pin", pin)) for pin in found])


def _pid(ctx: Context, args: Args) -> None:
    """``why pid PID``"""
    from pybpftool.inspect.why import Why

    pid = args.pid()
    args.end()
    graph = _graph(ctx)
    if pid not in graph.processes:
        try:
            graph.add_process(pid)
        except BpfError:
            from pybpftool.inspect.owners import processes_hidden

            hidden = processes_hidden(ctx.kernel)
            if hidden:
                raise NotFoundError(f"no process {pid} can be seen: {hidden}") from None
            raise NotFoundError(f"there is no process {pid}, or it holds no BPF object") from None
    _answer(ctx, graph, [Why(graph).of_holder(("pid", pid))])


def _dev(ctx: Context, args: Args) -> None:
    """``why dev NAME [netns NETNS]``"""
    from pybpftool.inspect.namespaces import all_namespaces
    from pybpftool.inspect.why import Why

    name = args.take("the name of a network device")
    path = label = ""
    kernel = ctx.kernel
    if args:
        args.choose(("netns",))
        word = args.take("a network namespace")
        args.end()
        path = kernel.namespace_path(word)
    graph = _graph(ctx)
    if path:
        found = [each for each in all_namespaces(kernel) if _means(each.path, path, each.pid)]
        label = word  # which no row has, where nothing was found
        if found:
            path = found[0].path
            label = graph.attachments.netns_name(found[0].inode)
    rows = [
        row
        for row in graph.attachments.rows
        if row.key == "dev" and row.target == name and row.netns == label
    ]
    if not rows:
        kernel.device_index(name, path)  # raises where there is none
    key = f"{name} netns {label}" if label else name
    _answer(ctx, graph, [Why(graph).of_place(("dev", key), rows)])


def _means(known: str, path: str, pid: int) -> bool:
    """Whether a path opens a namespace that is known by another one."""
    import os

    if path in (known, f"/proc/{pid}/ns/net"):
        return True
    try:
        return os.path.samefile(known or "/proc/self/ns/net", path)
    except (OSError, ValueError):
        return False


def _cgroup(ctx: Context, args: Args) -> None:
    """``why cgroup PATH``"""
    from pybpftool.inspect.why import Why

    path = args.take("the path of a cgroup")
    args.end()
    graph = _graph(ctx)
    below = graph.cgroup(path)
    why = Why(graph)
    root = why.of_place(("cgroup", below), graph.effective(below))
    if below != "/":
        inside = [
            pid
            for pid, each in sorted(graph.processes.items())
            if each.cgroup == below or each.cgroup.startswith(below + "/")
        ]
        branches = [why.of_holder(("pid", pid)) for pid in inside]
        if branches:
            root.group("processes", "its processes with BPF objects", branches)
    _answer(ctx, graph, [root])


def _answer(ctx: Context, graph: Graph, roots: Sequence[Branch]) -> None:
    if ctx.json is not None:
        values = [{**root.json(), "unseen": graph.unseen} for root in roots]
        ctx.json.value(values[0] if len(values) == 1 else values)
    else:
        ctx.out.set_errors("backslashreplace")
        for root in roots:
            ctx.out.write("".join([f"{line}\n" for line in root.lines()]))
    tell_unseen(ctx, graph.unseen, is_told=ctx.json is not None)


VERBS = (
    ("prog", _prog),
    ("map", _map),
    ("link", _link),
    ("pin", _pin),
    ("pid", _pid),
    ("dev", _dev),
    ("cgroup", _cgroup),
    ("help", _help),
)
