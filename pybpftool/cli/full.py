"""``show --full``: what the kernel tells beyond bpftool's columns, with names in place of ids."""

from __future__ import annotations

from pybpftool.errors import KernelError, VanishedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.items import Item
    from pybpftool.kernel.interface import BpfObject

FIELDS = {
    "prog": ("verified_insns", "subprograms", "attach_to", "attached", "maps", "owner"),
    "map": ("map_extra", "value_type", "hash", "used_by", "owner"),
    "link": ("prog", "attached", "owner"),
}
"""What is added; a field that the kernel hides or is too old to tell is left out."""


def show(ctx: Context, kind: str, found: Iterator[BpfObject] | None) -> None:
    """``{ prog | map | link } show --full``: all objects, or those that were found."""
    from pybpftool.inspect.inventory import Inventory

    kernel, json = ctx.kernel, ctx.json
    inventory = Inventory(kernel)
    fields = FIELDS[kind]
    if kind == "map" and any(name == "elements" for name, _ in ctx.options.of_object):
        fields = (*fields, "elements")
    read = reader(ctx, kind, ctx.options.bpffs)
    is_told = False

    def more(id: int) -> dict[str, Any]:
        nonlocal is_told
        try:
            return _told(inventory, kind, id, fields)
        except KernelError as error:
            # Who may open a pin may not list objects, by which names are found.
            if not is_told:
                is_told = True
                ctx.aside(f"Without what --full adds: {error}")
            return {}

    rows = (
        (record, more(record.id))
        for record in _records(found if found is not None else kernel.objects(kind), read)
    )
    if json is None:
        for record, told in rows:
            ctx.out.write(record.text() + _text(told))
        return
    values = ({**record.json(), **_json(inventory, kind, record.id, told)} for record, told in rows)
    if found is not None:
        from pybpftool.cli.listing import single_or_array

        single_or_array(json, values)
    else:
        json.array(values)


def reader(ctx: Context, kind: str, pins: bool) -> Callable[[BpfObject], Any]:
    """What reads the records of a kind with their holders, and their paths if ``pins``."""
    kernel, options = ctx.kernel, ctx.options
    held = kernel.holders(kind)
    if kind == "link":
        from pybpftool.objects.link import LinkReader

        return LinkReader(kernel, pins, options.resolve, held).read
    paths = kernel.pinned(kind) if pins else None
    if kind == "map":
        from pybpftool.objects.map import MapReader

        return MapReader(kernel, paths, held).read
    from pybpftool.objects.prog import ProgramReader

    return ProgramReader(kernel, paths, held, with_metadata=True).read


def _records(objects: Iterable[BpfObject], read: Callable[[BpfObject], Any]) -> Iterator[Any]:
    for obj in objects:
        try:
            yield read(obj)
        except VanishedError:
            continue


def _told(inventory: Inventory, kind: str, id: int, fields: tuple[str, ...]) -> dict[str, Any]:
    """The fields that the kernel tells."""
    from pybpftool.inspect.unknown import Hidden, TooOld

    item: Item | None = inventory.items(kind).get(id)
    if item is None:
        return {}  # it came meanwhile
    values = {name: item.get(name) for name in fields}
    return {
        name: value
        for name, value in values.items()
        if value is not None and not isinstance(value, (Hidden, TooOld))
    }


def _text(told: dict[str, Any]) -> str:
    from pybpftool.inspect.wording import value_text

    numbers = [f"{name} {value}" for name, value in told.items() if isinstance(value, int)]
    lines = ["  ".join(numbers)] if numbers else []
    for name, value in told.items():
        if not isinstance(value, int) and value:
            lines.append(f"{name} {value_text(value)}")
    return "".join([f"\t{line}\n" for line in lines])


def _json(inventory: Inventory, kind: str, id: int, told: dict[str, Any]) -> dict[str, Any]:
    """The fields as JSON; places are objects."""
    json = {name: list(v) if isinstance(v, tuple) else v for name, v in told.items()}
    if "attached" in json:
        json["attached"] = _places(inventory, kind, id)
    return json


def _places(inventory: Inventory, kind: str, id: int) -> list[dict[str, Any]]:
    if kind == "prog":
        places = inventory.places.by_prog.get(id, [])
    else:
        place = inventory.places.of_link(id)
        places = [] if place is None else [place]
    return [place.json() for place in places]


def json_value(inventory: Inventory, item: Item, name: str) -> Any:
    """A field as ``-j --full`` has it, or what stands in its place where it is not told."""
    from pybpftool.inspect.unknown import Hidden, TooOld

    value = item.get(name)
    if isinstance(value, (Hidden, TooOld)) or name != "attached":
        return value
    return _places(inventory, item.kind, item.id)
