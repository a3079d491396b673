"""``map create``, ``map pin`` and ``map freeze``."""

from __future__ import annotations

import os

from pybpftool.cli.pinning import pin_command
from pybpftool.cli.refs import one_map
from pybpftool.control import require_live
from pybpftool.control.create import NewMap, create_map
from pybpftool.control.elements import MapWriter
from pybpftool.control.pin import pin as pin_fd
from pybpftool.errors import BpfError, UsageError
from pybpftool.uapi.bpf import BPF_OBJ_NAME_LEN, MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject


class _Request:
    """The words of ``map create``."""

    __slots__ = ("given", "inner", "new", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.new = NewMap(0, "")
        self.inner: BpfObject | None = None
        self.given: set[str] = set()

    def once(self, what: str) -> None:
        """Insist that a property is given only once."""
        if what in self.given:
            raise UsageError(f"'{what}' is given twice")
        self.given.add(what)


def _parse(ctx: Context, args: Args, request: _Request) -> None:
    new = request.new
    while args:
        if args.accept("type"):
            request.once("type")
            word = args.take("a map type")
            if word not in MAP_TYPES:
                raise UsageError(f"'{word}' is not a map type; 'pybpftool map help' names some")
            new.type = MAP_TYPES.index(word)
        elif args.accept("name"):
            new.name = args.take("a name")
            request.given.add("name")
        elif args.accept("key"):
            request.once("key")
            new.key_size = args.number("the size of a key")
        elif args.accept("value"):
            request.once("value")
            new.value_size = args.number("the size of a value")
        elif args.accept("entries"):
            request.once("entries")
            new.max_entries = args.number("the number of entries")
        elif args.accept("flags"):
            request.once("flags")
            new.flags = args.number("the flags")
        elif args.accept("dev") or args.accept("offload_dev"):
            if "dev".startswith(args.previous()):
                ctx.say("Warning: 'dev' is the old word for 'offload_dev'")
            request.once("offload_dev")
            new.ifindex = _ifindex(args.take("a network device"))
        elif args.accept("inner_map"):
            request.once("inner_map")
            request.inner = one_map(ctx.kernel, args)
            new.inner_map_fd = request.inner.fd
        else:
            word = args.take("a property of the map")
            raise UsageError(
                "expected 'type', 'name', 'key', 'value', 'entries', 'flags', 'offload_dev'"
                f" or 'inner_map', got '{word}'"
            )
    for what in ("type", "name"):
        if what not in request.given:
            raise UsageError(f"the {what} of the map is missing")


def _ifindex(name: str) -> int:
    from socket import if_nametoindex

    try:
        return if_nametoindex(name)
    except (OSError, ValueError):
        raise BpfError(f"there is no network device '{name}'") from None


def create(ctx: Context, args: Args) -> None:
    """``map create FILE type TYPE key SIZE value SIZE entries N name NAME …``."""
    kernel = ctx.kernel
    require_live(kernel)
    request = _Request(args.take("the path to pin the new map at"))
    try:
        _parse(ctx, args, request)
        name = request.new.name
        if len(name.encode("utf-8", "surrogateescape")) >= BPF_OBJ_NAME_LEN:
            ctx.say(
                f"Warning: the kernel keeps only {BPF_OBJ_NAME_LEN - 1} bytes of the name '{name}'"
            )
        fd = create_map(kernel, request.new)
        try:
            pin_fd(kernel, fd, request.path, may_mount=not ctx.options.nomount)
        finally:
            try:
                os.close(fd)
            except OSError:
                pass  # it is gone all the same, and the pin stays
    finally:
        if request.inner is not None:
            kernel.close(request.inner)
    if ctx.json is not None:
        ctx.json.value(None)


def pin(ctx: Context, args: Args) -> None:
    """``map pin MAP FILE``."""
    pin_command(ctx, args, one_map)


def freeze(ctx: Context, args: Args) -> None:
    """``map freeze MAP``."""
    kernel = ctx.kernel
    obj = one_map(kernel, args, True)
    try:
        args.end()
        MapWriter(kernel, obj).freeze()
    finally:
        kernel.close(obj)
    if ctx.json is not None:
        ctx.json.value(None)
