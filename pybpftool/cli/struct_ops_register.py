"""``struct_ops register``."""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError, LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.control.register import Registered


def register(ctx: Context, args: Args) -> None:
    """``struct_ops register OBJ [LINK_DIR]``"""
    from pybpftool.control import libbpf
    from pybpftool.control import register as control
    from pybpftool.gen.for_libbpf import for_file

    path = args.take("an object file")
    directory = args.take("a directory") if args else None
    args.end()
    options = ctx.options
    aloud = ctx.debug if options.debug else None
    try:
        copy = for_file(path, ctx.kernel, libbpf.installed)
        outcomes = control.register(ctx.kernel, path, directory, not options.nomount, aloud, copy)
        for outcome in outcomes:
            if isinstance(outcome, BpfError):
                ctx.error(outcome)
            else:
                _say(ctx, outcome)
    except LoadError as error:
        from pybpftool.cli.prog_load import show_log

        show_log(ctx, error)
        raise
    if ctx.json is not None and not ctx.failed:
        ctx.json.value(None)


def _say(ctx: Context, registered: Registered) -> None:
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.map import read
    from pybpftool.objects.struct_ops import StructOpsReader

    id = registered.map_id
    obj = BpfObject("map", id, -1, registered.map_info)
    try:
        record = StructOpsReader(ctx.kernel).read(obj)
        what = f"Registered {record.kernel_struct_ops} {record.name}"
    except KernelError:
        # It is one of a module, whose types are behind an id; yet it was registered.
        what = f"Registered {read(ctx.kernel, obj, with_fdinfo=False).name}"
    if registered.link_id is None:
        ctx.say(f"{what} id {id}")
    else:
        ctx.say(f"{what} map id {id} link id {registered.link_id}")
