"""An open map as a Python mapping: its keys and values by BTF, or as bytes."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from errno import ENOENT

from pybpftool.errors import BpfError, KernelError
from pybpftool.objects.map import Map, read, value_types
from pybpftool.objects.pinned import open_pinned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pybpftool.kernel.interface import Batch, BpfObject, Kernel
    from pybpftool.objects.map import ValueTypes

    Self = TypeVar("Self", bound="OpenMap")
    RawValue = bytes | list[bytes]
    Decoder = Callable[[bytes], Any]


class RawElements(Mapping[bytes, "RawValue"]):
    """The elements of an open map as bytes.

    A per-CPU value is a list of bytes, one for each possible CPU. With :attr:`is_owner`, the map
    is closed with the last reference to this.
    """

    __slots__ = ("_info", "_kernel", "_obj", "_step", "_stride", "is_owner")

    def __init__(self, kernel: Kernel, obj: BpfObject, info: Map) -> None:
        self.is_owner = False
        """Whether nobody else closes the map."""
        self._kernel = kernel
        self._obj: BpfObject | None = obj
        self._info = info
        # Bytes from one CPU's value to the next, and from one element's value to the next.
        self._step = self._stride = info.value_size
        if info.is_per_cpu:
            self._step = (info.value_size + 7) // 8 * 8
            self._stride = self._step * kernel.possible_cpus()

    def close(self) -> None:
        """Give the map back; closing twice is harmless."""
        if self._obj is not None:
            self._kernel.close(self._obj)
            self._obj = None

    def __del__(self) -> None:
        if self.is_owner:
            self.close()

    @property
    def obj(self) -> BpfObject:
        """The open map. Raises BpfError when it is closed."""
        if self._obj is None:
            raise BpfError(f"map {self._info.id} is closed")
        return self._obj

    def _batches(self) -> Iterator[Batch]:
        for batch in self._kernel.elements(self.obj):
            yield batch
            _ = self.obj  # if it was closed meanwhile, its descriptor may be another map's now

    def _value(self, data: bytes) -> RawValue:
        if not self._info.is_per_cpu:
            return data
        size, step = self._info.value_size, self._step
        return [data[at : at + size] for at in range(0, len(data), step)]

    def __getitem__(self, key: bytes) -> RawValue:
        """The value at ``key``; KeyError where there is none."""
        try:
            return self._value(self._kernel.lookup(self.obj, key))
        except KernelError as error:
            if error.errno == ENOENT:
                raise KeyError(key) from None
            raise

    def batches(self) -> Iterator[tuple[list[bytes], list[RawValue]]]:
        """Keys and values in batches as the kernel hands them out, a few thousand at a time.

        An element that is there throughout comes exactly once, whatever others do to
        the map meanwhile. Elements whose value cannot be read are left out.
        """
        key_size, stride = self._info.key_size, self._stride
        one_each = not self._info.is_per_cpu
        for batch in self._batches():
            if batch.values is None:
                continue
            keys, data = batch.keys, batch.values
            values: list[RawValue] = [
                data[at : at + stride] for at in range(0, batch.count * stride, stride or 1)
            ]
            if not one_each:
                values = [self._value(value) for value in values]  # type: ignore[arg-type]  # bytes until here
            yield [keys[at : at + key_size] for at in range(0, len(keys), key_size)], values

    def __iter__(self) -> Iterator[bytes]:
        """All keys, those included whose value cannot be read."""
        key_size = self._info.key_size
        for batch in self._batches():
            for at in range(0, batch.count * key_size, key_size):
                yield batch.keys[at : at + key_size]

    def __len__(self) -> int:
        """How many elements there are; all keys are read to count them, but for an array's."""
        return sum(batch.count for batch in self._batches())

    def items(self) -> ItemsView[bytes, RawValue]:
        """All (key, value) pairs; see :meth:`batches`."""
        return _Items(self)

    def values(self) -> ValuesView[RawValue]:
        """All values; see :meth:`batches`."""
        return _Values(self)


class OpenMap(Mapping["Any", "Any"]):
    """An open map, live or recorded: ``flows[{"saddr": 1}]``, ``flows.items()``, ``len(flows)``.

    >>> with OpenMap.by_id(17, LiveKernel()) as counts:
    ...     for key, value in counts.items():
    ...         print(key, value)

    Keys and values are Python values by the map's BTF: dict, list, int, float, str, bool.
    Without BTF they are bytes; the values of maps of maps, and of programs, are ids. A
    per-CPU value is a list with an item for each possible CPU. A key to look up may be
    given as such a value or as bytes; members left out are zero. :attr:`raw` is the same
    mapping in bytes. All raise :class:`pybpftool.errors.BpfError`, also when the map is closed.

    The map stays open until :meth:`close` or the end of ``with``, or until the last reference
    to this, to :attr:`raw` and to their views is gone; one made of an open ``obj`` leaves that
    to whoever opened it.
    """

    __slots__ = ("forms", "info", "raw")

    def __init__(self, kernel: Kernel, obj: BpfObject, forms: Forms | None = None) -> None:
        self.info = read(kernel, obj)
        """What the kernel says of the map."""
        self.raw = RawElements(kernel, obj, self.info)
        """The elements as bytes."""
        self.forms = Forms(kernel, self.info) if forms is None else forms
        """How keys and values are read, by types that are parsed when they are first needed."""

    @classmethod
    def by_id(cls: type[Self], id: int, kernel: Kernel) -> Self:
        """Open the map with this id."""
        return cls._owning(kernel, kernel.open("map", id))

    @classmethod
    def again(cls: type[Self], id: int, kernel: Kernel, forms: Forms | None) -> Self:
        """Open a map whose :attr:`forms` are known already, if they are."""
        map = cls.by_id(id, kernel)
        map.forms = forms or map.forms
        return map

    @classmethod
    def pinned(cls: type[Self], path: str, kernel: Kernel) -> Self:
        """Open the map that is pinned at ``path``."""
        return cls._owning(kernel, open_pinned(kernel, "map", path))

    @classmethod
    def _owning(cls: type[Self], kernel: Kernel, obj: BpfObject) -> Self:
        try:
            map = cls(kernel, obj)
        except BaseException:
            kernel.close(obj)
            raise
        map.raw.is_owner = True
        return map

    def close(self) -> None:
        """Give the map back; closing twice is harmless."""
        self.raw.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        return f"<{type(self).__name__} {info.id} {info.type_name or info.type} {info.name!r}>"

    # Two open maps are equal when they are one; comparing all elements would read both.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, key: object) -> Any:
        """The value at ``key``; KeyError where there is none."""
        try:
            value = self.raw[self._raw_key(key)]
        except KeyError:
            raise KeyError(key) from None
        return self._decode(value)

    def __contains__(self, key: object) -> bool:
        return self._raw_key(key) in self.raw

    def __iter__(self) -> Iterator[Any]:
        decode = self.forms.both()[0]
        for key in self.raw:
            yield decode(key)

    def __len__(self) -> int:
        """How many elements there are; all are read to count them."""
        return len(self.raw)

    def keys(self) -> KeysView[Any]:
        """All keys, those included whose value cannot be read."""
        return KeysView(self)

    def items(self) -> ItemsView[Any, Any]:
        """All (key, value) pairs; see :meth:`batches`."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """All values; see :meth:`batches`."""
        return _Values(self)

    def batches(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """As :meth:`RawElements.batches`, as Python values."""
        decode_key, decode_value = self.forms.both()
        for keys, values in self.raw.batches():
            decoded = [
                [decode_value(one) for one in each]
                if isinstance(each, list)
                else decode_value(each)
                for each in values
            ]
            yield [decode_key(key) for key in keys], decoded

    def decode(self, data: bytes) -> Any:
        """One value of one CPU as a Python value."""
        return self.forms.both()[1](data)

    def decode_key(self, data: bytes) -> Any:
        """A key as a Python value."""
        return self.forms.both()[0](data)

    def encode_key(self, key: object) -> bytes:
        """The bytes of a key: a Python value, or a C initializer like ``"{.pid = 1}"``."""
        types = self.forms.types()
        return _encoded(types, types.key_id if types else 0, key, self.info.key_size, self)

    def encode_value(self, value: object) -> bytes:
        """The bytes of a value, given as for :meth:`encode_key`."""
        types = self.forms.types()
        return _encoded(types, types.value_id if types else 0, value, self.info.value_size, self)

    def pattern(self, text: str, is_key: bool = False) -> tuple[int, int]:
        """What an initializer says of a value or key: (value, mask), as little-endian numbers.

        The mask has the bits that it names. Without BTF the text is hexadecimal bytes or, as
        everywhere, a number.
        """
        types = self.forms.types()
        size = self.info.key_size if is_key else self.info.value_size
        type_id = 0
        if types is not None:
            type_id = types.key_id if is_key else types.value_id
        if types is None or not type_id:
            return int.from_bytes(_plain_bytes(text, size, self.byteorder), "little"), -1
        from pybpftool.btf.initializer import encode

        first, second = (encode(types.btf, type_id, text, size, fill) for fill in (0, 0xFF))
        value = int.from_bytes(first, "little")
        return value, ~(value ^ int.from_bytes(second, "little"))

    def _raw_key(self, key: object) -> bytes:
        if isinstance(key, bytes) and len(key) == self.info.key_size:
            return key
        return self.encode_key(key)

    def _decode(self, value: RawValue) -> Any:
        decode = self.forms.both()[1]
        if isinstance(value, list):
            return [decode(one) for one in value]
        return decode(value)

    @property
    def byteorder(self) -> Any:
        """``little`` or ``big``: that of the kernel."""
        return self.forms.byteorder


class Forms:
    """How a map's keys and values are read and written; holds nothing open.

    Types are parsed when they are first needed, once.
    """

    __slots__ = ("_decoders", "_info", "_kernel", "_types", "byteorder")

    def __init__(self, kernel: Kernel, info: Map) -> None:
        self._kernel = kernel
        self._info = info
        self._types: ValueTypes | bool | None = False
        self._decoders: tuple[Decoder, Decoder] | None = None
        self.byteorder: Any = "little" if kernel.byteorder == "<" else "big"
        """``little`` or ``big``: that of the kernel."""

    def types(self) -> ValueTypes | None:
        """The types of keys and values, None where the map has no BTF."""
        if self._types is False:
            self._types = value_types(self._kernel, self._info)
        return self._types  # type: ignore[return-value]  # not False any more

    def both(self) -> tuple[Decoder, Decoder]:
        """What makes Python values of keys and of values."""
        if self._decoders is None:
            info, types = self._info, self.types()
            key = _decoder(types, types.key_id if types else 0)
            if info.traits.holds and info.value_size == 4:
                order = self.byteorder
                value: Decoder = lambda data: int.from_bytes(data, order)  # noqa: E731
            else:
                value = _decoder(types, types.value_id if types else 0)
            self._decoders = key, value
        return self._decoders


class _Items(ItemsView["Any", "Any"]):
    """The pairs of a map, read in batches."""

    __slots__ = ()

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for keys, values in self._mapping.batches():  # type: ignore[attr-defined]  # an OpenMap
            yield from zip(keys, values)


class _Values(ValuesView["Any"]):
    """The values of a map, read in batches."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        for _, values in self._mapping.batches():  # type: ignore[attr-defined]  # an OpenMap
            yield from values


def _decoder(types: ValueTypes | None, type_id: int) -> Decoder:
    if types is None or not type_id:
        return bytes
    from pybpftool.btf.builders import compile_numbers

    build = compile_numbers(types.btf, type_id)
    return lambda data: build(data, 0)


def _encoded(
    types: ValueTypes | None, type_id: int, value: object, size: int, map: OpenMap
) -> bytes:
    """The ``size`` bytes of a Python value, by BTF where there is some."""
    if isinstance(value, bytes) and len(value) == size:
        return value
    if types is None or not type_id:
        if isinstance(value, int) and size in (1, 2, 4, 8):
            try:
                return value.to_bytes(size, map.byteorder, signed=value < 0)
            except OverflowError:
                raise BpfError(f"{value} does not fit {size} bytes") from None
        raise BpfError(f"map {map.info.id} has no BTF to encode {value!r} by; give {size} bytes")
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "="):
        from pybpftool.btf.initializer import encode

        return encode(types.btf, type_id, value, size)
    from pybpftool.btf.fitting import encode_python

    return encode_python(types.btf, type_id, value, size)


def _plain_bytes(text: str, size: int, byteorder: Any) -> bytes:
    """Bytes of a size: all of them in hexadecimal, or a number."""
    from pybpftool.cnumber import c_number

    words = text.split()
    number = c_number(words[0]) if len(words) == 1 else None
    try:
        if number is not None and len(words[0]) != 2 * size:
            return number.to_bytes(size, byteorder)
        data = bytes.fromhex("".join(words))
    except (ValueError, OverflowError):
        data = b""
    if len(data) != size:
        raise BpfError(f"'{text}' is neither a number nor {size} hexadecimal bytes")
    return data
