"""Maps: what ``struct bpf_map_info`` and fdinfo say of them."""

from __future__ import annotations

import struct
from errno import EACCES, EPERM

from pybpftool.errors import BpfError, KernelError
from pybpftool.objects.holders import pids_text
from pybpftool.records import Record
from pybpftool.uapi.bpf import BPF_OBJ_NAME_LEN, MAP_TYPES, PROG_TYPES
from pybpftool.uapi.map_traits import TRAITS, traits_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.uapi.map_traits import MapTraits

    Holders = dict[int, list[tuple[int, str]]]


# The fields of struct bpf_map_info that a Map begins with.
_INFO = {order: struct.Struct(order + "6I16sIIQQ4IQ") for order in "<>"}
_INFO_SIZE = _INFO["<"].size
_NAME_AT, _HASH_AT = 24, 88
_ARRAY = MAP_TYPES.index("array")
_VMLINUX_ID = 1
_OF_PROGS = frozenset(type for type, row in TRAITS.items() if row.holds == "prog")


class Map(Record):
    """One map; the first fields are those of ``struct bpf_map_info`` (include/uapi/linux/bpf.h).

    ``type`` is the kernel's number, :attr:`type_name` its name. Sizes are in bytes;
    ``value_size`` is that of one CPU's value. What fdinfo alone tells
    (bpf_map_show_fdinfo() in kernel/bpf/syscall.c) is None where it was not read or the
    kernel does not tell.
    """

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    name: str
    ifindex: int
    btf_vmlinux_value_type_id: int
    netns_dev: int
    netns_ino: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int
    btf_vmlinux_id: int
    map_extra: int
    memlock: int | None
    frozen: bool
    owner_prog_type: str | int | None
    """What programs an array of programs takes: a type, as a number where it has no name."""
    owner_jited: bool | None
    ifname: str | None
    """The device that the map is offloaded to, where it is in our own network namespace."""
    pinned: Sequence[str] | None
    """Its paths in bpf file systems; None where nobody looked, or nothing at all is pinned."""
    pids: Sequence[tuple[int, str]]
    """The processes that hold it, with their names, where those were looked for."""

    @property
    def type_name(self) -> str | None:
        """The name of the type; None for one that this version does not know."""
        return MAP_TYPES[self.type] if self.type < len(MAP_TYPES) else None

    @property
    def traits(self) -> MapTraits:
        """What holds for all maps of this type."""
        return traits_of(self.type)

    @property
    def is_per_cpu(self) -> bool:
        """Whether an element has one value for each possible CPU."""
        return traits_of(self.type).is_per_cpu

    def header_text(self) -> str:
        """The first line, as listings and dumps of several maps show it."""
        type = MAP_TYPES[self.type] if self.type < len(MAP_TYPES) else f"type {self.type}"
        name = f"name {self.name}  " if self.name else ""
        device = f"  offloaded_to {self._device()}" if self.ifindex else ""
        return f"{self.id}: {type}  {name}flags 0x{self.map_flags:x}{device}\n"

    def _device(self) -> str:
        if self.ifname is not None:
            return self.ifname
        return f"ifindex {self.ifindex} ns_dev {self.netns_dev} ns_ino {self.netns_ino}"

    def text(self) -> str:
        """The lines of a listing."""
        # fmt: off
        (
            _, _, key_size, value_size, max_entries, _, _, _, _, _, _, btf_id, _, _, _, _,
            memlock, frozen, owner, jited, _, pinned, pids,
        ) = self
        # fmt: on
        charged = "" if memlock is None else f"  memlock {memlock}B"
        text = (
            f"{self.header_text()}\tkey {key_size}B  value {value_size}B"
            f"  max_entries {max_entries}{charged}"
        )
        if owner is not None or jited is not None:
            text += "\n\t" if owner is None else f"\n\towner_prog_type {owner}  "
            if jited is not None:
                text += "owner jited" if jited else "owner not jited"
        if pinned:
            text += "".join([f"\n\tpinned {path}" for path in pinned])
        if btf_id:
            text += f"\n\tbtf_id {btf_id}"
            if frozen:
                text += "  frozen"
        elif frozen:
            text += "\n\tfrozen"
        if pids:
            text += pids_text(pids)
        return text + "\n"

    def header_json(self) -> dict[str, Any]:
        """The first properties of :meth:`json`."""
        type = self.type
        record: dict[str, Any] = {
            "id": self.id,
            "type": MAP_TYPES[type] if type < len(MAP_TYPES) else type,
        }
        if self.name:
            record["name"] = self.name
        record["flags"] = self.map_flags
        return record

    def json(self) -> dict[str, Any]:
        """The JSON object of a listing."""
        record = self.header_json()
        if self.ifindex:
            device: dict[str, Any] = {
                "ifindex": self.ifindex,
                "ns_dev": self.netns_dev,
                "ns_inode": self.netns_ino,
            }
            if self.ifname is not None:
                device["ifname"] = self.ifname
            record["dev"] = device
        record["bytes_key"] = self.key_size
        record["bytes_value"] = self.value_size
        record["max_entries"] = self.max_entries
        if self.memlock is not None:
            record["bytes_memlock"] = self.memlock
        if self.owner_prog_type is not None:
            record["owner_prog_type"] = self.owner_prog_type
        if self.owner_jited is not None:
            record["owner_jited"] = self.owner_jited
        record["frozen"] = int(self.frozen)
        if self.btf_id:
            record["btf_id"] = self.btf_id
        if self.pinned is not None:
            record["pinned"] = self.pinned
        if self.pids:
            record["pids"] = [{"pid": pid, "comm": comm} for pid, comm in self.pids]
        return record


class MapReader:
    """Reads the maps of one kernel, with what is the same for a whole listing.

    ``pins`` are the paths of pinned maps and ``held`` the processes that hold maps, by id.
    """

    __slots__ = ("_held", "_kernel", "_pins", "_unpack")

    def __init__(
        self,
        kernel: Kernel,
        pins: dict[int, list[str]] | None = None,
        held: Holders | None = None,
    ) -> None:
        self._kernel = kernel
        self._pins = pins or None
        self._held = held or {}
        self._unpack = _INFO[kernel.byteorder].unpack_from

    def read(self, obj: BpfObject, with_fdinfo: bool = True) -> Map:
        """The record of an open map; what fdinfo tells only ``with_fdinfo``."""
        data = obj.info
        if len(data) < _INFO_SIZE:
            data = data.ljust(_INFO_SIZE, b"\0")  # an older kernel's struct is shorter
        # fmt: off
        (
            type, id, key_size, value_size, max_entries, flags, raw, ifindex, vmlinux_type,
            netns_dev, netns_ino, btf_id, key_type, value_type, vmlinux_id, extra,
        ) = self._unpack(data)
        # fmt: on
        memlock = owner = owner_jited = ifname = None
        frozen = False
        if with_fdinfo:
            try:
                text = self._kernel.fdinfo(obj)
            except KernelError:
                text = b""
            _, key, rest = text.partition(b"memlock:\t")
            number, _, behind = rest.partition(b"\n")
            memlock = int(number) if number.isdigit() else None
            frozen = b"frozen:\t1" in (behind if key else text)
            if type in _OF_PROGS:
                owner, owner_jited = _owner(text)
        if ifindex:
            ifname = self._kernel.ifname(ifindex, netns_dev, netns_ino)
        pins = self._pins
        # fmt: off
        return Map._make((
            type, id, key_size, value_size, max_entries, flags,
            raw.partition(b"\0")[0].decode("utf-8", "surrogateescape"),
            ifindex, vmlinux_type, netns_dev, netns_ino, btf_id, key_type, value_type,
            vmlinux_id, extra, memlock, frozen, owner, owner_jited, ifname,
            None if pins is None else pins.get(id, ()),
            self._held.get(id, ()),
        ))
        # fmt: on


def _owner(fdinfo: bytes) -> tuple[str | int | None, bool | None]:
    """What programs an array of programs takes: their type, and whether compiled ones."""
    type, jited = _number(fdinfo, b"owner_prog_type:\t"), _number(fdinfo, b"owner_jited:\t")
    known = type is not None and 0 <= type < len(PROG_TYPES)
    return PROG_TYPES[type] if known else type, None if jited is None else bool(jited)  # type: ignore[index]  # known says so


def _number(text: bytes, key: bytes) -> int | None:
    _, found, rest = text.partition(key)
    if not found:
        return None
    try:
        return int(rest.partition(b"\n")[0])
    except ValueError:
        return None


def read(kernel: Kernel, obj: BpfObject, with_fdinfo: bool = True) -> Map:
    """The record of one open map, without its holders and pins."""
    return MapReader(kernel).read(obj, with_fdinfo)


def has_hash(map: Map) -> bool:
    """Whether a kernel since 6.18 tells the hash of this map."""
    return map.frozen and map.type == _ARRAY


def tells_hash(obj: BpfObject) -> bool:
    """Whether the kernel that gave this map's info tells hashes at all."""
    return len(obj.info) > _HASH_AT


def collect(kernel: Kernel, pins: bool = False) -> Iterator[Map]:
    """All maps in the order of their ids, with their holders, and their paths if ``pins``."""
    paths = kernel.pinned("map") if pins else None
    listing = kernel.listing("map")
    reader = MapReader(kernel, paths, listing.held)
    for obj in listing.objects():
        yield reader.read(obj)


maps = collect
"""The library's public name."""


def by_name(kernel: Kernel, name: str) -> Iterator[BpfObject]:
    """The maps with this name, each open until the next is asked for."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) >= BPF_OBJ_NAME_LEN:
        return
    raw = raw.ljust(BPF_OBJ_NAME_LEN, b"\0")
    for obj in kernel.objects("map"):
        if obj.info[_NAME_AT : _NAME_AT + BPF_OBJ_NAME_LEN] == raw:
            yield obj


class ValueTypes:
    """The BTF of a map's keys and values: type ids within :attr:`btf`, 0 where there is none."""

    __slots__ = ("btf", "key_id", "value_id")

    def __init__(self, btf: Btf, key_id: int, value_id: int) -> None:
        self.btf = btf
        self.key_id = key_id
        self.value_id = value_id


def value_types(kernel: Kernel, map: Map) -> ValueTypes | None:
    """The types of a map's keys and values; None for a map whose values have none.

    Raises KernelError or FormatError where the BTF cannot be read.
    """
    if map.btf_vmlinux_value_type_id:
        btf = _kernel_btf(kernel, map.btf_vmlinux_id)
        return ValueTypes(btf, map.btf_key_type_id, map.btf_vmlinux_value_type_id)
    if map.btf_value_type_id:
        from pybpftool.btf import load

        btf = load.from_id(map.btf_id, kernel)
        return ValueTypes(btf, map.btf_key_type_id, map.btf_value_type_id)
    return None


def readable_types(kernel: Kernel, map: Map, say: Callable[[str], object]) -> ValueTypes | None:
    """As :func:`value_types`; None, and a sentence to ``say``, where reading them is not permitted.

    Contents can be read with CAP_BPF, or by who may open a pin; BTF by its id only with
    CAP_SYS_ADMIN.
    """
    try:
        return value_types(kernel, map)
    except KernelError as error:
        if error.errno not in (EPERM, EACCES):
            raise
        say(f"Elements are shown as bytes, without their types: {error}")
        return None


def kernel_btf_name(kernel: Kernel, id: int) -> str:
    """What the kernel calls one of its own BTF objects: ``vmlinux``, or the name of a module."""
    try:
        return kernel.btf_name(id)
    except KernelError as error:
        # Ids need CAP_SYS_ADMIN. The kernel's types, which everybody may read, are the first
        # that it numbers, as it starts.
        if id == _VMLINUX_ID and error.errno in (EPERM, EACCES):
            return "vmlinux"
        raise


def _kernel_btf(kernel: Kernel, id: int) -> Btf:
    """The kernel's own BTF or that of the module that has id ``id``."""
    from pybpftool.btf import load

    if id and kernel_btf_name(kernel, id) not in ("", "vmlinux"):
        return load.from_id(id, kernel)
    if kernel.is_live:
        return load.vmlinux()
    # Kernels before 6.9 do not tell the id.
    return load.from_id(id, kernel) if id else load.vmlinux(kernel)


# Fields of values that keep a program until they have called it: kernel/bpf/helpers.c, v5.15,
# v6.10 and v6.18.
_CALLING = ("bpf_timer", "bpf_wq", "bpf_task_work")


def calls_later(map: Map, kernel: Kernel) -> bool:
    """Whether values of a map may have timers or the like, by the types that it came with."""
    from pybpftool.btf import load

    if not map.btf_value_type_id:
        return False
    try:
        btf = load.from_id(map.btf_id, kernel)
        return any(btf.find(name) is not None for name in _CALLING)
    except BpfError:
        return False
