"""The checks that libbpf makes when it opens BTF, done for thousands of words at once.

The words of many types together are taken as one large number, of 32 bits a word. Added to
it are, where a word must be below a limit, the numbers that carry into its top bit all that
is not: a few operations of arithmetic tell whether any word is out of range.
"""

from __future__ import annotations

import sys
from itertools import compress

from pybpftool.errors import FormatError
from pybpftool.uapi.btf import FUNC, FUNC_PROTO, FWD, KIND_MAX, KINDS, UNKN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from pybpftool.btf.section import TypeSection

_TOGETHER = 4096  # types: few enough that their words stay in the processor's caches
_TOP = 1 << 31
_ANY = bytes(4)  # of a word that may have any value


def check(btf: TypeSection) -> None:
    """Raise :class:`FormatError` if a name's offset or a type id is out of range."""
    words = btf.words
    offsets = btf.own_offsets()
    bounds = [*[at - 1 for at in offsets[::_TOGETHER]], len(words)]
    both = _Addends(btf, btf.string_end, btf.count)
    most = max([end - begin for begin, end in zip(bounds, bounds[1:])], default=0)
    tops = _Tops(most)
    infos: list[int] = []
    for first, begin, end in zip(range(0, len(offsets), _TOGETHER), bounds, bounds[1:]):
        part = [words[at] for at in offsets[first : first + _TOGETHER]]
        infos += part
        section = words[begin:end]
        if tops.beyond(section, part, both):
            names = _Addends(btf, btf.string_end, None)
            what, wrong = "name offset", tops.beyond(section, part, names)
            if not wrong:
                what, wrong = "type id", tops.beyond(section, part, both)
            raise FormatError(f"the BTF has a {what} {wrong} out of range")
    _check_functions(btf, infos, {info for info in both if info >> 24 & 0x7F == FUNC})


class _Addends(dict[int, bytes]):
    """By ``info`` word: what is added to each word of such a type, 0 for those without a limit.

    The limits are those of names and of type ids, None for no limit.
    """

    __slots__ = ("_id", "_name", "_sizes")

    def __init__(self, btf: TypeSection, names: int, ids: int | None) -> None:
        super().__init__()
        self._sizes = btf.sizes
        self._name = _addend(names)
        self._id = _ANY if ids is None else _addend(ids)

    def __missing__(self, info: int) -> bytes:
        kind = info >> 24 & 0x7F
        row = KINDS[kind if kind <= KIND_MAX else UNKN]
        own = [_ANY] * (3 + row.words if row.element_words else self._sizes[info])
        own[0] = self._name
        # libbpf leaves a prototype's return type unchecked, and so do we: it is void, a
        # type of its own or a stray number that no dump follows.
        if not row.element_words and kind != FWD:
            for place in row.ids:
                own[place] = self._id
        element = [_ANY] * row.element_words
        if row.element_name is not None:
            element[row.element_name] = self._name
        for place in row.element_ids:
            element[place] = self._id
        found = self[info] = b"".join(own) + b"".join(element) * (info & 0xFFFFFF)
        return found


def _addend(limit: int) -> bytes:
    """What carries into its top bit a word that is not below the limit."""
    return max(_TOP - limit, 1).to_bytes(4, sys.byteorder)


class _Tops:
    """The top bits of as many words as are looked at together, and all other bits of them."""

    __slots__ = ("_others", "_tops")

    def __init__(self, words: int) -> None:
        order = sys.byteorder
        self._tops = int.from_bytes(_TOP.to_bytes(4, order) * words, order)
        self._others = int.from_bytes((_TOP - 1).to_bytes(4, order) * words, order)

    def beyond(self, words: memoryview, infos: Sequence[int], addends: _Addends) -> int:
        """A word of these types that is not below its limit, 0 if there is none."""
        order = sys.byteorder
        number = int.from_bytes(words, order)
        added = int.from_bytes(b"".join(map(addends.__getitem__, infos)), order)
        limited = added + self._others & self._tops
        # Of a word with its own top bit set the sum may carry into the next: one is found anyway.
        wrong = (number | number + added) & limited
        if not wrong:
            return 0
        lowest = ((wrong & -wrong).bit_length() - 1) // 32
        return int(words[lowest if order == "little" else -1 - lowest])


def _check_functions(btf: TypeSection, infos: Sequence[int], functions: Container[int]) -> None:
    """Raise :class:`FormatError` if a function's type is not a prototype."""
    words = btf.words
    start = btf.start_id
    found = compress(btf.own_offsets(), map(functions.__contains__, infos))
    types = set(map(words.__getitem__, map((1).__add__, found)))
    kinds = {btf.kind(ref) for ref in types if ref < start}
    kinds |= {info >> 24 & 0x7F for info in {infos[ref - start] for ref in types if ref >= start}}
    if kinds - {FUNC_PROTO}:
        raise FormatError("the BTF has a function whose type is not a function prototype")
