"""Metadata variables as records: text and JSON, up to the first that is damaged."""

from __future__ import annotations

import struct

import pytest

from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError
from pybpftool.kernel.interface import BpfObject
from pybpftool.objects.prog_metadata import MetadataReader, Variable, texts, values
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel


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


@pytest.mark.parametrize("prefix", ["bpf_metadata_", "bpf_metadat_"])
def test_maps_are_read_where_names_promise_something(prefix: str) -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    variable = btf.add_var(f"{prefix}version", number)
    section = btf.add_datasec(".rodata", 4, [(variable, 0, 4)])
    values_read = []

    class Counting(FakeKernel):
        def btf_data(self, id: int) -> bytes:
            return btf.build()

        def map_value(self, map: BpfObject, key: bytes) -> bytes:
            values_read.append(map.id)
            return struct.pack("<i", 17)

    kernel = Counting()
    for id, name in ((3, b"other"), (4, b"obj.rodata")):
        kernel.map(
            id, type=2, key_size=4, value_size=4, max_entries=1, name=name, btf_id=9,
            btf_value_type_id=section,
        )  # fmt: skip
    reader = MetadataReader(kernel)

    def btf_of(id: int) -> Btf:
        return Btf.from_bytes(btf.build())

    found = [(each.name, each.json()) for each in reader.read([3, 4], btf_of)]
    is_there = prefix == "bpf_metadata_"
    assert found == ([("version", 17)] if is_there else [])
    assert values_read == ([4] if is_there else [])
    assert not reader.read([3], btf_of) and not reader.read([], btf_of)
