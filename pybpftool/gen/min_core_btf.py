"""``gen min_core_btf``: of a kernel's BTF what the CO-RE relocations of some objects need.

Fields keep the members on the way to them, types that are asked about themselves or all that
they are made of, enums all values; everything else, and what pointers point to, is left out.
The choice is upstream's (btfgen), so that the result is, too.
"""

from __future__ import annotations

from pybpftool.btf.core import spec as ways
from pybpftool.btf.core.resolve import Resolver, Targets
from pybpftool.btf.core.spec import skip
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import ARRAY, COMPOSITE, FUNC_PROTO, MODIFIERS, PTR, TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.core.spec import Spec
    from pybpftool.btf.table import Btf

_REFERRING = MODIFIERS | {TYPEDEF}
_HEADER_WORDS = 3


def reduce_btf(source: Btf, paths: Sequence[str]) -> bytes:
    """Raw BTF of the types that the objects' relocations find in ``source``.

    Raises :class:`pybpftool.errors.BpfError` for an object that cannot be read or one of
    whose relocations has no one meaning.
    """
    needed = _Needed(source)
    targets = Targets(source)
    for path in paths:
        _record(needed, targets, path)
    return needed.encode()


def reduce_file(path: str, objects: Sequence[str]) -> bytes:
    """As :func:`reduce_btf`, of raw BTF or an ELF file."""
    from pybpftool.btf.load import from_file

    return reduce_btf(from_file(path), objects)


def _record(needed: _Needed, targets: Targets, path: str) -> None:
    from pybpftool.btf.ext import BtfExt
    from pybpftool.btf.table import Btf
    from pybpftool.elf.sections import read_sections

    size, found = read_sections(path, (".BTF", ".BTF.ext"))
    for name in (".BTF", ".BTF.ext"):
        if name not in found:
            raise FormatError(f"'{path}' has no section {name}; was it built without -g?")
    try:
        btf = Btf.from_bytes(found[".BTF"])
        btf.pointer_size = size
        relocations = BtfExt(found[".BTF.ext"], btf).relocations
    except FormatError as error:
        raise FormatError(f"cannot read '{path}': {error}") from None
    targets.expect({btf.name(each.type_id) for some in relocations.values() for each in some})
    resolver = Resolver(btf, targets)
    for section, some in relocations.items():
        for relocation in some:
            try:
                target = resolver.resolve(relocation).target
            except FormatError as error:
                where = f"'{path}', section '{section}', instruction {relocation.offset // 8}"
                raise FormatError(f"cannot resolve a relocation of {where}: {error}") from None
            if target is not None:
                needed.add(target)


class _Needed:
    """Types, and members of structs, that are to be kept."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._types: set[int] = set()
        self._members: set[tuple[int, int]] = set()
        self._matched: set[tuple[int, bool]] = set()

    def add(self, spec: Spec) -> None:
        """Keep what one relocation found."""
        if spec.kind in ways.FIELDS:
            self._add_field(spec)
        elif spec.kind == ways.TYPE_MATCHES:
            self._add_all(spec.root)
        else:
            self._add_type(spec.root, spec.kind in ways.TYPES)

    def _add_type(self, type_id: int, follows: bool) -> None:
        """A type with those that it is made of; members and, without ``follows``, not pointers'."""
        btf, types = self._btf, self._types
        rest = [type_id]
        seen = set()
        while rest:
            type_id = rest.pop()
            if not type_id or type_id in seen:
                continue
            seen.add(type_id)
            types.add(type_id)
            kind = btf.kind(type_id)
            if kind in _REFERRING or (kind == PTR and follows):
                rest.append(btf.type(type_id).size_or_type)
            elif kind == ARRAY:
                rest += btf.array(type_id)[:2]
            elif kind == FUNC_PROTO:
                rest.append(btf.type(type_id).size_or_type)
                rest += [param for _, param in btf.params(type_id)]

    def _add_field(self, spec: Spec) -> None:
        """The members on the way to a field."""
        btf = self._btf
        self._add_type(spec.root, False)
        type_id = spec.root
        for step in spec.steps[1:]:
            type_id = skip(btf, type_id)
            if btf.kind(type_id) in COMPOSITE:
                self._members.add((type_id, step))
                type_id = ways.member(btf, type_id, step)[1]
                self._add_type(type_id, False)
            else:
                type_id = btf.array(type_id)[0]

    def _add_all(self, type_id: int) -> None:
        """A type with all members; structs behind pointers without theirs."""
        btf = self._btf
        rest = [(type_id, False)]
        while rest:
            type_id, behind = rest.pop()
            if not type_id or (type_id, behind) in self._matched:
                continue
            self._matched.add((type_id, behind))
            self._types.add(type_id)
            kind = btf.kind(type_id)
            if kind in COMPOSITE:
                for number in range(0 if behind else ways.vlen(btf, type_id)):
                    self._members.add((type_id, number))
                    rest.append((ways.member(btf, type_id, number)[1], False))
            elif kind == PTR:
                rest.append((btf.type(type_id).size_or_type, True))
            elif kind in _REFERRING:
                rest.append((btf.type(type_id).size_or_type, behind))
            elif kind == ARRAY:
                rest += [(part, False) for part in btf.array(type_id)[:2]]
            elif kind == FUNC_PROTO:
                rest.append((btf.type(type_id).size_or_type, False))
                rest += [(param, False) for _, param in btf.params(type_id)]

    def encode(self) -> bytes:
        """The kept types in their old order, renumbered from 1."""
        from pybpftool.btf.encode import HEADER_WITH_LAYOUT, encode, renumber

        kept = sorted(self._types)
        ids = {old: new for new, old in enumerate(kept, 1)}
        strings = bytearray(b"\0")
        places = {"": 0}

        def new_name(offset: int) -> int:
            name = self._btf.names[offset] if offset else ""
            if name not in places:
                places[name] = len(strings)
                strings.extend(name.encode("utf-8", "surrogateescape") + b"\0")
            return places[name]

        found = []
        for type_id in kept:
            words = self._words(type_id)
            renumber(words, lambda old: ids.get(old, 0), new_name)
            found.append(words)
        # As libbpf 1.8 writes it; older ones and kernels skip what of a header is zero.
        return encode(found, bytes(strings), HEADER_WITH_LAYOUT)

    def _words(self, type_id: int) -> list[int]:
        """A type with those of its members that are kept."""
        btf = self._btf
        words, at = btf.at(type_id)
        size = btf.sizes[words[at]]
        own = list(words[at - 1 : at - 1 + size])
        if own[1] >> 24 & 0x7F in COMPOSITE:
            count = own[1] & 0xFFFFFF
            numbers = [number for number in range(count) if (type_id, number) in self._members]
            members = [own[_HEADER_WORDS + 3 * n : _HEADER_WORDS + 3 * n + 3] for n in numbers]
            is_flagged = own[1] >> 31 and any(where >> 24 for _, _, where in members)
            info = own[1] & 0x7F000000 | len(members) | (1 << 31 if is_flagged else 0)
            own = [own[0], info, own[2], *[word for one in members for word in one]]
        return own
