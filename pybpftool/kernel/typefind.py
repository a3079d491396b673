"""Offsets of struct members and ids of functions in the kernel's BTF, without parsing it.

The type section of a kernel holds more than 100,000 records. Who wants five of them looks
for their names' offsets in it as bytes, which takes about a millisecond.

Layouts: include/uapi/linux/btf.h.
"""

from __future__ import annotations

import posix
from struct import Struct

from pybpftool.records import Record

_HEADER = Struct(
    "<HBBIIIII"
)  # magic, version, flags, hdr_len, type_off, type_len, str_off, str_len
_WORD = Struct("<I")
_WORDS2 = Struct("<II")
_MEMBER = Struct("<III")  # name_off, type, offset
_MAGIC = 0xEB9F
_KIND_STRUCT, _KIND_FUNC, _KIND_FUNC_PROTO = 4, 12, 13
_RECORD = 12  # sizeof(struct btf_type)
_PARAM = 8  # sizeof(struct btf_param)
_STATIC_FUNC = _WORD.pack(_KIND_FUNC << 24)  # btf_type.info of nearly all functions
# How far in to look whether types are sorted: those without a name come first then.
_SAMPLES = tuple(part / 32 for part in range(24, 32))
_NEAR = 1024  # bytes that are searched sooner than divided once more
_SOONER = 7 / 8  # where a search begins, of how far in a record is to be expected
_RESERVED = 0x60FF0000  # bits of btf_type.info that no kind uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap


class _Order(Record):
    """Whether records of functions (pahole 1.31), and all with a name (Linux 7.0), are sorted."""

    functions: bool
    all: bool


class KernelTypes:
    """The BTF of a kernel as bytes to be searched; ``data`` is a whole BTF object.

    Little-endian BTF alone. Raises ValueError for anything else.
    """

    __slots__ = ("_data", "_sorted", "_strings", "_strings_end", "_types", "_types_end")

    def __init__(self, data: bytes | bytearray | mmap) -> None:
        if len(data) < _HEADER.size:
            raise ValueError("truncated BTF")
        magic, _, _, size, type_at, type_len, string_at, string_len = _HEADER.unpack_from(data)
        self._data = data
        self._sorted: _Order | None = None  # not asked for yet
        self._types = size + type_at
        self._types_end = self._types + type_len
        self._strings = size + string_at
        self._strings_end = self._strings + string_len
        if magic != _MAGIC or max(self._types_end, self._strings_end) > len(data):
            raise ValueError("not the BTF of this kernel")

    def _name(self, name: str) -> bytes | None:
        """The offset of a name in the string section, as it stands in records."""
        at = self._data.find(b"\0" + name.encode() + b"\0", self._strings, self._strings_end)
        return None if at < 0 else _WORD.pack(at + 1 - self._strings)

    def _structs(self, name: str) -> Iterator[tuple[int, int]]:
        """Places of what look like the records of a struct, as (place, number of members)."""
        wanted = self._name(name)
        if wanted is None:
            return
        for at in self._places(wanted, name):
            info = _WORD.unpack_from(self._data, at + 4)[0]
            if info >> 24 & 0x1F == _KIND_STRUCT and not info & _RESERVED:
                yield at, info & 0xFFFF

    def _places(self, start: bytes, name: str) -> Iterator[int]:
        """Where records of a name may stand; they begin with ``start``, their name's offset first.

        The search begins where one is likely, and goes on from the beginning.
        """
        first, end = self._types, self._types_end - _RECORD + len(start)
        if self._order().all:
            likely = self._place_in_order(name.encode())
        else:
            # Names stand in the order of the records that use them first, so both are about
            # equally far in.
            share = _WORD.unpack_from(start)[0] / (self._strings_end - self._strings)
            likely = first + int((end - first) * share * _SOONER)
        for begin, stop in ((likely, end), (first, likely + len(start) - 1)):
            at = self._data.find(start, begin, stop)
            while at >= 0:
                if (at - first) % 4 == 0:
                    yield at
                at = self._data.find(start, at + 1, stop)

    def _order(self) -> _Order:
        """Which records stand in the order of their names."""
        if self._sorted is None:
            size = self._types_end - self._types
            functions, all = [], []
            for share in _SAMPLES:
                found = self._function_from(self._types + int(size * share), self._types_end)
                if found is not None:
                    functions.append(found[1])
                    all += [found[1], self._name_at(found[0] + _RECORD)]
            are_sorted = len(functions) == len(_SAMPLES) and functions == sorted(functions)
            self._sorted = _Order(are_sorted, are_sorted and all == sorted(all))
        return self._sorted

    def _place_in_order(self, name: bytes) -> int:
        """A place some records before that of a name, where functions, or all, are sorted."""
        low: int = self._types
        high: int = self._types_end
        while high - low > _NEAR:
            middle = (low + high) // 2
            found = self._function_from(middle, high)
            if found is None or found[1] >= name:
                high = middle
            else:
                low = found[0]
        return low

    def _function_from(self, at: int, end: int) -> tuple[int, bytes] | None:
        """The first record of a function from a place on, and its name."""
        while (at := self._data.find(_STATIC_FUNC, at + 4, end)) >= 0:
            if (at - self._types) % 4 == 0 and (name := self._name_at(at - 4)):
                return at - 4, name
        return None

    def _name_at(self, record: int) -> bytes:
        """The name of the record at a place; empty for one that has none."""
        if record > self._types_end - _RECORD:
            return b""
        begin = self._strings + int(_WORD.unpack_from(self._data, record)[0])
        if begin >= self._strings_end:
            return b""
        return bytes(self._data[begin : self._data.find(b"\0", begin)])

    def offsets(self, struct: str, *members: str) -> tuple[int, ...] | None:
        """Byte offsets of members that stand in a struct itself, None if one is not there."""
        wanted = {self._name(member): index for index, member in enumerate(members)}
        for at, count in self._structs(struct):
            end = at + _RECORD + count * _MEMBER.size
            if not count or end > self._types_end:
                continue
            # With the top bit of info set, the upper byte of an offset is a bit-field's size.
            mask = 0xFFFFFF if self._data[at + 7] >> 7 else 0xFFFFFFFF
            found = {}
            for name, _, bits in _MEMBER.iter_unpack(self._data[at + _RECORD : end]):
                index = wanted.get(_WORD.pack(name))
                if index is not None:
                    found[index] = (bits & mask) >> 3
            if len(found) == len(members):
                return tuple(found[index] for index in range(len(members)))
        return None

    def structs_of(self, size: int, prefix: str, count: int) -> list[str]:
        """The names of structs of ``size`` bytes and ``count`` members that begin with ``prefix``.

        Structs with bit-fields are left out.
        """
        wanted = _WORDS2.pack(_KIND_STRUCT << 24 | count, size)
        start, data = prefix.encode(), self._data
        found = []
        at = data.find(wanted, self._types + 4, self._types_end)
        while at >= 0:
            name = self._strings + _WORD.unpack_from(data, at - 4)[0]
            if (at - self._types) % 4 == 0 and data[name : name + len(start)] == start:
                found.append(data[name : data.find(b"\0", name)].decode("utf-8", "surrogateescape"))
            at = data.find(wanted, at + 4, self._types_end)
        return found

    def function(self, name: str, params: int) -> int | None:
        """The type id of a function, if its record comes right after its prototype's.

        pahole writes them so, unless an earlier function has the same prototype.
        """
        at = None
        if not self._order().all:
            at = self._function_place(name)
        before = (at or 0) - _RECORD - _PARAM * params
        if at is None or before < self._types:
            return None
        prototype = _WORDS2.unpack_from(self._data, before)
        is_next = prototype == (0, _KIND_FUNC_PROTO << 24 | params)
        return int(_WORD.unpack_from(self._data, at + 8)[0]) + 1 if is_next else None

    def _function_place(self, name: str) -> int | None:
        """Where the record of a function is."""
        if self._order().functions:
            wanted = name.encode()
            found = self._function_from(self._place_in_order(wanted), self._types_end)
            while found is not None and found[1] < wanted:
                found = self._function_from(found[0] + _RECORD, self._types_end)
            if found is not None and found[1] == wanted:
                return found[0]
        offset = self._name(name)
        if offset is not None:
            for linkage in (0, 1):  # static, global
                for at in self._places(offset + _WORD.pack(_KIND_FUNC << 24 | linkage), name):
                    return at
        return None


def mapped(path: str = "/sys/kernel/btf/vmlinux") -> KernelTypes | None:
    """The running kernel's types without a copy (Linux 6.16, a539e2a6d51d), None before."""
    from mmap import MAP_PRIVATE, PROT_READ, mmap

    fd = -1
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        return KernelTypes(mmap(fd, 0, flags=MAP_PRIVATE, prot=PROT_READ))
    except (OSError, ValueError):
        return None
    finally:
        if fd >= 0:
            posix.close(fd)


def opened(path: str = "/sys/kernel/btf/vmlinux") -> KernelTypes | None:
    """The running kernel's types, mapped or else read; None where it tells none."""
    types = mapped(path)
    if types is None:
        from pybpftool.reading import contents

        try:
            types = KernelTypes(contents(path))
        except (OSError, ValueError):
            pass
    return types
