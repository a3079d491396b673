"""Whether a type of an object and one of a kernel are the same thing, in three senses.

The rules are libbpf's (``relo_core.c``): for fields whose place is wanted, for types that
are asked about, and for types that have to match in all that they have.
"""

from __future__ import annotations

from pybpftool.btf.core.spec import CoreError, member, skip, vlen
from pybpftool.uapi.btf import (
    ARRAY,
    COMPOSITE,
    ENUMS,
    FLOAT,
    FUNC_PROTO,
    FWD,
    INT,
    INT_SIGNED,
    PTR,
    STRUCT,
    UNION,
    UNKN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf

_MAX_DEPTH = 32
_ALIKE = COMPOSITE | ENUMS | {UNKN, FWD}


def essential(name: str) -> str:
    """A name without its flavor: ``task_struct___old`` is a ``task_struct``."""
    limit = len(name) - 1
    while True:
        at = name.rfind("___", 0, limit)
        if at <= 0:
            return name
        if name[at - 1] != "_" and name[at + 3] != "_":
            return name[:at]
        limit = at + 2


def same_kind(one: int, two: int) -> bool:
    """Whether two kinds are one in CO-RE's eyes."""
    return one == two or (one in ENUMS and two in ENUMS)


def fields_fit(local: Btf, mine: int, target: Btf, theirs: int) -> bool:
    """Whether a member of this type can be read as one of that."""
    for _ in range(1 << 14):
        mine, theirs = skip(local, mine), skip(target, theirs)
        kind, other = local.kind(mine), target.kind(theirs)
        if kind in COMPOSITE and other in COMPOSITE:
            return True
        if not same_kind(kind, other):
            return False
        if kind in (PTR, FLOAT):
            return True
        if kind == FWD or kind in ENUMS:
            names = essential(local.name(mine)), essential(target.name(theirs))
            return "" in names or names[0] == names[1]
        if kind == INT:
            return not local.int_info(mine)[1] and not target.int_info(theirs)[1]
        if kind != ARRAY:
            return False
        mine, theirs = local.array(mine)[0], target.array(theirs)[0]
    raise CoreError("a type is an array of itself")


def types_fit(local: Btf, mine: int, target: Btf, theirs: int, level: int = _MAX_DEPTH) -> bool:
    """Whether a type is there: of the same kind, pointers and functions by their parts."""
    if not same_kind(local.kind(mine), target.kind(theirs)):
        return False
    for _ in range(_MAX_DEPTH):
        mine, theirs = skip(local, mine), skip(target, theirs)
        kind = local.kind(mine)
        if not same_kind(kind, target.kind(theirs)):
            return False
        if kind in _ALIKE:
            return True
        if kind == INT:
            return not local.int_info(mine)[1] and not target.int_info(theirs)[1]
        if kind == FUNC_PROTO:
            params, others = local.params(mine), target.params(theirs)
            if len(params) != len(others):
                return False
            if level <= 0 and params:
                raise CoreError("a function's type is nested too deeply")
            for (_, param), (_, other) in zip(params, others):
                one, two = skip(local, param), skip(target, other)
                if not types_fit(local, one, target, two, level - 1):
                    return False
        elif kind == ARRAY:
            mine, theirs = local.array(mine)[0], target.array(theirs)[0]
            continue
        elif kind != PTR:
            return False
        mine, theirs = local.type(mine).size_or_type, target.type(theirs).size_or_type
    raise CoreError("a type is nested too deeply")


def types_match(
    local: Btf, mine: int, target: Btf, theirs: int, behind: bool = False, level: int = _MAX_DEPTH
) -> bool:
    """Whether a type has all that the object's has; ``behind`` a pointer names are enough."""
    if level <= 0:
        raise CoreError("a type is nested too deeply")
    for _ in range(_MAX_DEPTH):
        mine, theirs = skip(local, mine), skip(target, theirs)
        if not _same_name(local.name(mine), target.name(theirs)):
            return False
        kind, other = local.kind(mine), target.kind(theirs)
        if kind in COMPOSITE or kind == FWD:
            if behind:
                return _declares(local, mine, target, theirs)
            if kind != other:
                return False
            if kind == FWD:
                return local.type(mine).kind_flag == target.type(theirs).kind_flag
            return _members_match(local, mine, target, theirs, behind, level)
        if kind in ENUMS:
            return other in ENUMS and _values_match(local, mine, target, theirs)
        if kind != other:
            return False
        if kind == UNKN:
            return True
        if kind == INT:
            return _ints_match(local, mine, target, theirs)
        if kind == PTR:
            behind = True
        elif kind == ARRAY:
            one, two = local.array(mine), target.array(theirs)
            if one[2] != two[2]:
                return False
            mine, theirs = one[0], two[0]
            continue
        elif kind == FUNC_PROTO:
            params, others = local.params(mine), target.params(theirs)
            if len(params) != len(others):
                return False
            for (_, param), (_, second) in zip(params, others):
                if not types_match(local, param, target, second, behind, level - 1):
                    return False
        else:
            return False
        mine, theirs = local.type(mine).size_or_type, target.type(theirs).size_or_type
    raise CoreError("a type is nested too deeply")


def _same_name(mine: str, theirs: str) -> bool:
    return not mine if not theirs else essential(mine) == essential(theirs)


def _ints_match(local: Btf, mine: int, target: Btf, theirs: int) -> bool:
    signs = local.int_info(mine)[0] ^ target.int_info(theirs)[0]
    sizes = local.type(mine).size_or_type, target.type(theirs).size_or_type
    return sizes[0] == sizes[1] and not signs & INT_SIGNED


def _declares(local: Btf, mine: int, target: Btf, theirs: int) -> bool:
    """Whether behind a pointer a struct, or its declaration, stands for the other."""

    def what(btf: Btf, type_id: int) -> int:
        found = btf.type(type_id)
        if found.kind == FWD:
            return UNION if found.kind_flag else STRUCT
        return found.kind

    return what(local, mine) == what(target, theirs)


def _members_match(
    local: Btf, mine: int, target: Btf, theirs: int, behind: bool, level: int
) -> bool:
    count = vlen(target, theirs)
    if vlen(local, mine) > count:
        return False
    others = [member(target, theirs, number)[:2] for number in range(count)]
    for number in range(vlen(local, mine)):
        name, type_id = member(local, mine, number)[:2]
        if not any(
            _same_name(name, other)
            and types_match(local, type_id, target, second, behind, level - 1)
            for other, second in others
        ):
            return False
    return True


def _values_match(local: Btf, mine: int, target: Btf, theirs: int) -> bool:
    if local.type(mine).size_or_type != target.type(theirs).size_or_type:
        return False
    others = target.enumerators(theirs)
    values = local.enumerators(mine)
    if len(values) > len(others):
        return False
    return all(any(_same_name(name, other) for other, _ in others) for name, _ in values)
