"""CO-RE relocations resolved: which of a kernel's types is meant, and what becomes of them.

The algorithm is libbpf's (``bpf_core_calc_relo_insn()`` of 1.8): every type of the same
name, flavors aside, is tried, and all that fit have to agree.
"""

from __future__ import annotations

from itertools import compress, count

from pybpftool.btf.core import spec as ways
from pybpftool.btf.core.compat import essential, fields_fit, same_kind, types_fit, types_match
from pybpftool.btf.core.spec import Accessor, CoreError, Spec, member, skip, vlen
from pybpftool.btf.search import at_place
from pybpftool.records import Record
from pybpftool.uapi.btf import ARRAY, COMPOSITE, ENUMS, INT, INT_SIGNED, PTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pybpftool.btf.ext import Relocation
    from pybpftool.btf.table import Btf

_FEW = 3  # places that are searched for before all names are looked at


class Value(Record):
    """What a relocation stands for on one side; ``size`` is the field's, 0 for no field."""

    value: int
    size: int = 0
    type_id: int = 0


class Resolved(Record):
    """A relocation with what was found.

    ``target`` is None where nothing fits; ``new`` is None where the instruction then cannot
    be (libbpf puts an invalid call in its place).
    """

    relocation: Relocation
    local: Spec
    target: Spec | None
    old: Value | None
    new: Value | None

    @property
    def is_broken(self) -> bool:
        """Whether the program is refused if it gets to this instruction."""
        return self.local.kind != ways.TYPE_ID_LOCAL and self.new is None


class Resolver:
    """Resolves the relocations of one object against the BTF of a kernel."""

    def __init__(self, local: Btf, target: Targets) -> None:
        self._local = local
        self._targets = target
        self._candidates: dict[int, list[tuple[Btf, int]]] = {}

    def resolve(self, relocation: Relocation) -> Resolved:
        """What a relocation means there.

        Raises :class:`CoreError` if it means nothing, or if types that fit disagree.
        """
        local = self._local
        spec = ways.parse(local, relocation)
        if spec.kind == ways.TYPE_ID_LOCAL:
            value = Value(relocation.type_id)
            return Resolved(relocation, spec, None, value, value)
        name = local.name(relocation.type_id)
        if not name:
            raise CoreError(f"the type [{relocation.type_id}] has no name to look for")
        candidates = self._candidates.get(relocation.type_id)
        if candidates is None:
            candidates = self._targets.candidates(local, relocation.type_id)
        found: Resolved | None = None
        fitting = []
        for target, type_id in candidates:
            there = _match(spec, target, type_id)
            if there is None:
                continue
            one = Resolved(relocation, spec, there, _value(spec), _value(there))
            if found is None:
                found = one
            else:
                _agree(found, one)
            fitting.append((target, type_id))
        # What has not fitted once is not tried again.
        self._candidates[relocation.type_id] = fitting or candidates
        if found is None:
            return Resolved(relocation, spec, None, _value(spec), _absent(spec.kind))
        return found


def _agree(first: Resolved, other: Resolved) -> None:
    assert first.target is not None and other.target is not None
    one, two = first.new, other.new
    is_same = (one is None) == (two is None) and (one is None or two is None or one[0] == two[0])
    if first.target.bit_offset != other.target.bit_offset or not is_same:
        raise CoreError(
            f"'{first.local.text()}' may mean [{first.target.root}] or [{other.target.root}],"
            " which disagree"
        )


class Targets:
    """The types of a kernel by name, flavors aside.

    :param modules: gives the BTF of its modules, which is asked for once a type is missing.
    :param of_module: whether ``btf`` is a module's, of which only its own types count.
    """

    def __init__(
        self,
        btf: Btf,
        modules: Callable[[], Iterable[Btf]] | None = None,
        of_module: bool = False,
    ) -> None:
        self.btf = btf
        self._open_modules = modules
        self._modules: list[Targets] | None = None
        self._parts = [btf] if of_module else btf.parts()[::-1]
        self._by_place: dict[int, list[int]] | None = None  # worth it for more than a few names
        self._looks = 0
        self._strings: list[tuple[bytes, int]] | None = None
        self._found: dict[str, list[int]] = {}

    def expect(self, names: Iterable[str]) -> None:
        """Look for many names at once, each of which will be asked for."""
        found: dict[str, list[int]] = {essential(name): [] for name in names if name}
        if len(found) <= _FEW:
            return
        name_at = {place: name for name in found for place in self._places(name)}
        for part in self._parts:
            words = part.words
            places = [words[at - 1] for at in part.own_offsets()]
            ids = count(part.start_id)
            for place, id in compress(zip(places, ids), map(name_at.__contains__, places)):
                found[name_at[place]].append(id)
        self._found.update(found)

    @property
    def modules(self) -> list[Targets]:
        """The types of the kernel's modules."""
        if self._modules is None:
            opened = () if self._open_modules is None else self._open_modules()
            self._modules = [Targets(btf, None, True) for btf in opened]
        return self._modules

    def has(self, name: str, kind: int) -> bool:
        """Whether the kernel or one of its modules has a type of this name and kind."""
        if self.btf.find(name, kind) is not None:
            return True
        return any(module.btf.find(name, kind) is not None for module in self.modules)

    def candidates(self, local: Btf, type_id: int) -> list[tuple[Btf, int]]:
        """What one of an object's types may be; those of modules where vmlinux has none."""
        found = [(self.btf, other) for other in self.find(local, type_id)]
        if not found:
            for module in self.modules:
                found += [(module.btf, other) for other in module.find(local, type_id)]
        return found

    def find(self, local: Btf, type_id: int) -> list[int]:
        """The types that one of an object may be, by name and kind, ascending."""
        name = essential(local.name(type_id))
        named = self._found.get(name)
        if named is None:
            named = self._found[name] = self._named(name)
        kind = local.kind(type_id)
        return [other for other in named if same_kind(self.btf.kind(other), kind)]

    def _named(self, name: str) -> list[int]:
        found: list[int] = []
        for place in self._places(name):
            if self._by_place is None:
                self._looks += 1
                if self._looks <= _FEW:
                    found += [id for part in self._parts for id in at_place(part, place)]
                    continue
                self._by_place = self._index()
            found += self._by_place.get(place, ())
        return sorted(found)

    def _places(self, name: str) -> Iterator[int]:
        """Where a name and its flavors stand among the strings."""
        if self._strings is None:
            self._strings = [(part.names.raw, part.names.start) for part in self.btf.parts()]
        needle = name.encode("utf-8", "surrogateescape")
        for strings, begin in self._strings:
            for at in _starts(strings, needle):
                if strings.startswith((b"\0", b"___"), at + len(needle)):
                    text = strings[at : strings.index(b"\0", at)]
                    if essential(text.decode("utf-8", "surrogateescape")) == name:
                        yield begin + at

    def _index(self) -> dict[int, list[int]]:
        """All types by the places of their names."""
        by_place: dict[int, list[int]] = {}
        for part in self._parts:
            words = part.words
            for type_id, at in enumerate(part.own_offsets(), part.start_id):
                place = words[at - 1]
                if place:
                    try:
                        by_place[place].append(type_id)
                    except KeyError:
                        by_place[place] = [type_id]
        return by_place


def _starts(strings: bytes, wanted: bytes) -> Iterator[int]:
    """Where strings begin that begin with ``wanted``."""
    if strings[: len(wanted)] == wanted:
        yield 0  # the first one of a module's, with nothing before it
    at = strings.find(b"\0" + wanted)
    while at >= 0:
        yield at + 1
        at = strings.find(b"\0" + wanted, at + 1)


def _match(local: Spec, target: Btf, type_id: int) -> Spec | None:
    """The same way through a type of the target; None if it does not fit."""
    spec = Spec(target, type_id, local.kind)
    if local.kind in ways.TYPES:
        fits = types_match if local.kind == ways.TYPE_MATCHES else types_fit
        return spec if fits(local.btf, local.root, target, type_id) else None
    if local.kind in ways.ENUM_VALUES:
        return _match_value(local, spec, skip(target, type_id))
    for number, accessor in enumerate(local.accessors):
        type_id = skip(target, type_id)
        if accessor.name is not None:
            found = _match_member(local.btf, accessor, spec, type_id)
            if found is None:
                return None
            type_id = found
            continue
        if number:
            if target.kind(type_id) != ARRAY:
                return None
            element, _, count = target.array(type_id)
            is_flexible = ways.may_be_flexible(target, spec.accessors[-1], count)
            if not is_flexible and accessor.number >= count:
                return None
            type_id = skip(target, element)
        _add_step(spec, accessor.number)
        spec.accessors.append(Accessor(type_id, accessor.number, None))
        spec.bit_offset += accessor.number * ways.size(target, type_id) * 8
    return spec


def _match_value(local: Spec, spec: Spec, type_id: int) -> Spec | None:
    if spec.btf.kind(type_id) not in ENUMS:
        return None
    wanted = essential(local.accessors[0].name or "")
    for number, (name, _) in enumerate(spec.btf.enumerators(type_id)):
        if essential(name) == wanted:
            spec.accessors.append(Accessor(type_id, number, name))
            spec.steps.append(number)
            return spec
    return None


def _add_step(spec: Spec, step: int) -> None:
    if len(spec.steps) == ways.MAX_STEPS:
        raise CoreError("a kernel's type is nested too deeply")
    spec.steps.append(step)


def _match_member(local: Btf, accessor: Accessor, spec: Spec, type_id: int) -> int | None:
    """Go to the member of this name, through members without one; the type that it has.

    None if there is no such member, or one of another kind; then the way is at its old end.
    """
    target = spec.btf
    type_id = skip(target, type_id)
    if target.kind(type_id) not in COMPOSITE:
        return None
    wanted, wanted_type = member(local, accessor.type_id, accessor.number)[:2]
    for number in range(vlen(target, type_id)):
        name, member_type, offset, _ = member(target, type_id, number)
        if name and name != wanted:
            continue
        _add_step(spec, number)
        spec.bit_offset += offset
        if name:
            spec.accessors.append(Accessor(type_id, number, name))
            if fields_fit(local, wanted_type, target, member_type):
                return member_type
            return None
        found = _match_member(local, accessor, spec, member_type)
        if found is not None:
            return found
        spec.bit_offset -= offset
        spec.steps.pop()
    return None


def _absent(kind: int) -> Value | None:
    """What stands for something that is not there; None where nothing can."""
    if kind in (ways.FIELD_EXISTS, ways.ENUMVAL_EXISTS) or kind in ways.TYPES:
        return Value(0)
    return None


def _value(spec: Spec) -> Value | None:
    """What a way that was found stands for; raises :class:`CoreError`."""
    btf, kind = spec.btf, spec.kind
    if kind in (ways.FIELD_EXISTS, ways.ENUMVAL_EXISTS, ways.TYPE_EXISTS, ways.TYPE_MATCHES):
        return Value(1)
    if kind == ways.TYPE_ID_TARGET:
        return Value(spec.root)
    if kind == ways.TYPE_SIZE:
        return Value(ways.size(btf, spec.root))
    last = spec.accessors[-1]
    if kind == ways.ENUMVAL_VALUE:
        return Value(btf.enumerators(last.type_id)[last.number][1])
    if last.name is None:
        if kind == ways.BYTE_OFFSET:
            size = ways.size(btf, _element(btf, last.type_id))
            return Value(spec.bit_offset // 8, size, last.type_id)
        if kind == ways.BYTE_SIZE:
            return Value(ways.size(btf, last.type_id))
        raise CoreError("an element of an array is asked about what only members have")
    return _member_value(spec, last)


def _element(btf: Btf, type_id: int) -> int:
    """The innermost type of arrays of arrays."""
    type_id = skip(btf, type_id)
    for _ in range(1 << 14):
        if btf.kind(type_id) != ARRAY:
            return type_id
        type_id = skip(btf, btf.array(type_id)[0])
    raise CoreError("a type is an array of itself")


def _member_value(spec: Spec, last: Accessor) -> Value:
    btf, kind = spec.btf, spec.kind
    _, type_id, _, width = member(btf, last.type_id, last.number)
    type_id = skip(btf, type_id)
    at = spec.bit_offset
    if width:
        size = btf.type(type_id).size_or_type
        if not size:
            raise CoreError("a bit-field has a type without a size")
        # The smallest number that can be read with all of the bits in it.
        while at + width > (at // 8 // size * size + size) * 8:
            if size >= 8:
                raise CoreError("a bit-field cannot be read at once")
            size *= 2
        start = at // 8 // size * size
    else:
        size = ways.size(btf, type_id)
        start, width = at // 8, size * 8
    if kind == ways.BYTE_OFFSET:
        is_field = width == size * 8
        return Value(start, ways.size(btf, _element(btf, type_id)) if is_field else 0, type_id)
    if kind == ways.BYTE_SIZE:
        return Value(size)
    if kind == ways.SIGNED:
        found = btf.kind(type_id)
        is_signed = found == INT and bool(btf.int_info(type_id)[0] & INT_SIGNED)
        is_signed = is_signed or (found in ENUMS and bool(btf.type(type_id).kind_flag))
        return Value(int(is_signed))
    if kind == ways.RSHIFT:
        return Value(64 - width)
    if btf.byteorder == "big":
        return Value((8 - size) * 8 + at - start * 8)
    return Value(64 - (at + width - start * 8))


def unsafe_resize(resolved: Resolved) -> bool:
    """Whether a load or store would have to change its size and cannot."""
    old, new, target = resolved.old, resolved.new, resolved.target
    if old is None or new is None or target is None or old.size == new.size:
        return False
    if not (old.type_id and new.type_id):
        return False
    one, two = resolved.local.btf, target.btf
    mine, theirs = skip(one, old.type_id), skip(two, new.type_id)
    kinds = one.kind(mine), two.kind(theirs)
    if kinds == (PTR, PTR):
        return False
    if kinds == (INT, INT):
        signs = one.int_info(mine)[0], two.int_info(theirs)[0]
        return INT_SIGNED in signs
    return True
