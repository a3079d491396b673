"""What the modules stand on that ``pybpftool gen python`` writes: typed BPF objects.

A generated module defines a class ``Skel``, made of the names here; it loads its object through
the system's libbpf.
"""

from __future__ import annotations

from collections.abc import Iterable

from pybpftool.control.bpf_object import BpfObjectFile as File
from pybpftool.errors import BpfError
from pybpftool.skeleton.loaded import Group, Link, Program, Section, Skeleton, decoded
from pybpftool.skeleton.maps import AnyMap, Map, PerCpuMap, Queue
from pybpftool.skeleton.memory import (
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    I128,
    POINTER,
    U8,
    U16,
    U32,
    U64,
    U128,
    Array,
    ArrayOf,
    Bits,
    Blob,
    Chars,
    EnumOf,
    Field,
    Struct,
    StructOf,
)

# Types for classes whose members have such names themselves.
Bytes = bytes
Bool = bool
Float = float
Int = int

__all__ = [
    "BOOL",
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "I128",
    "POINTER",
    "U8",
    "U16",
    "U32",
    "U64",
    "U128",
    "AnyMap",
    "Array",
    "ArrayOf",
    "Bits",
    "Blob",
    "Bool",
    "BpfError",
    "Bytes",
    "Chars",
    "EnumOf",
    "Field",
    "File",
    "Float",
    "Group",
    "Int",
    "Iterable",
    "Link",
    "Map",
    "PerCpuMap",
    "Program",
    "Queue",
    "Section",
    "Skeleton",
    "Struct",
    "StructOf",
    "decoded",
]
