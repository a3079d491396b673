"""Maps: what ``struct bpf_map_info`` and fdinfo say of them, and their elements.

:class:`Map` is one entry of a listing; :class:`OpenMap` is the public way to a map's
keys and values, as bytes or decoded through BTF.
"""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError, KernelError
from pybpftool.uapi.bpf import MAP_TYPES, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.btf.table import Btf
    from pybpftool.kernel.elements import MapElements
    from pybpftool.kernel.interface import BpfObject, Kernel

NAME_LENGTH = 16
"""BPF_OBJ_NAME_LEN: the kernel cuts names at 15 characters."""

# enum bpf_map_type
PROG_ARRAY = 3
PERF_EVENT_ARRAY = 4
PERCPU_HASH = 5
PERCPU_ARRAY = 6
LRU_PERCPU_HASH = 10
LPM_TRIE = 11
ARRAY_OF_MAPS = 12
HASH_OF_MAPS = 13
REUSEPORT_SOCKARRAY = 20
PERCPU_CGROUP_STORAGE = 21

PER_CPU = frozenset((PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE))
"""The types whose elements have a value for each possible CPU."""
OF_MAPS = frozenset((ARRAY_OF_MAPS, HASH_OF_MAPS))
"""The types whose values are maps; reading one gives the map's id."""

# The fields of struct bpf_map_info, without its last ones that nothing here asks for.
_INFO = {order: struct.Struct(order + "6I16sIIQQ4I") for order in "<>"}
_INFO_SIZE = _INFO["<"].size


class Map:
    """One map.

    ``type_name`` is None for a type that this version does not know (``type`` is its
    number). Sizes are in bytes; ``value_size`` is that of one CPU's value. ``memlock``,
    ``owner_prog_type`` and ``owner_jited`` are None where the kernel does not tell.
    ``owner_prog_type`` and ``owner_jited`` describe the programs that a ``prog_array``
    takes.
    """

    __slots__ = (
        "btf_id",
        "btf_key_type_id",
        "btf_value_type_id",
        "btf_vmlinux_id",
        "btf_vmlinux_value_type_id",
        "flags",
        "frozen",
        "id",
        "ifindex",
        "key_size",
        "max_entries",
        "memlock",
        "name",
        "netns_dev",
        "netns_ino",
        "owner_jited",
        "owner_prog_type",
        "type",
        "type_name",
        "value_size",
    )

    id: int
    type: int
    type_name: str | None
    name: str
    flags: int
    ifindex: int
    netns_dev: int
    netns_ino: int
    key_size: int
    value_size: int
    max_entries: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int
    btf_vmlinux_id: int
    btf_vmlinux_value_type_id: int
    memlock: int | None
    owner_prog_type: int | None
    owner_jited: bool | None
    frozen: bool

    @property
    def is_per_cpu(self) -> bool:
        """Whether an element has one value for each possible CPU."""
        return self.type in PER_CPU

    def __repr__(self) -> str:
        return f"<Map {self.id} {self.type_name or self.type} {self.name!r}>"


def read_map(kernel: Kernel, obj: BpfObject, with_fdinfo: bool = True) -> Map:
    """The record of an open map; what fdinfo tells only ``with_fdinfo``."""
    data = obj.info
    if len(data) < _INFO_SIZE:
        data = data.ljust(_INFO_SIZE, b"\0")
    map = Map()
    (
        map.type,
        map.id,
        map.key_size,
        map.value_size,
        map.max_entries,
        map.flags,
        name,
        map.ifindex,
        map.btf_vmlinux_value_type_id,
        map.netns_dev,
        map.netns_ino,
        map.btf_id,
        map.btf_key_type_id,
        map.btf_value_type_id,
        map.btf_vmlinux_id,
    ) = _INFO[kernel.byteorder].unpack_from(data)
    map.name = name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    map.type_name = MAP_TYPES[map.type] if map.type < len(MAP_TYPES) else None
    map.memlock = map.owner_prog_type = map.owner_jited = None
    map.frozen = False
    if with_fdinfo:
        _read_fdinfo(kernel, obj, map)
    return map


def _read_fdinfo(kernel: Kernel, obj: BpfObject, map: Map) -> None:
    """What only bpf_map_show_fdinfo() tells."""
    try:
        text = kernel.fdinfo(obj)
    except KernelError:
        return
    map.memlock = _number(text, b"memlock:\t")
    map.frozen = b"frozen:\t1" in text
    if map.type == PROG_ARRAY:
        map.owner_prog_type = _number(text, b"owner_prog_type:\t")
        jited = _number(text, b"owner_jited:\t")
        map.owner_jited = None if jited is None else bool(jited)


def _number(text: bytes, key: bytes) -> int | None:
    _, found, rest = text.partition(key)
    if not found:
        return None
    try:
        return int(rest.partition(b"\n")[0])
    except ValueError:
        return None


def prog_type_name(type: int) -> str | None:
    """The name of a program type; None for one that this version does not know."""
    return PROG_TYPES[type] if type < len(PROG_TYPES) else None


def maps(kernel: Kernel) -> Iterator[Map]:
    """All maps of ``kernel`` in the order of their ids."""
    for obj in kernel.objects("map"):
        yield read_map(kernel, obj)


def by_name(kernel: Kernel, name: str) -> Iterator[BpfObject]:
    """The maps with this name, each open until the next is asked for."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) >= NAME_LENGTH:
        return
    raw = raw.ljust(NAME_LENGTH, b"\0")
    for obj in kernel.objects("map"):
        if obj.info[24:40] == raw:  # struct bpf_map_info.name
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


def _kernel_btf(kernel: Kernel, id: int) -> Btf:
    """The kernel's own BTF or that of the module that has id ``id``."""
    from pybpftool.btf import load

    if id and kernel.btf_name(id) not in ("", "vmlinux"):
        return load.from_id(id, kernel)
    if kernel.is_live:
        return load.vmlinux()
    return load.from_id(id, kernel)


class OpenMap:
    """An open map of the running kernel: read, change and iterate its elements.

    >>> with OpenMap.by_id(17) as counts:
    ...     for key, value in counts.items():
    ...         print(key.hex(), value.hex())

    Keys and values are bytes; a per-CPU value is a list of bytes, one for each possible
    CPU. The methods ``decoded_*`` give them as Python values (dict, list, int, str) by
    the map's BTF. All raise :class:`pybpftool.errors.KernelError`.
    """

    __slots__ = ("_elements", "_kernel", "_obj", "_types", "info")

    def __init__(self, kernel: Kernel, obj: BpfObject) -> None:
        from pybpftool.kernel.elements import MapElements

        self._kernel = kernel
        self._obj = obj
        self.info = read_map(kernel, obj)
        """What the kernel says of the map."""
        self._elements = MapElements(kernel, obj, self.info)
        self._types: ValueTypes | None = None

    @classmethod
    def by_id(cls, id: int, kernel: Kernel | None = None, writable: bool = False) -> OpenMap:
        """Open the map with this id; ``writable`` to change it as well."""
        from pybpftool.kernel.elements import open_map

        kernel = kernel if kernel is not None else _running()
        return cls._owning(kernel, open_map(kernel, id, writable))

    @classmethod
    def pinned(cls, path: str, kernel: Kernel | None = None) -> OpenMap:
        """Open the map that is pinned at ``path``."""
        kernel = kernel if kernel is not None else _running()
        obj = kernel.open_pinned(path)
        if obj.kind != "map":
            kernel.close(obj)
            raise BpfError(f"'{path}' is a {obj.kind}, not a map")
        return cls._owning(kernel, obj)

    @classmethod
    def _owning(cls, kernel: Kernel, obj: BpfObject) -> OpenMap:
        try:
            return cls(kernel, obj)
        except BaseException:
            kernel.close(obj)
            raise

    def close(self) -> None:
        """Give the map back; closing twice is harmless."""
        self._kernel.close(self._obj)

    def __enter__(self) -> OpenMap:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<OpenMap {self.info!r}>"

    @property
    def elements(self) -> MapElements:
        """The element operations as the kernel offers them."""
        return self._elements

    def _value(self, data: bytes) -> bytes | list[bytes]:
        if not self.info.is_per_cpu:
            return data
        size, step = self.info.value_size, self._elements.cpu_stride
        return [data[at : at + size] for at in range(0, len(data), step)]

    def __getitem__(self, key: bytes) -> bytes | list[bytes]:
        """The value at ``key``; KeyError where there is none."""
        try:
            return self._value(self._elements.lookup(key))
        except KernelError as error:
            if error.errno == 2:  # ENOENT
                raise KeyError(key) from None
            raise

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Set the value at ``key``, on all CPUs."""
        self._elements.update(key, value)

    def __delitem__(self, key: bytes) -> None:
        """Delete the element at ``key``; KeyError where there is none."""
        try:
            self._elements.delete(key)
        except KernelError as error:
            if error.errno == 2:  # ENOENT
                raise KeyError(key) from None
            raise

    def batches(self) -> Iterator[tuple[list[bytes], list[bytes | list[bytes]]]]:
        """Keys and values in batches as the kernel hands them out, a few thousand at a time.

        An element that is there throughout comes exactly once, whatever others do to
        the map meanwhile. Elements whose value cannot be read are left out.
        """
        key_size = self.info.key_size
        stride = self._elements.value_size
        for batch in self._elements.batches():
            if batch.values is None:
                continue
            keys, values = batch.keys, batch.values
            yield (
                [keys[at : at + key_size] for at in range(0, batch.count * key_size, key_size)],
                [self._value(values[at : at + stride]) for at in range(0, len(values), stride)],
            )

    def items(self) -> Iterator[tuple[bytes, bytes | list[bytes]]]:
        """All (key, value) pairs; see :meth:`batches`."""
        for keys, values in self.batches():
            yield from zip(keys, values)

    def keys(self) -> Iterator[bytes]:
        """All keys, those included whose value cannot be read."""
        key_size = self.info.key_size
        for batch in self._elements.batches():
            for at in range(0, batch.count * key_size, key_size):
                yield batch.keys[at : at + key_size]

    __iter__ = keys

    def decoded_items(self) -> Iterator[tuple[object, object]]:
        """All (key, value) pairs as Python values; a map without BTF raises BpfError."""
        decode_key, decode_value = self._decoders()
        for key, value in self.items():
            if isinstance(value, list):
                yield decode_key(key), [decode_value(each) for each in value]
            else:
                yield decode_key(key), decode_value(value)

    def decoded_batches(self) -> Iterator[tuple[list[object], list[object]]]:
        """As :meth:`batches`, as Python values."""
        decode_key, decode_value = self._decoders()
        for keys, values in self.batches():
            yield (
                [decode_key(key) for key in keys],
                [
                    [decode_value(each) for each in value]
                    if isinstance(value, list)
                    else decode_value(value)
                    for value in values
                ],
            )

    def decode(self, data: bytes) -> object:
        """One value of one CPU as a Python value."""
        return self._decoders()[1](data)

    def encode_key(self, initializer: str) -> bytes:
        """The bytes of a key from a C initializer like ``{.pid = 1}``, by the map's BTF."""
        from pybpftool.btf.initializer import encode

        types = self._value_types()
        return encode(types.btf, types.key_id, initializer, self.info.key_size)

    def encode_value(self, initializer: str) -> bytes:
        """The bytes of a value from a C initializer."""
        from pybpftool.btf.initializer import encode

        types = self._value_types()
        return encode(types.btf, types.value_id, initializer, self.info.value_size)

    def _value_types(self) -> ValueTypes:
        if self._types is None:
            self._types = value_types(self._kernel, self.info)
        if self._types is None:
            raise BpfError(f"map {self.info.id} has no BTF that describes its values")
        return self._types

    def _decoders(self) -> tuple[Callable[[bytes], object], Callable[[bytes], object]]:
        from pybpftool.btf.builders import compile_python

        types = self._value_types()
        value = compile_python(types.btf, types.value_id)
        if not types.key_id:
            return bytes, lambda data: value(data, 0)
        key = compile_python(types.btf, types.key_id)
        return lambda data: key(data, 0), lambda data: value(data, 0)


def _running() -> Kernel:
    from pybpftool.kernel.live import LiveKernel

    return LiveKernel()
