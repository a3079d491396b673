"""The checks that libbpf makes when it opens BTF, done column by column."""

from __future__ import annotations

from pybpftool.btf import parser
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.parser import Btf

# Words per element, and which of them are a name's offset and a type id.
_ELEMENTS: dict[int, tuple[int, int | None, int | None]] = {
    parser.STRUCT: (3, 0, 1),
    parser.UNION: (3, 0, 1),
    parser.ENUM: (2, 0, None),
    parser.ENUM64: (3, 0, None),
    parser.FUNC_PROTO: (2, 0, 1),
    parser.DATASEC: (3, None, 0),
}
_REFERRING = frozenset(
    (
        parser.PTR, parser.TYPEDEF, parser.VOLATILE, parser.CONST, parser.RESTRICT,
        parser.VAR, parser.DECL_TAG, parser.TYPE_TAG, parser.FUNC,
    )
)  # fmt: skip


def check(btf: Btf) -> None:
    """Raise :class:`FormatError` if a name's offset or a type id is out of range."""
    count = btf.count
    names = btf.string_end
    words = btf.words
    offsets = btf.own_offsets()
    by_info: dict[int, list[int]] = {}
    for at in offsets:
        try:
            by_info[words[at]].append(at)
        except KeyError:
            by_info[words[at]] = [at]
    _below(btf, [words[at - 1] for at in offsets], names, "name offset")
    for info, group in by_info.items():
        kind = info >> 24 & 0x7F
        if kind in _ELEMENTS:
            size, name, ref = _ELEMENTS[kind]
            flat: list[int] = []
            length = size * (info & 0xFFFFFF)
            if length:
                for at in group:
                    flat += words[at + 2 : at + 2 + length]
            if name is not None:
                _below(btf, flat[name::size], names, "name offset")
            if ref is not None:
                _below(btf, flat[ref::size], count, "type id")
            # A prototype's return type is void, a type of its own or a stray number
            # that no dump follows: libbpf leaves it unchecked, and so do we.
        elif kind == parser.ARRAY:
            _below(btf, [words[at + 2] for at in group], count, "type id")
            _below(btf, [words[at + 3] for at in group], count, "type id")
        elif kind in _REFERRING:
            ids = [words[at + 1] for at in group]
            _below(btf, ids, count, "type id")
            if kind == parser.FUNC:
                _all_prototypes(btf, ids, words, offsets)


def _below(btf: Btf, values: Sequence[int], limit: int, what: str) -> None:
    if values and max(values) >= limit:
        raise FormatError(f"the BTF has a {what} {max(values)} out of range")


def _all_prototypes(
    btf: Btf, ids: Sequence[int], words: Sequence[int], offsets: Sequence[int]
) -> None:
    start = btf.start_id
    kinds = {words[offsets[ref - start]] >> 24 & 0x7F for ref in ids if ref >= start}
    kinds |= {btf.kind(ref) for ref in ids if ref < start}
    if kinds - {parser.FUNC_PROTO}:
        raise FormatError("the BTF has a function whose type is not a function prototype")
