"""Kinds of BTF types: ``include/uapi/linux/btf.h`` as of v7.0, one row a kind.

A type is three words of 32 bits (``struct btf_type``: name_off, info, size or type),
the kind's own words and ``vlen`` elements of equal length. A row says where in them
names and type ids stand, so that reading, checking, renumbering and merging need to
know no kind by itself.
"""

from __future__ import annotations

from pybpftool.records import Record

# BTF_INFO_KIND(), BTF_INFO_VLEN(): a kind has 7 bits and a vlen 24.
MAGIC = 0xEB9F  # BTF_MAGIC

UNKN, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE = range(10)
CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(10, 20)
# Where the parameters of inlined functions are: a series for bpf-next of September 2026.
LOC_PARAM, LOC_PROTO, LOCSEC = range(20, 23)

# Bits of an INT's encoding: BTF_INT_SIGNED, BTF_INT_CHAR, BTF_INT_BOOL.
INT_SIGNED, INT_CHAR, INT_BOOL = 1, 2, 4


class Kind(Record):
    """What is the same for all types of a kind.

    ``words`` follow the three of ``struct btf_type``, then come elements of
    ``element_words`` each. ``ids`` are the words of a type that hold a type's id, counted
    from its name; ``element_name`` and ``element_ids`` stand in an element. ``size`` is
    where a size comes from: "own", "target" (the type referred to), "pointer", "array".
    ``traits`` has: modifier, composite, enum, number.
    """

    number: int
    name: str  # as bpftool prints it
    words: int = 0
    element_words: int = 0
    ids: tuple[int, ...] = ()
    element_name: int | None = None
    element_ids: tuple[int, ...] = ()
    size: str = ""
    traits: tuple[str, ...] = ()


KINDS = (
    Kind(UNKN, "UNKNOWN"),
    Kind(INT, "INT", words=1, size="own", traits=("number",)),
    Kind(PTR, "PTR", ids=(2,), size="pointer"),
    Kind(ARRAY, "ARRAY", words=3, ids=(3, 4), size="array"),
    Kind(STRUCT, "STRUCT", 0, 3, (), 0, (1,), size="own", traits=("composite",)),
    Kind(UNION, "UNION", 0, 3, (), 0, (1,), size="own", traits=("composite",)),
    Kind(ENUM, "ENUM", 0, 2, (), 0, size="own", traits=("enum",)),
    Kind(FWD, "FWD", ids=(2,)),  # always 0; libbpf's iterators count it as an id
    Kind(TYPEDEF, "TYPEDEF", ids=(2,), size="target"),
    Kind(VOLATILE, "VOLATILE", ids=(2,), size="target", traits=("modifier",)),
    Kind(CONST, "CONST", ids=(2,), size="target", traits=("modifier",)),
    Kind(RESTRICT, "RESTRICT", ids=(2,), size="target", traits=("modifier",)),
    Kind(FUNC, "FUNC", ids=(2,)),
    Kind(FUNC_PROTO, "FUNC_PROTO", 0, 2, (2,), 0, (1,)),
    Kind(VAR, "VAR", words=1, ids=(2,), size="target"),
    Kind(DATASEC, "DATASEC", 0, 3, (), None, (0,), size="own"),
    Kind(FLOAT, "FLOAT", size="own", traits=("number",)),
    Kind(DECL_TAG, "DECL_TAG", words=1, ids=(2,), size="target"),
    Kind(TYPE_TAG, "TYPE_TAG", ids=(2,), size="target", traits=("modifier",)),
    Kind(ENUM64, "ENUM64", 0, 3, (), 0, size="own", traits=("enum",)),
    Kind(LOC_PARAM, "LOC_PARAM", words=2),
    Kind(LOC_PROTO, "LOC_PROTO", 0, 1, (), None, (0,)),
    Kind(LOCSEC, "LOCSEC", 0, 4, (), 0, (1, 2)),
)

KIND_MAX = len(KINDS) - 1
KIND_NAMES = tuple([kind.name for kind in KINDS])
MODIFIERS = frozenset([kind.number for kind in KINDS if "modifier" in kind.traits])
COMPOSITE = frozenset([kind.number for kind in KINDS if "composite" in kind.traits])
ENUMS = frozenset([kind.number for kind in KINDS if "enum" in kind.traits])
NUMBERS = frozenset([kind.number for kind in KINDS if "number" in kind.traits])
# Kinds whose third word is a type's id.
REFERRING = frozenset([kind.number for kind in KINDS if 2 in kind.ids])
SIZED = frozenset([kind.number for kind in KINDS if kind.size == "own"])
SIZED_BY_TARGET = frozenset([kind.number for kind in KINDS if kind.size == "target"])
