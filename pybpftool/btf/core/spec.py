"""The way that a CO-RE relocation takes through types, in the object's own BTF.

``0:1:2`` counts members and elements from a pointer's target on. Members without a name
are steps of it that mean nothing elsewhere: :attr:`Spec.accessors` leaves them out.
"""

from __future__ import annotations

from pybpftool.cnumber import decimal
from pybpftool.errors import FormatError
from pybpftool.records import Record
from pybpftool.uapi.btf import ARRAY, COMPOSITE, ENUMS, MODIFIERS, TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.ext import Relocation
    from pybpftool.btf.table import Btf

# enum bpf_core_relo_kind (include/uapi/linux/bpf.h) by libbpf's names.
KINDS = (
    *("byte_off", "byte_sz", "field_exists", "signed", "lshift_u64", "rshift_u64"),
    *("local_type_id", "target_type_id", "type_exists", "type_size"),
    *("enumval_exists", "enumval_value", "type_matches"),
)
BYTE_OFFSET, BYTE_SIZE, FIELD_EXISTS, SIGNED, LSHIFT, RSHIFT = range(6)
TYPE_ID_LOCAL, TYPE_ID_TARGET, TYPE_EXISTS, TYPE_SIZE = range(6, 10)
ENUMVAL_EXISTS, ENUMVAL_VALUE, TYPE_MATCHES = range(10, 13)
FIELDS = frozenset(range(BYTE_OFFSET, RSHIFT + 1))
TYPES = frozenset((TYPE_ID_LOCAL, TYPE_ID_TARGET, TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES))
ENUM_VALUES = frozenset((ENUMVAL_EXISTS, ENUMVAL_VALUE))
MAX_STEPS = 64  # BPF_CORE_SPEC_MAX_LEN
_MAX_CHAIN = 1 << 14


class CoreError(FormatError):
    """A relocation that cannot be what it claims, or that has no one answer."""


class Accessor(Record):
    """One step: a member by name, or an element (``name`` is None) by number."""

    type_id: int
    number: int
    name: str | None


class Spec:
    """A way through the types of one BTF; ``bit_offset`` is where it ends."""

    __slots__ = ("accessors", "bit_offset", "btf", "kind", "root", "steps")

    def __init__(self, btf: Btf, root: int, kind: int) -> None:
        self.btf = btf
        self.root = root
        self.kind = kind
        self.steps: list[int] = []
        self.accessors: list[Accessor] = []
        self.bit_offset = 0

    def text(self) -> str:
        """``struct task_struct.comm[0]``, without the first element if it is number 0."""
        from pybpftool.uapi.btf import ENUM, ENUM64, STRUCT, UNION

        words = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", ENUM64: "enum "}
        name = self.btf.name(self.root) or "(anonymous)"
        text = words.get(self.btf.kind(self.root), "") + name
        if self.kind in ENUM_VALUES:
            return f"{text}::{self.accessors[0].name}"
        for number, accessor in enumerate(self.accessors):
            if accessor.name is not None:
                text += f".{accessor.name}"
            elif number or accessor.number:
                text += f"[{accessor.number}]"
        return text


def skip(btf: Btf, type_id: int) -> int:
    """The type behind typedefs, ``const`` and the like."""
    for _ in range(_MAX_CHAIN):
        words, at = btf.at(type_id)
        kind = words[at] >> 24 & 0x7F
        if kind not in MODIFIERS and kind != TYPEDEF:
            return type_id
        type_id = words[at + 1]
    raise CoreError(f"the BTF's type [{type_id}] refers to itself")


def member(btf: Btf, type_id: int, number: int) -> tuple[str, int, int, int]:
    """A member's (name, type id, offset, width) in bits; the width is 0 for no bit-field."""
    words, at = btf.at(type_id)
    info = words[at]
    where = at + 2 + 3 * number
    name, target, place = words[where], words[where + 1], words[where + 2]
    text = btf.names[name] if name else ""
    if info >> 31:
        return text, target, place & 0xFFFFFF, place >> 24
    return text, target, place, 0


def vlen(btf: Btf, type_id: int) -> int:
    """How many members or values a type has."""
    words, at = btf.at(type_id)
    return words[at] & 0xFFFFFF


def size(btf: Btf, type_id: int) -> int:
    """A type's size in bytes; raises :class:`CoreError` where it has none."""
    found = btf.size_of(type_id)
    if found is None:
        raise CoreError(f"the type [{type_id}] has no size")
    return found


def may_be_flexible(btf: Btf, before: Accessor, count: int) -> bool:
    """Whether an array is one without a length at the end of its struct."""
    if before.name is None or count:
        return False
    return before.number == vlen(btf, before.type_id) - 1


def parse(btf: Btf, relocation: Relocation) -> Spec:
    """A relocation's way through its own types; raises :class:`CoreError`."""
    spec = Spec(btf, relocation.type_id, relocation.kind)
    words = relocation.access.split(":")
    steps = [step for step in map(decimal, words) if step is not None]
    if len(steps) < len(words):
        raise CoreError(f"'{relocation.access}' is not a path through a type")
    if spec.kind in TYPES:
        if relocation.access != "0":
            raise CoreError(f"'{relocation.access}' leads away from a type that is meant itself")
        return spec
    if len(words) > MAX_STEPS:
        raise CoreError("a way through a type has too many steps")
    spec.steps = steps
    type_id = skip(btf, relocation.type_id)
    first = spec.steps[0]
    if spec.kind in ENUM_VALUES:
        if btf.kind(type_id) not in ENUMS or len(words) > 1 or first >= vlen(btf, type_id):
            raise CoreError(f"'{relocation.access}' is not a value of an enum")
        spec.accessors.append(Accessor(type_id, first, btf.enumerators(type_id)[first][0]))
        return spec
    if spec.kind not in FIELDS:
        raise CoreError(f"a relocation has the unknown kind {spec.kind}")
    spec.accessors.append(Accessor(type_id, first, None))
    spec.bit_offset = first * size(btf, type_id) * 8
    for step in spec.steps[1:]:
        type_id = _step(spec, skip(btf, type_id), step)
    return spec


def _step(spec: Spec, type_id: int, step: int) -> int:
    """Go on by one step; returns the type that it leads to."""
    btf = spec.btf
    kind = btf.kind(type_id)
    if kind in COMPOSITE:
        if step >= vlen(btf, type_id):
            raise CoreError(f"'{btf.name(type_id)}' has no member number {step}")
        name, target, offset, _ = member(btf, type_id, step)
        spec.bit_offset += offset
        if name:
            spec.accessors.append(Accessor(type_id, step, name))
        return target
    if kind != ARRAY:
        raise CoreError(f"a way leads through the type [{type_id}], which has no parts")
    element, _, count = btf.array(type_id)
    element = skip(btf, element)
    if not may_be_flexible(btf, spec.accessors[-1], count) and step >= count:
        raise CoreError(f"a way leads to element {step} of an array of {count}")
    spec.accessors.append(Accessor(element, step, None))
    spec.bit_offset += step * size(btf, element) * 8
    return element
