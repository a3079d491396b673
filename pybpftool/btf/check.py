"""The checks that libbpf makes when it opens BTF, done column by column."""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import FUNC, FUNC_PROTO, FWD, KIND_MAX, KINDS, UNKN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.section import TypeSection


def check(btf: TypeSection) -> None:
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
        row = KINDS[kind if kind <= KIND_MAX else UNKN]
        if row.element_words:
            size, name = row.element_words, row.element_name
            flat: list[int] = []
            length = size * (info & 0xFFFFFF)
            if length:
                for at in group:
                    flat += words[at + 2 : at + 2 + length]
            if name is not None:
                _below(btf, flat[name::size], names, "name offset")
            for ref in row.element_ids:
                _below(btf, flat[ref::size], count, "type id")
            # libbpf leaves a prototype's return type unchecked, and so do we: it is void, a
            # type of its own or a stray number that no dump follows.
        elif kind != FWD:
            for place in row.ids:
                ids = [words[at - 1 + place] for at in group]
                _below(btf, ids, count, "type id")
                if kind == FUNC:
                    _all_prototypes(btf, ids, words, offsets)


def _below(btf: TypeSection, values: Sequence[int], limit: int, what: str) -> None:
    if values and max(values) >= limit:
        raise FormatError(f"the BTF has a {what} {max(values)} out of range")


def _all_prototypes(
    btf: TypeSection, ids: Sequence[int], words: Sequence[int], offsets: Sequence[int]
) -> None:
    start = btf.start_id
    kinds = {words[offsets[ref - start]] >> 24 & 0x7F for ref in ids if ref >= start}
    kinds |= {btf.kind(ref) for ref in ids if ref < start}
    if kinds - {FUNC_PROTO}:
        raise FormatError("the BTF has a function whose type is not a function prototype")
