"""Kinds of BTF types: the table, and what it takes to add a row."""

from __future__ import annotations

import struct

import pytest

from pybpftool.btf import encode
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.uapi import btf as uapi
from tests.support.btfbuild import BtfBuilder


def test_numbers_are_places() -> None:
    assert [kind.number for kind in uapi.KINDS] == list(range(uapi.KIND_MAX + 1))


@pytest.mark.parametrize("kind", uapi.KINDS, ids=lambda kind: kind.name)
def test_names_and_ids_stand_within_the_type(kind: uapi.Kind) -> None:
    assert all(2 <= place < 3 + kind.words for place in kind.ids)
    assert all(place < kind.element_words for place in kind.element_ids)
    assert kind.element_name is None or kind.element_name < kind.element_words
    assert len(set(kind.traits)) == len(kind.traits)


NEW = uapi.Kind(23, "NEW", 0, 4, (), 0, (1, 2))


@pytest.fixture
def new_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of the future with two ids an element."""
    for module in ("section", "check", "encode"):
        monkeypatch.setattr(f"pybpftool.btf.{module}.KINDS", (*uapi.KINDS, NEW))
        monkeypatch.setattr(f"pybpftool.btf.{module}.KIND_MAX", 23)


def _with_new(second_id: int) -> bytes:
    builder = BtfBuilder()
    builder.add_int("int", 4)
    builder.add_raw(23, "list", 0, struct.pack("<4I", 0, 1, second_id, 8), vlen=1)
    return builder.build()


@pytest.mark.usefixtures("new_kind")
def test_a_row_is_all_that_reading_needs() -> None:
    btf = Btf.from_bytes(_with_new(1))
    assert (btf.count, btf.name(2)) == (3, "list")
    with pytest.raises(FormatError, match="type id 9 out of range"):
        Btf.from_bytes(_with_new(9))
    moved = encode.map_references(btf, lambda type_id: type_id + 10, int, btf.count)
    assert moved[1][3:] == [0, 11, 11, 8]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FormatError, match="unknown kind 23"):
        Btf.from_bytes(_with_new(1))
