"""Builder of raw BTF (`linux/btf.h`): every kind, both byte orders, standalone or split.

Each `add_*` returns the new type's id.  Sizes are in bytes, member offsets in bits.  `build()`
gives the blob that BPF_BTF_LOAD takes: 24-byte header, type section, string section.

    btf = BtfBuilder()
    u32 = btf.add_int("unsigned int", 4)
    proto = btf.add_func_proto(u32, [("ctx", btf.add_ptr(0))])
    main = btf.add_func("main", proto)
    blob = btf.build()
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Literal, Union

KINDS = {
    "int": 1,
    "ptr": 2,
    "array": 3,
    "struct": 4,
    "union": 5,
    "enum": 6,
    "fwd": 7,
    "typedef": 8,
    "volatile": 9,
    "const": 10,
    "restrict": 11,
    "func": 12,
    "func_proto": 13,
    "var": 14,
    "datasec": 15,
    "float": 16,
    "decl_tag": 17,
    "type_tag": 18,
    "enum64": 19,
}
# Encoding bits of INT.
SIGNED, CHAR, BOOL = 1, 2, 4
# Linkage of FUNC and VAR.
STATIC, GLOBAL, EXTERN = 0, 1, 2
BTF_MAGIC = 0xEB9F

Order = Literal["little", "big"]
# (name, type id, bit offset) or (name, type id, bit offset, bitfield size)
Member = Union[tuple[str, int, int], tuple[str, int, int, int]]


class BtfBuilder:
    """Collects types and strings; ids count from 1 (or from `first_id` for split BTF).

    `base_strings` is the length of the base's string section when the BTF is split: offsets of
    own strings follow on from it, as libbpf and the kernel lay them out.
    """

    def __init__(
        self, order: Order = "little", *, first_id: int = 1, base_strings: int = 0
    ) -> None:
        self.order = order
        self._mark = "<" if order == "little" else ">"
        self._types: list[bytes] = []
        self._first_id = first_id
        self._base_strings = base_strings
        # Standalone BTF starts its strings with the empty one; split BTF shares the base's.
        self._strings = bytearray() if base_strings else bytearray(b"\0")
        self._offsets: dict[bytes, int] = {b"": 0}

    @property
    def next_id(self) -> int:
        """The id that the next added type gets: lets types refer to themselves."""
        return self._first_id + len(self._types)

    def string(self, text: str | bytes) -> int:
        """Offset of `text` in the string section, added when it is new."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if data not in self._offsets:
            self._offsets[data] = self._base_strings + len(self._strings)
            self._strings += data + b"\0"
        return self._offsets[data]

    def pack(self, layout: str, *values: int) -> bytes:
        """`struct.pack` in this builder's byte order."""
        return struct.pack(self._mark + layout, *values)

    def add_raw(
        self,
        kind: int,
        name: str | bytes,
        size_or_type: int,
        tail: bytes = b"",
        *,
        vlen: int = 0,
        kflag: bool = False,
        name_off: int | None = None,
    ) -> int:
        """Add a type as it comes, valid or not: for tests of parsers.  Returns its id."""
        info = vlen & 0xFFFF | (kind & 0x1F) << 24 | (1 << 31 if kflag else 0)
        offset = self.string(name) if name_off is None else name_off
        self._types.append(self.pack("III", offset, info, size_or_type & 0xFFFFFFFF) + tail)
        return self._first_id + len(self._types) - 1

    def add_int(
        self, name: str, size: int, encoding: int = 0, *, bits: int | None = None, offset: int = 0
    ) -> int:
        """INT of `size` bytes; `encoding` of SIGNED, CHAR, BOOL; `bits` when narrower."""
        width = size * 8 if bits is None else bits
        return self.add_raw(
            KINDS["int"], name, size, self.pack("I", encoding << 24 | offset << 16 | width)
        )

    def add_ptr(self, target: int) -> int:
        """Pointer; target 0 is `void *`."""
        return self.add_raw(KINDS["ptr"], "", target)

    def add_array(self, element: int, index: int, count: int) -> int:
        """`element[count]`; `index` is the type of the index, an int."""
        return self.add_raw(KINDS["array"], "", 0, self.pack("III", element, index, count))

    def _composite(self, kind: str, name: str, size: int, members: Sequence[Member]) -> int:
        self.string(name)
        fields = [(m[0], m[1], m[2], m[3] if len(m) == 4 else 0) for m in members]
        kflag = any(bits for _, _, _, bits in fields)
        tail = b"".join(
            self.pack("III", self.string(label), type_id, bits << 24 | offset if kflag else offset)
            for label, type_id, offset, bits in fields
        )
        return self.add_raw(KINDS[kind], name, size, tail, vlen=len(fields), kflag=kflag)

    def add_struct(self, name: str, size: int, members: Sequence[Member] = ()) -> int:
        """STRUCT; a member with a fourth item is a bitfield of so many bits (sets kind_flag)."""
        return self._composite("struct", name, size, members)

    def add_union(self, name: str, size: int, members: Sequence[Member] = ()) -> int:
        """UNION; members as in `add_struct`."""
        return self._composite("union", name, size, members)

    def add_enum(
        self, name: str, values: Sequence[tuple[str, int]], size: int = 4, *, signed: bool = False
    ) -> int:
        """ENUM with 32-bit values; `signed` sets kind_flag."""
        self.string(name)
        tail = b"".join(self.pack("II", self.string(k), v & 0xFFFFFFFF) for k, v in values)
        return self.add_raw(KINDS["enum"], name, size, tail, vlen=len(values), kflag=signed)

    def add_enum64(
        self, name: str, values: Sequence[tuple[str, int]], size: int = 8, *, signed: bool = False
    ) -> int:
        """ENUM64; the halves are stored low first in both byte orders."""
        self.string(name)
        tail = b"".join(
            self.pack("III", self.string(k), v & 0xFFFFFFFF, v >> 32 & 0xFFFFFFFF)
            for k, v in values
        )
        return self.add_raw(KINDS["enum64"], name, size, tail, vlen=len(values), kflag=signed)

    def add_fwd(self, name: str, *, union: bool = False) -> int:
        """Forward declaration of a struct, or of a union."""
        return self.add_raw(KINDS["fwd"], name, 0, kflag=union)

    def add_typedef(self, name: str, target: int) -> int:
        """`typedef target name`."""
        return self.add_raw(KINDS["typedef"], name, target)

    def add_const(self, target: int) -> int:
        """`const target`."""
        return self.add_raw(KINDS["const"], "", target)

    def add_volatile(self, target: int) -> int:
        """`volatile target`."""
        return self.add_raw(KINDS["volatile"], "", target)

    def add_restrict(self, target: int) -> int:
        """`target restrict`."""
        return self.add_raw(KINDS["restrict"], "", target)

    def add_func_proto(self, returns: int, params: Sequence[tuple[str, int]] = ()) -> int:
        """FUNC_PROTO; a last parameter ("", 0) means `...`."""
        tail = b"".join(self.pack("II", self.string(name), type_id) for name, type_id in params)
        return self.add_raw(KINDS["func_proto"], "", returns, tail, vlen=len(params))

    def add_func(self, name: str, proto: int, linkage: int = STATIC) -> int:
        """FUNC; linkage STATIC, GLOBAL or EXTERN (kept in vlen)."""
        return self.add_raw(KINDS["func"], name, proto, vlen=linkage)

    def add_var(self, name: str, target: int, linkage: int = GLOBAL) -> int:
        """VAR."""
        return self.add_raw(KINDS["var"], name, target, self.pack("I", linkage))

    def add_datasec(self, name: str, size: int, variables: Iterable[tuple[int, int, int]]) -> int:
        """DATASEC; variables are (VAR id, byte offset, byte size), ascending."""
        rows = list(variables)
        tail = b"".join(self.pack("III", *row) for row in rows)
        return self.add_raw(KINDS["datasec"], name, size, tail, vlen=len(rows))

    def add_float(self, name: str, size: int) -> int:
        """FLOAT of 2, 4, 8, 12 or 16 bytes."""
        return self.add_raw(KINDS["float"], name, size)

    def add_decl_tag(
        self, name: str, target: int, component: int = -1, *, kflag: bool = False
    ) -> int:
        """DECL_TAG on a declaration, or on its parameter/member number `component`.

        `kflag` makes it an attribute as it is written (`__attribute__((name))`), kernel 6.14.
        """
        return self.add_raw(KINDS["decl_tag"], name, target, self.pack("i", component), kflag=kflag)

    def add_type_tag(self, name: str, target: int, *, kflag: bool = False) -> int:
        """TYPE_TAG; `kflag` as in `add_decl_tag`."""
        return self.add_raw(KINDS["type_tag"], name, target, kflag=kflag)

    def build(self) -> bytes:
        """The whole blob."""
        types = b"".join(self._types)
        header = self.pack("HBBI", BTF_MAGIC, 1, 0, 24)
        header += self.pack("IIII", 0, len(types), len(types), len(self._strings))
        return header + types + bytes(self._strings)


class BtfIndex:
    """Names to type ids of a BTF blob: just enough to find kernel functions and structs.

    `ids[(kind, name)]` is the first type of that kind and name.
    """

    # Bytes after the 12 common ones: (fixed, per vlen).
    _TAIL = {
        1: (4, 0),
        3: (12, 0),
        4: (0, 12),
        5: (0, 12),
        6: (0, 8),
        13: (0, 8),
        14: (4, 0),
        15: (0, 12),
        17: (4, 0),
        19: (0, 12),
    }

    def __init__(self, blob: bytes) -> None:
        magic, _, _, hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(
            "<HBBIIIII", blob
        )
        if magic != BTF_MAGIC:
            raise ValueError("not little-endian BTF")
        strings = blob[hdr_len + str_off : hdr_len + str_off + str_len]
        at, end = hdr_len + type_off, hdr_len + type_off + type_len
        self.ids: dict[tuple[int, str], int] = {}
        type_id = 1
        unpack = struct.Struct("<III").unpack_from
        while at < end:
            name_off, info, _ = unpack(blob, at)
            kind = info >> 24 & 0x1F
            if name_off:
                name = strings[name_off : strings.index(0, name_off)].decode()
                self.ids.setdefault((kind, name), type_id)
            fixed, each = self._TAIL.get(kind, (0, 0))
            at += 12 + fixed + each * (info & 0xFFFF)
            type_id += 1
        self.count = type_id

    def find(self, kind: str, name: str) -> int | None:
        """Id of the first type of `kind` called `name`, or None."""
        return self.ids.get((KINDS[kind], name))

    @classmethod
    def vmlinux(cls) -> BtfIndex:
        """Of the running kernel; OSError when it has no BTF."""
        with open("/sys/kernel/btf/vmlinux", "rb") as stream:
            return cls(stream.read())
