"""Reading BTF: types, names, members, sizes (``include/uapi/linux/btf.h``).

Everything is read on demand, see :mod:`pybpftool.btf.section`.
"""

from __future__ import annotations

import struct

from pybpftool.btf.section import TypeSection
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    DATASEC,
    ENUM,
    ENUM64,
    ENUMS,
    FUNC_PROTO,
    FWD,
    INT,
    KIND_MAX,
    KIND_NAMES,
    MODIFIERS,
    NUMBERS,
    PTR,
    SIZED,
    SIZED_BY_TARGET,
    STRUCT,
    TYPEDEF,
    UNION,
    VAR,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from mmap import mmap


MAX_RESOLVE_DEPTH = 32  # of libbpf: longer chains of references count as broken

# Names under which compilers know `long`; its size is the target's pointer size.
_LONG_NAMES = frozenset(
    (
        "long", "long int", "int long", "unsigned long", "long unsigned", "unsigned long int",
        "unsigned int long", "long unsigned int", "long int unsigned", "int unsigned long",
        "int long unsigned",
    )
)  # fmt: skip

_U32 = 0xFFFFFFFF


class Type:
    """One type's fixed part (``struct btf_type``).

    ``size_or_type`` is a size in bytes or a type id, as the kind has it;
    ``name`` is empty for anonymous types.
    """

    __slots__ = ("kind", "kind_flag", "name", "name_off", "size_or_type", "vlen")

    def __init__(self, name: str, name_off: int, info: int, size_or_type: int) -> None:
        self.name = name
        self.name_off = name_off
        self.kind = info >> 24 & 0x7F
        self.vlen = info & 0xFFFFFF
        self.kind_flag = info >> 31
        self.size_or_type = size_or_type

    def __repr__(self) -> str:
        kind = KIND_NAMES[self.kind] if self.kind <= KIND_MAX else str(self.kind)
        return f"<{kind} {self.name!r} size/type={self.size_or_type} vlen={self.vlen}>"


class Member:
    """A struct's or union's member: offset and width in bits (width 0: not a bit-field)."""

    __slots__ = ("bit_offset", "bit_size", "name", "type_id")

    def __init__(self, name: str, type_id: int, bit_offset: int, bit_size: int) -> None:
        self.name = name
        self.type_id = type_id
        self.bit_offset = bit_offset
        self.bit_size = bit_size

    def __repr__(self) -> str:
        width = f":{self.bit_size}" if self.bit_size else ""
        return f"<{self.name!r} type {self.type_id} at bit {self.bit_offset}{width}>"


class Btf(TypeSection):
    """The types of one BTF object; split BTF continues the ids of its ``base``.

    Type ids count from 1; 0 is ``void``. Methods raise :class:`FormatError` for
    ids and names that the data does not have.
    """

    __slots__ = ("_aligns", "_by_name", "_pointer_size", "is_of_machine")

    base: Btf | None

    def __init__(self, data: bytes | mmap, base: Btf | None, is_trusted: bool) -> None:
        super().__init__(data, base)
        self._pointer_size = 0
        self.is_of_machine = False
        """Whether an ELF file tells that it is of another machine than BPF."""
        self._aligns: dict[int, int] = {}
        self._by_name: dict[str, list[int]] | None = None
        if not is_trusted:
            self._scan(1 << 62)
            self.check()

    @classmethod
    def from_bytes(
        cls, data: bytes | mmap, base: Btf | None = None, is_trusted: bool = False
    ) -> Btf:
        """Parse raw BTF; raises :class:`FormatError`.

        All ids and names are checked, unless ``is_trusted`` (the kernel verified
        the data): then what is wrong shows when it is read.
        """
        return cls(data, base, is_trusted)

    def parts(self) -> list[Btf]:
        """The object itself and its bases."""
        return [self] if self.base is None else [self, *self.base.parts()]

    def type(self, type_id: int) -> Type:
        """The type's fixed part."""
        words, at = self.at(type_id)
        name_off = words[at - 1]
        return Type(self.names[name_off] if name_off else "", name_off, words[at], words[at + 1])

    def name(self, type_id: int) -> str:
        """The type's name; empty when it has none."""
        words, at = self.at(type_id)
        offset = words[at - 1]
        return self.names[offset] if offset else ""

    def string(self, offset: int) -> str | None:
        """The string at an offset into the string section; None beyond its end."""
        if offset >= self.string_end:
            return None
        return self.names[offset]

    def find(self, name: str, kind: int | None = None) -> int | None:
        """The lowest id of a type with this name (and kind)."""
        if self.base is not None:
            found = self.base.find(name, kind)
            if found is not None:
                return found
        if self._by_name is None:
            self._index()
        assert self._by_name is not None
        for type_id in self._by_name.get(name, ()):
            if kind is None or self.kind(type_id) == kind:
                return type_id
        return None

    def _index(self) -> None:
        self._scan(1 << 62)
        words = self.words
        names = self.names
        index: dict[str, list[int]] = {}
        for type_id, at in enumerate(self._offsets, self.start_id):
            offset = words[at - 1]
            if offset:
                index.setdefault(names[offset], []).append(type_id)
        self._by_name = index

    def _elements(self, type_id: int, kinds: tuple[int, ...], size: int) -> tuple[int, list[int]]:
        words, at = self.at(type_id)
        info = words[at]
        if info >> 24 & 0x7F not in kinds:
            expected = " or ".join(KIND_NAMES[kind] for kind in kinds)
            raise FormatError(f"type [{type_id}] is not of kind {expected}")
        elements = list(words[at + 2 : at + 2 + size * (info & 0xFFFFFF)])
        if len(elements) != size * (info & 0xFFFFFF):
            raise FormatError(f"the BTF's type [{type_id}] is cut off")
        return info, elements

    def members(self, type_id: int) -> list[Member]:
        """The members of a struct or union."""
        info, flat = self._elements(type_id, (STRUCT, UNION), 3)
        names = self.names
        if info >> 31:
            return [
                Member(names[name], member, where & 0xFFFFFF, where >> 24)
                for name, member, where in zip(flat[::3], flat[1::3], flat[2::3])
            ]
        return [
            Member(names[name], member, where, 0)
            for name, member, where in zip(flat[::3], flat[1::3], flat[2::3])
        ]

    def params(self, type_id: int) -> list[tuple[str, int]]:
        """The parameters of a function prototype as (name, type id); void last means ``...``."""
        _, flat = self._elements(type_id, (FUNC_PROTO,), 2)
        names = self.names
        return [(names[name], param) for name, param in zip(flat[::2], flat[1::2])]

    def enumerators(self, type_id: int) -> list[tuple[str, int]]:
        """The (name, value) pairs of an ENUM or ENUM64, signed if the enum is."""
        if self.kind(type_id) == ENUM64:
            info, flat = self._elements(type_id, (ENUM64,), 3)
            values = [low | high << 32 for low, high in zip(flat[1::3], flat[2::3])]
            bits = 64
            offsets = flat[::3]
        else:
            info, flat = self._elements(type_id, (ENUM, ENUM64), 2)
            values = flat[1::2]
            bits = 32
            offsets = flat[::2]
        if info >> 31:
            sign = 1 << (bits - 1)
            values = [(value ^ sign) - sign for value in values]
        names = self.names
        return [(names[offset], value) for offset, value in zip(offsets, values)]

    def secinfos(self, type_id: int) -> list[tuple[int, int, int]]:
        """The variables of a DATASEC as (type id of the VAR, offset, size) in bytes."""
        _, flat = self._elements(type_id, (DATASEC,), 3)
        return list(zip(flat[::3], flat[1::3], flat[2::3]))

    def array(self, type_id: int) -> tuple[int, int, int]:
        """An array's (element type id, index type id, number of elements)."""
        words, at = self.at(type_id)
        if words[at] >> 24 & 0x7F != ARRAY:
            raise FormatError(f"type [{type_id}] is not an ARRAY")
        return words[at + 2], words[at + 3], words[at + 4]

    def int_info(self, type_id: int) -> tuple[int, int, int]:
        """An INT's (encoding, bit offset, number of bits)."""
        words, at = self.at(type_id)
        if words[at] >> 24 & 0x7F != INT:
            raise FormatError(f"type [{type_id}] is not an INT")
        word = words[at + 2]
        return word >> 24 & 0xF, word >> 16 & 0xFF, word & 0xFF

    @property
    def pointer_size(self) -> int:
        """Bytes of a pointer: as told by an ELF file, or else by the size of ``long``."""
        return self.declared_pointer_size or struct.calcsize("P")

    @pointer_size.setter
    def pointer_size(self, size: int) -> None:
        self._pointer_size = size

    @property
    def declared_pointer_size(self) -> int:
        """As :attr:`pointer_size`; 0 when the types do not tell."""
        if not self._pointer_size:
            self._pointer_size = self._find_pointer_size() or -1
        return max(self._pointer_size, 0)

    def _find_pointer_size(self) -> int:
        if self.base is not None:
            size = self.base.declared_pointer_size
            if size:
                return size
        type_id = self.start_id
        names = self.names
        while True:
            try:
                words, at = self.at(type_id)
            except FormatError:
                return 0
            if words[at] >> 24 & 0x7F == INT:
                size = words[at + 1]
                if (size == 8 or size == 4) and names[words[at - 1]] in _LONG_NAMES:
                    return size
            type_id += 1

    def resolve(self, type_id: int) -> int | None:
        """The type behind typedefs, modifiers and variables.

        None for void, forward declarations and chains of 32 and more
        (``btf__resolve_type()``).
        """
        for _ in range(MAX_RESOLVE_DEPTH):
            words, at = self.at(type_id)
            kind = words[at] >> 24 & 0x7F
            if kind == FWD or type_id == 0:
                return None
            if kind not in MODIFIERS and kind != TYPEDEF and kind != VAR:
                return type_id
            type_id = words[at + 1]
        return None

    def size_of(self, type_id: int) -> int | None:
        """Size in bytes; None where the type has none (``btf__resolve_size()``)."""
        elements = 1
        for _ in range(MAX_RESOLVE_DEPTH):
            words, at = self.at(type_id)
            kind = words[at] >> 24 & 0x7F
            if kind in SIZED:
                size = words[at + 1]
            elif kind == PTR:
                size = self.pointer_size
            elif kind in SIZED_BY_TARGET:
                type_id = words[at + 1]
                continue
            elif kind == ARRAY:
                count = words[at + 4]
                if elements and count > _U32 // elements:
                    return None
                elements *= count
                type_id = words[at + 2]
                continue
            else:
                return None
            if elements and size > _U32 // elements:
                return None
            return elements * size
        return None

    def align_of(self, type_id: int) -> int:
        """Natural alignment in bytes; 1 for packed structs, 0 where there is none."""
        return self._align(type_id, 0)

    def _align(self, type_id: int, depth: int) -> int:
        known = self._aligns.get(type_id)
        if known is not None:
            return known
        chain = []
        while True:
            words, at = self.at(type_id)
            kind = words[at] >> 24 & 0x7F
            if kind == ARRAY:
                chain.append(type_id)
                type_id = words[at + 2]
            elif kind == TYPEDEF or kind in MODIFIERS:
                chain.append(type_id)
                type_id = words[at + 1]
            else:
                break
            if len(chain) > 1 << 16:
                raise FormatError(f"the BTF's type [{type_id}] refers to itself")
        align = self._aligns.get(type_id)
        if align is None:
            if kind in NUMBERS or kind in ENUMS:
                align = min(self.pointer_size, words[at + 1])
            elif kind == PTR:
                align = self.pointer_size
            elif kind in COMPOSITE:
                if depth > 200:
                    raise FormatError(f"the BTF's type [{type_id}] contains itself")
                align = self._align_struct(words, at, depth)
            else:
                align = 0
            self._aligns[type_id] = align
        for link in chain:
            self._aligns[link] = align
        return align

    def _align_struct(self, words: Sequence[int], at: int, depth: int) -> int:
        info = words[at]
        largest = 1
        for element in range(at + 2, at + 2 + 3 * (info & 0xFFFFFF), 3):
            align = self._align(words[element + 1], depth + 1)
            if align <= 0:
                return 0
            largest = max(largest, align)
            where = words[element + 2]
            # The whole word counts, a bit-field size included, as in libbpf.
            if (not info >> 31 or not where >> 24) and where % (8 * align):
                return 1
        return 1 if words[at + 1] % largest else largest

    def check(self) -> None:
        """Check every id and name offset, as libbpf does when it opens BTF."""
        from pybpftool.btf.check import check

        check(self)
