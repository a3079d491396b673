"""Metadata variables as records: text and JSON, up to the first that is damaged."""

from __future__ import annotations

import struct

import pytest

from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError
from pybpftool.objects.prog_metadata import Variable, texts, values
from tests.support.btfbuild import SIGNED, BtfBuilder


def variables() -> list[Variable]:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    table = Btf.from_bytes(btf.build())
    data = struct.pack("<ii", -5, 7)
    return [
        Variable("first", table, number, data, 0),
        Variable("damaged", table, number + 100, data, 4),
        Variable("last", table, number, data, 4),
    ]


def test_a_variable_prints_itself() -> None:
    first, damaged, last = variables()
    assert (first.text(), first.json()) == ("-5", -5)
    assert (last.text(), last.json()) == ("7", 7)
    with pytest.raises(BpfError):
        damaged.text()


def test_the_first_that_cannot_be_read_ends_the_list() -> None:
    found = variables()
    assert list(texts(found)) == [("first", "-5")]
    assert values(found) == {"first": -5}
    assert list(texts(found[1:])) == []
    assert values([]) == {}
