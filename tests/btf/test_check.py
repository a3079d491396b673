"""The checks of names' offsets and type ids: each word of each kind, at its limit and beyond."""

from __future__ import annotations

import pytest

from pybpftool.btf.check import check
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import FWD, KINDS, UNKN
from tests.support.btfbuild import BtfBuilder

VLEN = 3
KNOWN = [row for row in KINDS if row.number != UNKN]


def placed(kind: int, place: int, word: int, order: str = "little") -> Btf:
    """Types of which one of a kind, between others, has ``word`` in one place."""
    row = KINDS[kind]
    b = BtfBuilder("big" if order == "big" else "little")
    integer = b.add_int("int", 4)
    proto = b.add_func_proto(integer, [("a", integer)])
    vlen = VLEN if row.element_words else 0
    words = [0] * (row.words + row.element_words * vlen)
    third = proto if row.name == "FUNC" else 0
    if place > 2:
        words[place - 3] = word
    elif place == 2:
        third = word
    b.add_raw(kind, "name", third, b.pack(f"{len(words)}I", *words), vlen=vlen)
    b.add_struct("last", 4, [("m", integer, 0)])
    btf = Btf.from_bytes(b.build(), None, True)
    if place == 0:
        data = bytearray(b.build())
        at = 24 + 4 * (btf.at(3)[1] - 1)
        data[at : at + 4] = b.pack("I", word)
        btf = Btf.from_bytes(bytes(data), None, True)
    return btf


def places(kind: int) -> tuple[set[int], set[int], set[int]]:
    """Where words of a kind hold names' offsets, type ids, and neither."""
    row = KINDS[kind]
    names, ids = {0}, set(row.ids)
    own = 3 + row.words
    for element in range(VLEN if row.element_words else 0):
        at = own + element * row.element_words
        names |= {at + row.element_name} if row.element_name is not None else set()
        ids |= {at + ref for ref in row.element_ids}
        own_end = at + row.element_words
    if row.element_words or kind == FWD:
        ids.discard(2)  # not looked at, as by libbpf
    all_words = set(range(own if not row.element_words else own_end)) - {1}
    return names, ids, all_words - names - ids


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", [row.number for row in KNOWN], ids=[row.name for row in KNOWN])
def test_each_word_of_a_kind(kind: int, order: str) -> None:
    names, ids, others = places(kind)
    limits = placed(kind, 1, 0)
    for what, found, limit in (
        ("name offset", names, limits.string_end),
        ("type id", ids, limits.count),
    ):
        for place in found:
            is_function = KINDS[kind].name == "FUNC" and place == 2
            check(placed(kind, place, 2 if is_function else limit - 1, order))
            for word in (limit, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
                with pytest.raises(FormatError, match=f"a {what} {word} out of range"):
                    check(placed(kind, place, word, order))
    for place in others:
        check(placed(kind, place, 0xFFFFFFFF, order))


def test_a_function_has_a_prototype() -> None:
    for wrong in (0, 1, 3, 4):
        with pytest.raises(FormatError, match="not a function prototype"):
            check(placed(12, 2, wrong))


@pytest.mark.parametrize("number", [0, 1, 4095, 4096, 4097, 8191, 8192, 9998])
def test_among_thousands(number: int) -> None:
    b = BtfBuilder()
    b.add_int("int", 4)
    for index in range(9999):
        b.add_ptr(77777 if index == number else index + 1)
    with pytest.raises(FormatError, match="type id 77777 out of range"):
        Btf.from_bytes(b.build())


def test_split_btf_has_the_limits_of_both() -> None:
    b = BtfBuilder()
    b.add_int("int", 4)
    base = Btf.from_bytes(b.build())
    for target, is_good in ((1, True), (2, True), (3, False)):
        split = BtfBuilder(first_id=base.count, base_strings=base.string_end)
        split.add_ptr(target)
        if is_good:
            Btf.from_bytes(split.build(), base)
        else:
            with pytest.raises(FormatError, match="type id 3 out of range"):
                Btf.from_bytes(split.build(), base)
