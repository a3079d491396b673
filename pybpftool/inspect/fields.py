"""The fields by which objects are compared and judged, and what finds each.

A finder takes an :class:`pybpftool.inspect.inventory.Inventory` and one of its items.
"""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError
from pybpftool.inspect.unknown import Hidden, TooOld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.places import Place
    from pybpftool.objects.map import Map
    from pybpftool.objects.prog import Program


# --- fields of all objects ---


def _pinned(inventory: Any, item: Any) -> Any:
    try:
        paths = inventory.pins(item.kind).get(item.id)
        return tuple(sorted(paths)) if paths else ()
    except BpfError as error:
        return Hidden(str(error))


def _owner(inventory: Any, item: Any) -> Any:
    try:
        return inventory.owner(item)
    except BpfError as error:
        return Hidden(str(error))


# --- programs ---


def _attribute(name: str) -> Any:
    return lambda inventory, item: getattr(item.record, name)


def _type(inventory: Any, item: Any) -> Any:
    return item.type


def _name(inventory: Any, item: Any) -> Any:
    return item.name


def _xlated_size(inventory: Any, item: Any) -> Any:
    size = item.record.xlated_prog_len
    if not size and not item.record.orphaned:
        return Hidden("this needs the capability CAP_BPF")
    return size


def _jited_size(inventory: Any, item: Any) -> Any:
    size = item.record.jited_prog_len
    if not size and not item.record.xlated_prog_len and not item.record.orphaned:
        return Hidden("this needs the capability CAP_BPF")
    return size


def _memlock(inventory: Any, item: Any) -> Any:
    size = item.record.memlock
    return Hidden("fdinfo cannot be read") if size is None else size


def _verified_insns(inventory: Any, item: Any) -> Any:
    count = item.record.verified_insns
    return TooOld("5.16") if count is None else count


def _subprograms(inventory: Any, item: Any) -> Any:
    # The kernel counts at least one (bpf_prog_get_info_by_fd()), and 0 where it hides them.
    return item.record.subprograms or Hidden("this needs the capability CAP_BPF")


def _maps_of(inventory: Any, item: Any) -> Any:
    prog: Program = item.record
    if prog.nr_map_ids and not prog.map_ids:
        return Hidden("the kernel does not tell its maps")
    return tuple(sorted(inventory.map(id) for id in prog.map_ids))


def _places_of(inventory: Any, item: Any) -> Any:
    found: list[Place] = inventory.places.by_prog.get(item.id, [])
    return found


def _attached(inventory: Any, item: Any) -> Any:
    places: list[Place] = item.get("places")
    if not places and inventory.places.unseen:
        return Hidden(inventory.places.unseen[0])
    return tuple([place.full_text() for place in places])


def _has_btf(inventory: Any, item: Any) -> bool:
    return bool(item.record.btf_id)


def _attach_to(inventory: Any, item: Any) -> Any:
    prog: Program = item.record
    return inventory.targets.name(prog.attach_btf_obj_id, prog.attach_btf_id)


def _code(inventory: Any, item: Any) -> Any:
    """A checksum of the instructions, whatever the ids of their maps are."""
    from pybpftool.objects.portable_code import masked

    try:
        insns = item.asked(inventory.code.raw)
    except KernelError as error:
        return Hidden(str(error))
    if insns is None:
        return Hidden("the kernel does not show its instructions")
    return masked(insns, inventory.kernel.byteorder, inventory.map_key)


def _calls(inventory: Any, item: Any) -> Any:
    try:
        found = item.asked(inventory.code.calls)
    except KernelError as error:
        return Hidden(str(error))
    if found is None:
        return Hidden("the kernel does not show its instructions or what they call")
    return tuple(sorted(found))


# --- maps ---


def _used_by(inventory: Any, item: Any) -> Any:
    try:
        inventory.users(item.id)
    except BpfError as error:
        return Hidden(str(error))
    return tuple(sorted(prog.name or prog.type for prog in inventory.users(item.id)))


def _content(inventory: Any, item: Any) -> Any:
    """A checksum of all elements; None where they cannot be read or only a part is kept."""
    from pybpftool.digest import sha256

    map: Map = item.record
    traits = map.traits
    if traits.is_queue or traits.holds or not traits.order:
        return None  # they cannot be listed, or are ids, which differ from load to load

    def pairs(obj: Any) -> list[bytes] | None:
        found = []
        for batch in inventory.kernel.elements(obj):
            if batch.values is None:
                return None
            found += [key + value for key, value in batch.pairs()]
        return sorted(found)

    try:
        elements = item.asked(pairs)
    except BpfError:
        return None
    if elements is None:
        return None
    return sha256(b"".join(elements)).hexdigest()[:16], len(elements)


def _frozen_content(inventory: Any, item: Any) -> Any:
    return item.get("content") if item.record.frozen else None


def _hash(inventory: Any, item: Any) -> Any:
    """The kernel's own SHA-256 of a frozen array, in hexadecimal; None for other maps."""
    from pybpftool.objects.map import has_hash, tells_hash

    if not has_hash(item.record):
        return None
    try:
        if not item.asked(tells_hash):
            return TooOld("6.18")
        return item.asked(inventory.kernel.map_hash).hex()
    except KernelError as error:
        return Hidden(str(error))


def _element_count(inventory: Any, item: Any) -> Any:
    map: Map = item.record
    if not map.traits.order:
        return Hidden(f"elements of a map of type {item.type} cannot be counted")

    def count(obj: Any) -> int:
        return sum(batch.count for batch in inventory.kernel.elements(obj))

    try:
        return item.asked(count)
    except KernelError as error:
        return Hidden(error)


def _value_type(inventory: Any, item: Any) -> Any:
    """The name of the type of the values, empty for one without, None without BTF."""
    from pybpftool.objects.map import value_types

    try:
        types = value_types(inventory.kernel, item.record)
    except BpfError:
        return None
    return None if types is None else types.btf.name(types.value_id)


# --- links ---


def _link_prog(inventory: Any, item: Any) -> str:
    id = item.record.prog_id
    return inventory.prog(id) if id else ""


def _link_place(inventory: Any, item: Any) -> Any:
    place = inventory.places.of_link(item.id)
    return "" if place is None else place.text()


def _link_detail(inventory: Any, item: Any) -> Any:
    place = inventory.places.of_link(item.id)
    return "" if place is None else place.full_text()[len(place.text()) + 1 :]


FIELDS: dict[str, dict[str, Any]] = {
    "prog": {
        "name": _name,
        "type": _type,
        "tag": _attribute("tag"),
        "gpl_compatible": _attribute("gpl_compatible"),
        "uid": _attribute("created_by_uid"),
        "run_cnt": _attribute("run_cnt"),
        "run_time_ns": _attribute("run_time_ns"),
        "attach_to": _attach_to,
        "attached": _attached,
        "places": _places_of,
        "bytes_xlated": _xlated_size,
        "bytes_jited": _jited_size,
        "bytes_memlock": _memlock,
        "verified_insns": _verified_insns,
        "subprograms": _subprograms,
        "maps": _maps_of,
        "btf": _has_btf,
        "pinned": _pinned,
        "owner": _owner,
        "code": _code,
        "calls": _calls,
    },
    "map": {
        "name": _name,
        "type": _type,
        "flags": _attribute("map_flags"),
        "bytes_key": _attribute("key_size"),
        "bytes_value": _attribute("value_size"),
        "max_entries": _attribute("max_entries"),
        "map_extra": _attribute("map_extra"),
        "bytes_memlock": _memlock,
        "frozen": _attribute("frozen"),
        "btf": _has_btf,
        "value_type": _value_type,
        "used_by": _used_by,
        "pinned": _pinned,
        "owner": _owner,
        "content": _content,
        "hash": _hash,
        "frozen_content": _frozen_content,
        "elements": _element_count,
    },
    "link": {
        "name": _name,
        "type": _type,
        "prog": _link_prog,
        "attached": _link_place,
        "detail": _link_detail,
        "pinned": _pinned,
        "owner": _owner,
    },
}
"""Kind -> field -> what finds it."""

OF_INFO = frozenset(
    {"tag", "gpl_compatible", "uid", "run_cnt", "run_time_ns", "attach_to", "bytes_xlated"}
    | {"bytes_jited", "verified_insns", "subprograms", "maps", "btf", "code", "calls"}
)
"""Fields of programs that the kernel tells no more once the device of one is gone."""
