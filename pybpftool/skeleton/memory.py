"""Memory that BPF programs share, as typed Python: structs, arrays and numbers in their places.

A :class:`Codec` knows how one type lies in memory, a :class:`Field` is a codec at an offset of
a :class:`Struct`. A struct or array that is read is a window: what is set in it is set in the
memory that it was read from.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from operator import index
from typing import Any, Generic, TypeVar, overload

from pybpftool.errors import BpfError

Get = TypeVar("Get")
Set = TypeVar("Set")
ElementGet = TypeVar("ElementGet")
ElementSet = TypeVar("ElementSet")
AnyStruct = TypeVar("AnyStruct", bound="Struct")

_ORDER: Any = sys.byteorder


class Memory:
    """Bytes that may move: what windows refer to."""

    __slots__ = ("_view", "what")

    def __init__(self, view: memoryview, what: str = "") -> None:
        self._view: memoryview | None = view
        self.what = what
        """What it is, for sentences."""

    @property
    def view(self) -> memoryview:
        """The bytes. Raises BpfError once they are gone."""
        if self._view is None:
            raise BpfError(f"{self.what or 'this memory'} is closed")
        return self._view

    def move(self, view: memoryview | None) -> None:
        """Refer to other bytes from now on; None for no more."""
        old, self._view = self._view, view
        if old is not None:
            old.release()

    def writable(self) -> memoryview:
        """The bytes to be written. Raises BpfError where programs alone may."""
        view = self.view
        if view.readonly:
            raise BpfError(f"{self.what or 'this memory'} cannot be changed once it is loaded")
        return view


class Codec(Generic[Get, Set]):
    """One type: how large it is, how it is read and written."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, memory: Memory, at: int) -> Get:
        """The value at a place."""
        raise NotImplementedError

    def write(self, memory: Memory, at: int, value: Set) -> None:
        """Put a value at a place; raises BpfError where it does not fit."""
        raise NotImplementedError

    def decode(self, data: bytes) -> Get:
        """The value that some bytes are."""
        return self.read(Memory(memoryview(bytearray(data))), 0)

    def encode(self, value: Set) -> bytes:
        """The bytes of a value."""
        data = bytearray(self.size)
        self.write(Memory(memoryview(data)), 0, value)
        return bytes(data)


class Integer(Codec[int, int]):
    """A number of 1, 2, 4, 8 or 16 bytes; pointers are such numbers."""

    __slots__ = ("_is_signed",)

    def __init__(self, size: int, is_signed: bool = False) -> None:
        super().__init__(size)
        self._is_signed = is_signed

    def read(self, memory: Memory, at: int) -> int:
        data = memory.view[at : at + self.size]
        return int.from_bytes(data, _ORDER, signed=self._is_signed)

    def write(self, memory: Memory, at: int, value: int) -> None:
        try:
            data = index(value).to_bytes(self.size, _ORDER, signed=self._is_signed)
        except OverflowError:
            sign = "signed" if self._is_signed else "unsigned"
            raise BpfError(f"{value} does not fit {self.size} {sign} bytes") from None
        memory.writable()[at : at + self.size] = data


class Boolean(Codec[bool, bool]):
    """``bool``."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(1)

    def read(self, memory: Memory, at: int) -> bool:
        return bool(memory.view[at])

    def write(self, memory: Memory, at: int, value: bool) -> None:
        memory.writable()[at] = bool(value)


class Floating(Codec[float, float]):
    """``float`` or ``double``."""

    __slots__ = ("_format",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._format = {4: "=f", 8: "=d"}[size]

    def read(self, memory: Memory, at: int) -> float:
        value: float = struct.unpack_from(self._format, memory.view, at)[0]
        return value

    def write(self, memory: Memory, at: int, value: float) -> None:
        try:
            struct.pack_into(self._format, memory.writable(), at, value)
        except (OverflowError, struct.error):
            raise BpfError(f"{value!r} does not fit a number of {self.size} bytes") from None


class Chars(Codec[bytes, bytes]):
    """``char[N]``: the bytes before the first zero; shorter values are filled with zeros."""

    __slots__ = ()

    def read(self, memory: Memory, at: int) -> bytes:
        return bytes(memory.view[at : at + self.size]).partition(b"\0")[0]

    def write(self, memory: Memory, at: int, value: bytes) -> None:
        if len(value) > self.size:
            raise BpfError(f"{len(value)} bytes do not fit char[{self.size}]")
        memory.writable()[at : at + self.size] = value.ljust(self.size, b"\0")


class Blob(Codec[bytes, bytes]):
    """Bytes of a type that Python has nothing for, or that nobody tells: all of them."""

    __slots__ = ()

    def read(self, memory: Memory, at: int) -> bytes:
        return bytes(memory.view[at : at + self.size])

    def write(self, memory: Memory, at: int, value: bytes) -> None:
        if len(value) != self.size:
            raise BpfError(f"{len(value)} bytes are given for {self.size}")
        memory.writable()[at : at + self.size] = value


class EnumOf(Codec[int, int]):
    """A C enum: a member of the Python enum, or a plain number that it has no name for."""

    __slots__ = ("_kind", "_number")

    def __init__(self, kind: type[int], size: int, is_signed: bool = False) -> None:
        super().__init__(size)
        self._kind = kind
        self._number = Integer(size, is_signed)

    def read(self, memory: Memory, at: int) -> int:
        value = self._number.read(memory, at)
        try:
            return self._kind(value)
        except ValueError:
            return value

    def write(self, memory: Memory, at: int, value: int) -> None:
        self._number.write(memory, at, value)


class StructOf(Codec[AnyStruct, AnyStruct]):
    """A struct or union by its class."""

    __slots__ = ("_kind",)

    def __init__(self, kind: type[AnyStruct]) -> None:
        super().__init__(kind._size)
        self._kind = kind

    def read(self, memory: Memory, at: int) -> AnyStruct:
        return self._kind._at(memory, at)

    def write(self, memory: Memory, at: int, value: AnyStruct) -> None:
        if not isinstance(value, self._kind):
            raise BpfError(f"{value!r} is no {self._kind.__name__}")
        memory.writable()[at : at + self.size] = bytes(value)


class ArrayOf(
    Codec["Array[ElementGet, ElementSet]", "Iterable[ElementSet]"], Generic[ElementGet, ElementSet]
):
    """An array of ``count`` elements; a shorter value leaves the rest zero."""

    __slots__ = ("_count", "_element")

    def __init__(self, element: Codec[ElementGet, ElementSet], count: int) -> None:
        super().__init__(element.size * count)
        self._element = element
        self._count = count

    def read(self, memory: Memory, at: int) -> Array[ElementGet, ElementSet]:
        return Array(memory, at, self._element, self._count)

    def write(self, memory: Memory, at: int, value: Iterable[ElementSet]) -> None:
        values = list(value)
        if len(values) > self._count:
            raise BpfError(f"{len(values)} values are given for an array of {self._count}")
        # Made aside: nothing changes if one of them does not fit.
        data = Memory(memoryview(bytearray(self.size)))
        for number, one in enumerate(values):
            self._element.write(data, number * self._element.size, one)
        memory.writable()[at : at + self.size] = data.view


class Array(Generic[ElementGet, ElementSet]):
    """A window on an array: ``counts[3] += 1``, ``list(counts)``, ``len(counts)``."""

    __slots__ = ("_count", "_element", "_memory", "_offset")

    def __init__(
        self, memory: Memory, offset: int, element: Codec[ElementGet, ElementSet], count: int
    ) -> None:
        self._memory = memory
        self._offset = offset
        self._element = element
        self._count = count

    def _place(self, number: int) -> int:
        at = number + self._count if number < 0 else number
        if not 0 <= at < self._count:
            raise IndexError(f"{number} is not in an array of {self._count}")
        return self._offset + at * self._element.size

    def __getitem__(self, number: int) -> ElementGet:
        return self._element.read(self._memory, self._place(number))

    def __setitem__(self, number: int, value: ElementSet) -> None:
        self._element.write(self._memory, self._place(number), value)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ElementGet]:
        for number in range(self._count):
            yield self[number]

    def __bytes__(self) -> bytes:
        end = self._offset + self._count * self._element.size
        return bytes(self._memory.view[self._offset : end])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            return bytes(self) == other
        if isinstance(other, (Array, list, tuple)):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


class Field(Generic[Get, Set]):
    """A member of a struct, or a variable of a section: a codec at an offset in bytes."""

    __slots__ = ("_codec", "_offset")

    def __init__(self, offset: int, codec: Codec[Get, Set]) -> None:
        self._offset = offset
        self._codec = codec

    @overload
    def __get__(self, instance: None, owner: Any) -> Field[Get, Set]: ...
    @overload
    def __get__(self, instance: Window, owner: Any) -> Get: ...
    def __get__(self, instance: Window | None, owner: Any) -> Field[Get, Set] | Get:
        if instance is None:
            return self
        return self._codec.read(instance._memory, instance._offset + self._offset)

    def __set__(self, instance: Window, value: Set) -> None:
        self._codec.write(instance._memory, instance._offset + self._offset, value)


class _BitNumber(Codec[int, int]):
    """A bit-field in the bytes that it touches; ``first`` counts bits as the machine does."""

    __slots__ = ("_first", "_is_signed", "_width")

    def __init__(self, first: int, width: int, is_signed: bool) -> None:
        super().__init__((first + width + 7) // 8)
        self._width = width
        self._is_signed = is_signed
        # Bit 0 is the lowest of a little-endian machine's byte, the highest of another's.
        self._first = first if _ORDER == "little" else 8 * self.size - first - width

    def read(self, memory: Memory, at: int) -> int:
        number = int.from_bytes(memory.view[at : at + self.size], _ORDER)
        value = number >> self._first & (1 << self._width) - 1
        if self._is_signed and value >> self._width - 1:
            value -= 1 << self._width
        return value

    def write(self, memory: Memory, at: int, value: int) -> None:
        width = self._width
        least, most = (-(1 << width - 1), 1 << width - 1) if self._is_signed else (0, 1 << width)
        if not least <= value < most:
            raise BpfError(f"{value} does not fit {width} bits")
        view = memory.writable()
        number = int.from_bytes(view[at : at + self.size], _ORDER)
        mask = (1 << width) - 1
        number = number & ~(mask << self._first) | (value & mask) << self._first
        view[at : at + self.size] = number.to_bytes(self.size, _ORDER)


class Bits(Field[int, int]):
    """A bit-field: where it begins, in bits, and how many it has."""

    __slots__ = ()

    def __init__(self, bit_offset: int, width: int, is_signed: bool = False) -> None:
        super().__init__(bit_offset // 8, _BitNumber(bit_offset % 8, width, is_signed))


class Window:
    """Something with fields, at a place in memory."""

    __slots__ = ("_memory", "_offset")

    _memory: Memory
    _offset: int

    @classmethod
    def _fields(cls) -> Iterator[str]:
        """The names of the fields, in the order of their definition."""
        return (name for name, value in vars(cls).items() if isinstance(value, Field))

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in self._fields()])
        return f"{type(self).__name__}({shown})"


class Struct(Window):
    """A struct or union; without arguments all zeros, and a window where it was read."""

    __slots__ = ()

    _size = 0

    def __init__(self, **values: Any) -> None:
        self._memory = Memory(memoryview(bytearray(self._size)))
        self._offset = 0
        for name, value in values.items():
            # What is zero is zero already, and may share its place with what is not.
            if value is not None and value not in (0, b"", ()):
                setattr(self, name, value)

    @classmethod
    def _at(cls: type[AnyStruct], memory: Memory, offset: int) -> AnyStruct:
        window = cls.__new__(cls)
        window._memory, window._offset = memory, offset
        return window

    def __bytes__(self) -> bytes:
        return bytes(self._memory.view[self._offset : self._offset + self._size])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bytes(self) == bytes(other)

    def __hash__(self) -> int:
        """That of its bytes: do not change what is a key of a dict."""
        return hash(bytes(self))


I8, I16, I32, I64, I128 = (Integer(size, True) for size in (1, 2, 4, 8, 16))
U8, U16, U32, U64, U128 = (Integer(size) for size in (1, 2, 4, 8, 16))
F32, F64 = Floating(4), Floating(8)
BOOL = Boolean()
POINTER = Integer(8)
