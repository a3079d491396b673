"""The maps of a loaded object as typed Python mappings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from errno import ENOENT
from typing import Any, Generic, TypeVar, overload

from pybpftool.control.bpf_object import object_id, object_info
from pybpftool.control.elements import BPF_ANY, BPF_NOEXIST, MapWriter
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import Batch, BpfObject
from pybpftool.kernel.live import LiveKernel
from pybpftool.skeleton.loaded import open_library
from pybpftool.skeleton.memory import Codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.control.bpf_object import BpfObjectFile
    from pybpftool.control.bpf_object import Map as FileMap

KeyGet = TypeVar("KeyGet")
KeySet = TypeVar("KeySet")
ValueGet = TypeVar("ValueGet")
ValueSet = TypeVar("ValueSet")
Default = TypeVar("Default")


class AnyMap:
    """A map: its name, its descriptor once it is loaded."""

    def __init__(self, file: BpfObjectFile, name: str) -> None:
        self._file = file
        self._map: FileMap = next(one for one in file.maps if one.name == name)
        self._writer: MapWriter | None = None

    @property
    def name(self) -> str:
        """As the object calls it."""
        return self._map.name

    @property
    def fd(self) -> int:
        """Its descriptor, which the skeleton closes. Raises BpfError before it is loaded."""
        fd = -1 if self._file.is_closed else self._map.fd
        if fd < 0:
            raise BpfError(f"the map '{self.name}' is not loaded")
        return fd

    @property
    def id(self) -> int:
        """The number by which the kernel knows it."""
        return object_id(self.fd)

    @property
    def max_entries(self) -> int:
        """How many elements it can have; may be set until it is loaded."""
        lib = open_library(self._file)
        count: int = lib.call("bpf_map__max_entries", self._map.handle)
        return count

    @max_entries.setter
    def max_entries(self, count: int) -> None:
        what = f"cannot resize the map '{self.name}'"
        lib = open_library(self._file)
        lib.checked(what, "bpf_map__set_max_entries", self._map.handle, count)

    def reuse(self, fd: int) -> None:
        """Take an open map in place of a new one, before loading."""
        what = f"cannot use this map in place of '{self.name}'"
        lib = open_library(self._file)
        lib.checked(what, "bpf_map__reuse_fd", self._map.handle, fd)

    def _elements(self) -> MapWriter:
        fd = self.fd
        if self._writer is None:
            info = object_info(fd)
            self._writer = MapWriter(LiveKernel(), BpfObject("map", object_id(fd), fd, info))
        return self._writer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class _Keyed(AnyMap, Generic[KeyGet, KeySet, ValueGet, ValueSet]):
    """A map whose elements have keys; :meth:`_read` and :meth:`_written` know its values."""

    def __init__(
        self,
        file: BpfObjectFile,
        name: str,
        key: Codec[KeyGet, KeySet],
        value: Codec[Any, Any],
    ) -> None:
        super().__init__(file, name)
        self._key = key
        self._value = value

    def _read(self, data: bytes) -> ValueGet:
        raise NotImplementedError

    def _written(self, value: ValueSet) -> bytes:
        raise NotImplementedError

    def __getitem__(self, key: KeySet) -> ValueGet:
        """The value at ``key``, a copy; KeyError where there is none."""
        return self._read(self._lookup(key))

    def _lookup(self, key: KeySet) -> bytes:
        try:
            return self._elements().lookup(self._key.encode(key))
        except KernelError as error:
            if error.errno == ENOENT:
                raise KeyError(key) from None
            raise

    def __setitem__(self, key: KeySet, value: ValueSet) -> None:
        self._elements().update(self._key.encode(key), self._written(value), BPF_ANY)

    def __delitem__(self, key: KeySet) -> None:
        """Delete the element at ``key``; KeyError where there is none."""
        try:
            self._elements().delete(self._key.encode(key))
        except KernelError as error:
            if error.errno == ENOENT:
                raise KeyError(key) from None
            raise

    def add(self, key: KeySet, value: ValueSet) -> None:
        """Set the value at a new key. Raises BpfError where there is one already."""
        self._elements().update(self._key.encode(key), self._written(value), BPF_NOEXIST)

    def __contains__(self, key: KeySet) -> bool:
        try:
            self._lookup(key)
        except KeyError:
            return False
        return True

    @overload
    def get(self, key: KeySet) -> ValueGet | None: ...
    @overload
    def get(self, key: KeySet, default: Default) -> ValueGet | Default: ...
    def get(self, key: KeySet, default: Any = None) -> Any:
        """The value at ``key``, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def items(self) -> Iterator[tuple[KeyGet, ValueGet]]:
        """All keys and values, read in batches; those whose value cannot be read are left out."""
        elements = self._elements()
        size, stride = elements.key_size, elements.value_size
        for batch in self._batches():
            if batch.values is None:
                continue
            for number in range(batch.count):
                key = bytes(batch.keys[number * size : (number + 1) * size])
                value = bytes(batch.values[number * stride : (number + 1) * stride])
                yield self._key.decode(key), self._read(value)

    def keys(self) -> Iterator[KeyGet]:
        """All keys."""
        elements = self._elements()
        size = elements.key_size
        for batch in self._batches():
            for number in range(batch.count):
                yield self._key.decode(bytes(batch.keys[number * size : (number + 1) * size]))

    def values(self) -> Iterator[ValueGet]:
        """All values that can be read."""
        return (value for _, value in self.items())

    def __iter__(self) -> Iterator[KeyGet]:
        return self.keys()

    def __len__(self) -> int:
        """How many elements there are; all keys are read to count them."""
        return sum(batch.count for batch in self._batches())

    def _batches(self) -> Iterator[Batch]:
        for batch in self._elements().batches():
            yield batch
            _ = self.fd  # if it was closed meanwhile, the descriptor may be another map's now

    def __bool__(self) -> bool:
        """True: a map is there, whatever it holds."""
        return True


class Map(_Keyed[KeyGet, KeySet, ValueGet, ValueSet]):
    """``skel.maps.flows[key]``: keys and values of their types.

    A value that is read is a copy; set it again to change the map. Maps of maps and of programs
    take descriptors and give ids.
    """

    def __init__(
        self,
        file: BpfObjectFile,
        name: str,
        key: Codec[KeyGet, KeySet],
        value: Codec[ValueGet, ValueSet],
    ) -> None:
        super().__init__(file, name, key, value)

    def _read(self, data: bytes) -> ValueGet:
        value: ValueGet = self._value.decode(data)
        return value

    def _written(self, value: ValueSet) -> bytes:
        return self._value.encode(value)


class PerCpuMap(
    _Keyed[KeyGet, KeySet, "list[ValueGet]", "Iterable[ValueSet]"],
    Generic[KeyGet, KeySet, ValueGet, ValueSet],
):
    """A map with a value for each possible CPU: a list of them is read, and set."""

    def __init__(
        self,
        file: BpfObjectFile,
        name: str,
        key: Codec[KeyGet, KeySet],
        value: Codec[ValueGet, ValueSet],
    ) -> None:
        super().__init__(file, name, key, value)

    def _read(self, data: bytes) -> list[ValueGet]:
        size, step = self._value.size, self._elements().cpu_stride
        return [self._value.decode(data[at : at + size]) for at in range(0, len(data), step)]

    def _written(self, value: Iterable[ValueSet]) -> bytes:
        elements = self._elements()
        parts = [self._value.encode(one).ljust(elements.cpu_stride, b"\0") for one in value]
        if len(parts) != elements.cpus:
            raise BpfError(
                f"{len(parts)} values are given for {elements.cpus} CPUs; 'set_all' takes one"
            )
        return b"".join(parts)

    def set_all(self, key: KeySet, value: ValueSet) -> None:
        """Set one value on all CPUs."""
        self[key] = [value] * self._elements().cpus


class Queue(AnyMap, Generic[ValueGet, ValueSet]):
    """A queue or stack."""

    def __init__(self, file: BpfObjectFile, name: str, value: Codec[ValueGet, ValueSet]) -> None:
        super().__init__(file, name)
        self._value = value

    def push(self, value: ValueSet) -> None:
        """Put a value in. Raises BpfError where it is full."""
        self._elements().update(None, self._value.encode(value))

    def _taken(self, is_removed: bool) -> ValueGet:
        elements = self._elements()
        try:
            return self._value.decode(elements.pop() if is_removed else elements.lookup(None))
        except KernelError as error:
            if error.errno == ENOENT:
                raise IndexError(f"the map '{self.name}' is empty") from None
            raise

    def pop(self) -> ValueGet:
        """Take the next value out; IndexError where there is none."""
        return self._taken(True)

    def peek(self) -> ValueGet:
        """The next value, which stays; IndexError where there is none."""
        return self._taken(False)
