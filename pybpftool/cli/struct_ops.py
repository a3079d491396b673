"""``struct_ops``: kernel interfaces that BPF programs implement."""

from __future__ import annotations

import posix
from errno import EOPNOTSUPP

from pybpftool.cli.grammar import select
from pybpftool.cnumber import c_number
from pybpftool.errors import BpfError, KernelError, VanishedError
from pybpftool.objects import struct_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.output.jsontext import JsonStream

HELP = """\
Usage: pybpftool struct_ops { show | list } [MAP]
       pybpftool struct_ops dump [MAP]
       pybpftool struct_ops register OBJ [LINK_DIR]
       pybpftool struct_ops unregister MAP
       pybpftool struct_ops help

       MAP := { id MAP_ID | name MAP_NAME }
       Options: -j, -p, -d and -n (register), --snapshot PATH,
                show: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists the maps of struct_ops and the interface of the kernel that each implements;
dump prints what they hold by the kernel's types, with the names of the programs.
register loads the object file OBJ and has the kernel use the interfaces that it
implements; those that a link attaches as long as there is the link, which LINK_DIR pins.
unregister takes an interface out of use; what a link attaches is detached with the link.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``struct_ops``."""
    select(VERBS, args, "struct_ops")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


class _Search:
    """The maps that a command line means: all, those of a name, or one id."""

    __slots__ = ("id_word", "is_all", "name")

    def __init__(self, args: Args, optional: bool) -> None:
        self.is_all = optional and not args
        self.id_word: str | None = None
        self.name: str | None = None
        if self.is_all:
            return
        how = args.choose(("id", "name"))
        word = args.take("a map id" if how == "id" else "a map name")
        args.end()
        if how == "name":
            self.name = word
        else:
            # A word that is no id is refused when it is looked up: dump's text ends with a
            # line break then, as upstream's does.
            self.id_word = word

    def run(self, ctx: Context, work: Callable[[BpfObject], None], json: JsonStream | None) -> None:
        """Do ``work`` with each map, which ``json`` (if any) takes as an array's elements."""
        kernel = ctx.kernel
        if self.id_word is not None:
            id = c_number(self.id_word)
            if not id or id >> 32:
                raise BpfError(f"'{self.id_word}' is not a map id")
            obj = kernel.open("map", id)
            try:
                if not struct_ops.is_struct_ops(kernel, obj):
                    raise BpfError(f"map {obj.id} is none of struct_ops")
                if json is not None:
                    json.begin_array()
                self._one(ctx, work, obj)
            finally:
                kernel.close(obj)
            if json is not None:
                json.end()
            return
        if json is not None:
            json.begin_array()
        count = 0
        try:
            for obj in struct_ops.maps(kernel, self.name):
                count += 1
                self._one(ctx, work, obj)
        except KernelError as error:
            ctx.error(error)
        if json is not None:
            json.end()
        if not count and not self.is_all and not ctx.failed:
            # Where an array says that there is none, upstream says no more.
            if json is None:
                ctx.error(f"no map of struct_ops has the name '{self.name}'")
            ctx.failed = True

    def _one(self, ctx: Context, work: Callable[[BpfObject], None], obj: BpfObject) -> None:
        try:
            work(obj)
        except VanishedError:
            pass
        except BpfError as error:
            ctx.error(error)


def _show(ctx: Context, args: Args) -> None:
    """``struct_ops { show | list } [MAP]``"""
    search = _Search(args, True)
    struct_ops.require_types(ctx.kernel)
    json, reader = ctx.json, struct_ops.StructOpsReader(ctx.kernel)

    def show(obj: BpfObject) -> None:
        record = reader.read(obj)
        if json is not None:
            json.value(record.json())
        else:
            ctx.out.write(record.text())

    search.run(ctx, show, json)


def _dump(ctx: Context, args: Args) -> None:
    """``struct_ops dump [MAP]``"""
    search = _Search(args, True)
    struct_ops.require_types(ctx.kernel)
    json = ctx.json
    if json is None:
        # Upstream quirk: the text is a JSON document but for its values.
        from pybpftool.output.jsontext import JsonStream

        json = JsonStream(ctx.out, True)
    dump = struct_ops.Dump(ctx.kernel, ctx.json is not None, json.is_pretty, json.depth + 2)

    def show(obj: BpfObject) -> None:
        for name, value in dump.parts(obj):
            json.begin_object()
            json.name(name)
            json.raw(value)
            json.end()

    try:
        search.run(ctx, show, json)
    finally:
        if ctx.json is None:
            ctx.out.write("\n")


def _register(ctx: Context, args: Args) -> None:
    """``struct_ops register OBJ [LINK_DIR]``"""
    from pybpftool.cli.struct_ops_register import register

    register(ctx, args)


def _unregister(ctx: Context, args: Args) -> None:
    """``struct_ops unregister MAP``"""
    from pybpftool.control import require_live
    from pybpftool.control.elements import open_writable
    from pybpftool.control.struct_ops import unregister

    kernel = ctx.kernel
    search = _Search(args, False)
    require_live(kernel)
    reader = struct_ops.StructOpsReader(kernel)

    def end(found: BpfObject) -> None:
        record = reader.read(found)
        what = f"{record.kernel_struct_ops} {record.name} id {record.id}"
        obj = open_writable(kernel, found.id)
        try:
            unregister(kernel, obj)
        except KernelError as error:
            raise BpfError(f"cannot unregister {what}: {_reason(error)}") from None
        finally:
            kernel.close(obj)
        ctx.say(f"Unregistered {what}")

    search.run(ctx, end, None)
    if ctx.json is not None and not ctx.failed:
        ctx.json.value(None)


def _reason(error: KernelError) -> str:
    return str(error) if error.errno == EOPNOTSUPP else posix.strerror(error.errno)


VERBS = (
    ("show", _show),
    ("list", _show),
    ("register", _register),
    ("unregister", _unregister),
    ("dump", _dump),
    ("help", _help),
)
