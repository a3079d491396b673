"""``map``: list maps; the commands on their elements are in modules of their own."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.objects.map import PROG_ARRAY, prog_type_name, read_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.map import Map

HELP = """\
Usage: pybpftool map { show | list } [MAP]
       pybpftool map dump MAP
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
       Options: -j, -p, -f (show pinned paths), -n (mount nothing), --snapshot PATH
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``map``."""
    select(_COMMANDS, args, "map")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    from pybpftool.cli.main import show_help

    show_help(ctx, HELP)


def _from(module: str, function: str) -> Callable[[Context, Args], None]:
    def handler(ctx: Context, args: Args) -> None:
        from importlib import import_module

        getattr(import_module(f"pybpftool.cli.{module}"), function)(ctx, args)

    return handler


class _Listing:
    """Renders maps with what one listing reads once: pins and holders."""

    __slots__ = ("_kernel", "_pins", "held", "listing")

    def __init__(self, ctx: Context) -> None:
        self._kernel = kernel = ctx.kernel
        self._pins = kernel.pinned("map") if ctx.options.bpffs else {}
        self.listing = kernel.listing("map")
        self.held = self.listing.held

    def text(self, map: Map) -> str:
        """The lines of one map."""
        id = map.id
        memlock = "" if map.memlock is None else f"  memlock {map.memlock}B"
        text = (
            f"{header_text(self._kernel, map)}\tkey {map.key_size}B  value {map.value_size}B"
            f"  max_entries {map.max_entries}{memlock}"
        )
        if map.type == PROG_ARRAY:
            text += _owner_text(map)
        if id in self._pins:
            for path in self._pins[id]:
                text += f"\n\tpinned {path}"
        if map.btf_id:
            text += f"\n\tbtf_id {map.btf_id}"
            if map.frozen:
                text += "  frozen"
        elif map.frozen:
            text += "\n\tfrozen"
        if id in self.held:
            holders = self.held[id]
            text += "\n\tpids " + ", ".join([f"{comm}({pid})" for pid, comm in holders])
        return text + "\n"

    def record(self, map: Map) -> dict[str, Any]:
        """The JSON object of one map."""
        record = header_record(map)
        if map.ifindex:
            device: dict[str, Any] = {
                "ifindex": map.ifindex,
                "ns_dev": map.netns_dev,
                "ns_inode": map.netns_ino,
            }
            name = self._kernel.ifname(map.ifindex, map.netns_dev, map.netns_ino)
            if name is not None:
                device["ifname"] = name
            record["dev"] = device
        record["bytes_key"] = map.key_size
        record["bytes_value"] = map.value_size
        record["max_entries"] = map.max_entries
        if map.memlock is not None:
            record["bytes_memlock"] = map.memlock
        if map.owner_prog_type is not None:
            owner = prog_type_name(map.owner_prog_type)
            record["owner_prog_type"] = owner if owner is not None else map.owner_prog_type
        if map.owner_jited is not None:
            record["owner_jited"] = map.owner_jited
        record["frozen"] = int(map.frozen)
        if map.btf_id:
            record["btf_id"] = map.btf_id
        if self._pins:
            record["pinned"] = self._pins.get(map.id, ())
        holders = self.held.get(map.id)
        if holders:
            record["pids"] = [{"pid": pid, "comm": comm} for pid, comm in holders]
        return record


def _owner_text(map: Map) -> str:
    """What programs an array of programs takes."""
    owner, jited = map.owner_prog_type, map.owner_jited
    if owner is None and jited is None:
        return ""
    text = "\n\t"
    if owner is not None:
        text += f"owner_prog_type {prog_type_name(owner) or owner}  "
    if jited is not None:
        text += "owner jited" if jited else "owner not jited"
    return text


def header_text(kernel: Kernel, map: Map) -> str:
    """The first line of a map, as listings and dumps of several maps show it."""
    type_name = map.type_name or f"type {map.type}"
    name = f"name {map.name}  " if map.name else ""
    device = f"  offloaded_to {_device_text(kernel, map)}" if map.ifindex else ""
    return f"{map.id}: {type_name}  {name}flags 0x{map.flags:x}{device}\n"


def _device_text(kernel: Kernel, map: Map) -> str:
    name = kernel.ifname(map.ifindex, map.netns_dev, map.netns_ino)
    if name is not None:
        return name
    return f"ifindex {map.ifindex} ns_dev {map.netns_dev} ns_ino {map.netns_ino}"


def header_record(map: Map) -> dict[str, Any]:
    """The first properties of a map's JSON object."""
    record: dict[str, Any] = {
        "id": map.id,
        "type": map.type_name if map.type_name is not None else map.type,
    }
    if map.name:
        record["name"] = map.name
    record["flags"] = map.flags
    return record


def _show(ctx: Context, args: Args) -> None:
    kernel = ctx.kernel
    if len(args) not in (0, 2):
        args.choose(("id", "name", "pinned"))
        args.take("its value")
        args.end()
    found = None
    if args:
        from pybpftool.cli.refs import find_maps

        found = find_maps(kernel, args)
    listing = _Listing(ctx)
    if found is not None and ctx.json is not None:
        from pybpftool.cli.prog import single_or_array

        single_or_array(ctx.json, (listing.record(read_map(kernel, obj)) for obj in found))
        return
    from pybpftool.cli.listing import write_all

    json = ctx.json
    if json is None:
        text = listing.text
        write_all(ctx, listing.listing, lambda obj: text(read_map(kernel, obj)), found)
        return
    element, record = json.text, listing.record
    json.begin_array()
    write_all(ctx, listing.listing, lambda obj: element(record(read_map(kernel, obj))), found)
    json.end()


_COMMANDS = (
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
