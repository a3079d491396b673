"""Maps that an object's source defines in ``.maps``: their attributes out of BTF types.

``__uint(max_entries, 16)`` is a pointer to an array of 16 ints, ``__type(key, u32)`` a
pointer to the type, ``__array(values, …)`` an array without a length.
"""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.gen.datasecs import skip_modifiers
from pybpftool.uapi.btf import ARRAY, ENUM, ENUM64, FUNC_PROTO, PTR, STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf, Member

# Of enum bpf_map_type: not out of uapi.bpf, to load all of which takes as long as a small object.
ARRAY_MAP, PROG_ARRAY, PERCPU_ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS = 2, 3, 6, 12, 13
STRUCT_OPS, RINGBUF, USER_RINGBUF, ARENA = 26, 27, 31, 33
OF_MAPS = (ARRAY_OF_MAPS, HASH_OF_MAPS)
RINGBUFS = (RINGBUF, USER_RINGBUF)
_NUMBERS = ("type", "max_entries", "map_flags", "numa_node", "pinning")


class MapDefinition:
    """The attributes of one map; absent ones are 0, ``inner`` is that of a map of maps."""

    __slots__ = (
        "inner",
        "key_size",
        "key_type_id",
        "map_extra",
        "map_flags",
        "max_entries",
        "name",
        "numa_node",
        "pinning",
        "type",
        "value_size",
        "value_type_id",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.type = 0
        self.key_size = self.value_size = 0
        self.key_type_id = self.value_type_id = 0
        self.max_entries = self.map_flags = self.map_extra = 0
        self.numa_node = self.pinning = 0
        self.inner: MapDefinition | None = None


def read_definition(btf: Btf, name: str, struct_id: int, is_inner: bool = False) -> MapDefinition:
    """A map's attributes out of the struct that defines it; raises :class:`FormatError`."""
    found = MapDefinition(name)
    members = btf.members(struct_id)
    for index, member in enumerate(members):
        what = member.name
        if what in _NUMBERS:
            if what == "pinning" and is_inner:
                raise FormatError(f"the map '{name}' cannot be pinned: it is an inner one")
            setattr(found, what, _number(btf, name, member))
        elif what in ("key_size", "value_size"):
            _set_size(found, what, _number(btf, name, member))
        elif what in ("key", "value"):
            _set_type(btf, found, what, member)
        elif what == "values":
            if is_inner or index != len(members) - 1:
                why = "an inner map has none" if is_inner else "it has to be the last attribute"
                raise FormatError(f"the map '{name}' has misplaced 'values': {why}")
            _set_values(btf, found, member)
        elif what == "map_extra":
            found.map_extra = _long(btf, name, member)
        else:
            raise FormatError(f"the map '{name}' has the unknown attribute '{what}'")
    if found.pinning > 1:
        raise FormatError(f"the map '{name}' asks for the unknown pinning {found.pinning}")
    if not found.type:
        raise FormatError(f"the map '{name}' has no type")
    if found.type in RINGBUFS:
        found.max_entries = _ringbuf_size(found.max_entries)
    return found


def _number(btf: Btf, name: str, member: Member) -> int:
    type_id = skip_modifiers(btf, member.type_id)
    words, at = btf.at(type_id)
    if words[at] >> 24 & 0x7F == PTR and btf.kind(words[at + 1]) == ARRAY:
        return btf.array(words[at + 1])[2]
    raise FormatError(f"the map '{name}' has no number for '{member.name}'")


def _long(btf: Btf, name: str, member: Member) -> int:
    type_id = skip_modifiers(btf, member.type_id)
    if btf.kind(type_id) in (ENUM, ENUM64):
        values = btf.enumerators(type_id)
        if len(values) == 1:
            return values[0][1] & 0xFFFFFFFFFFFFFFFF
        raise FormatError(f"the map '{name}' has {len(values)} numbers for '{member.name}'")
    return _number(btf, name, member)


def _set_size(found: MapDefinition, what: str, size: int) -> None:
    known = getattr(found, what)
    if known and known != size:
        raise FormatError(
            f"the map '{found.name}' has two sizes of its {what[:-5]}: {known}, {size}"
        )
    setattr(found, what, size)


def _set_type(btf: Btf, found: MapDefinition, what: str, member: Member) -> None:
    words, at = btf.at(member.type_id)
    if words[at] >> 24 & 0x7F != PTR:
        raise FormatError(f"the map '{found.name}' has no type for its {what}")
    size = btf.size_of(words[at + 1])
    if size is None:
        raise FormatError(f"the map '{found.name}' has a {what} of unknown size")
    _set_size(found, f"{what}_size", size)
    setattr(found, f"{what}_type_id", words[at + 1])


def _set_values(btf: Btf, found: MapDefinition, member: Member) -> None:
    name = found.name
    if found.type not in OF_MAPS and found.type != PROG_ARRAY:
        raise FormatError(f"the map '{name}' has 'values', but holds neither maps nor programs")
    _set_size(found, "value_size", 4)
    if btf.kind(member.type_id) != ARRAY or btf.array(member.type_id)[2]:
        raise FormatError(f"the 'values' of the map '{name}' are not an array without a length")
    words, at = btf.at(skip_modifiers(btf, btf.array(member.type_id)[0]))
    target = skip_modifiers(btf, words[at + 1]) if words[at] >> 24 & 0x7F == PTR else 0
    wanted = FUNC_PROTO if found.type == PROG_ARRAY else STRUCT
    if btf.kind(target) != wanted:
        raise FormatError(f"the 'values' of the map '{name}' are of the wrong kind")
    if wanted == STRUCT:
        found.inner = read_definition(btf, f"{name}.inner", target, True)


def _ringbuf_size(size: int) -> int:
    """A ring buffer's size as the kernel takes it: pages, a power of two of them."""
    import os

    page = os.sysconf("SC_PAGESIZE")
    if not size or (size % page == 0 and not size // page & size // page - 1):
        return size
    pages = 1
    while pages * page <= size:
        pages *= 2
    return pages * page if pages <= 0xFFFFFFFF // page else size
