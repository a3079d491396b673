"""The tables: header checks, lookups, sizes, split BTF, both byte orders."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pybpftool.btf import load
from pybpftool.btf.c.dump import definition
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError, FormatError
from pybpftool.uapi.btf import FUNC, STRUCT, UNION, UNKN
from tests.support import btfsamples as samples
from tests.support.btfbuild import KINDS, SIGNED, BtfBuilder


@pytest.fixture(params=["little", "big"])
def btf(request: pytest.FixtureRequest) -> Btf:
    return Btf.from_bytes(samples.every_kind(request.param))


def header(**changes: int) -> bytes:
    """A BTF with one INT, its header changed."""
    builder = BtfBuilder()
    builder.add_int("int", 4)
    blob = bytearray(builder.build())
    places = {"magic": (0, "H"), "hdr_len": (4, "I"), "type_off": (8, "I"), "type_len": (12, "I"),
              "str_off": (16, "I"), "str_len": (20, "I")}  # fmt: skip
    for name, value in changes.items():
        at, code = places[name]
        struct.pack_into(f"<{code}", blob, at, value)
    return bytes(blob)


def test_lookups(btf: Btf) -> None:
    outer = btf.find("outer", STRUCT)
    assert outer is not None
    members = {member.name: member for member in btf.members(outer)}
    assert (members["bits"].bit_offset, members["bits"].bit_size) == (40, 3)
    assert members["d"].bit_size == 0
    assert btf.size_of(outer) == 176
    assert btf.align_of(outer) == 8
    assert btf.align_of(btf.find("packed") or 0) == 1
    assert btf.find("outer", UNION) is None
    assert btf.find("nothing") is None
    assert btf.type(outer).name == "outer"
    assert "STRUCT" in repr(btf.type(outer))
    assert "bits" in repr(members["bits"])
    assert btf.kind(0) == UNKN
    assert btf.pointer_size == 8


def test_elements(btf: Btf) -> None:
    found = {name: btf.find(name) for name in ("colour", "sign", "wide_enum", ".data", "int")}
    assert dict(btf.enumerators(found["colour"] or 0))["BIG"] == 0xFFFFFFF0
    assert dict(btf.enumerators(found["sign"] or 0))["MINUS"] == -1
    assert dict(btf.enumerators(found["wide_enum"] or 0))["HUGE"] == 1 << 40
    assert [size for _, _, size in btf.secinfos(found[".data"] or 0)] == [176, 8]
    assert btf.int_info(found["int"] or 0) == (SIGNED, 0, 32)
    work = btf.type(btf.find("work", FUNC) or 0)
    assert [name for name, _ in btf.params(work.size_or_type)] == ["first", "", ""]
    for wrong in (btf.members, btf.params, btf.enumerators, btf.secinfos, btf.array):
        with pytest.raises(FormatError):
            wrong(found["int"] or 0)
    with pytest.raises(FormatError):
        btf.int_info(found["colour"] or 0)


def test_strings(btf: Btf) -> None:
    assert btf.string(0) == ""
    assert btf.string(1 << 30) is None
    with pytest.raises(FormatError):
        _ = btf.names[1 << 30]
    with pytest.raises(FormatError):
        btf.type(btf.count)
    assert btf.has(btf.count - 1)
    assert not btf.has(btf.count)


def test_resolve_and_sizes() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    fwd = builder.add_fwd("later")
    name = builder.add_typedef("t", builder.add_const(builder.add_type_tag("x", number)))
    row = builder.add_array(name, number, 5)
    grid = builder.add_array(row, number, 3)
    large = builder.add_array(grid, number, 0xFFFFFFFF)
    long = number
    for _ in range(40):
        long = builder.add_typedef("again", long)
    to_fwd = builder.add_typedef("u", fwd)
    proto = builder.add_func_proto(0)
    btf = Btf.from_bytes(builder.build())
    assert btf.resolve(name) == number
    assert btf.resolve(long) is None
    assert btf.resolve(to_fwd) is None
    assert btf.resolve(0) is None
    assert btf.size_of(grid) == 60
    assert btf.size_of(large) is None
    assert btf.size_of(long) is None
    assert btf.size_of(proto) is None
    assert btf.align_of(grid) == 4
    assert btf.align_of(proto) == 0
    assert btf.pointer_size == struct.calcsize("P")
    assert btf.declared_pointer_size == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"magic": 0x1234},
        {"hdr_len": 0x1000},
        {"type_len": 0x1000},
        {"type_len": 15},
        {"type_off": 2},
        {"str_off": 0xFFFFFFF0},
        {"str_len": 0x7FFFFFFF},
        {"str_len": 0},
        {"type_len": 12},
    ],
)
def test_broken_headers(changes: dict[str, int]) -> None:
    with pytest.raises(FormatError) as error:
        Btf.from_bytes(header(**changes))
    assert "\n" not in str(error.value)


def test_header_extension_and_layout() -> None:
    """A longer header, with the sizes of a kind that this program does not know."""
    types = struct.pack("<3I2I", 1, 25 << 24 | 1, 7, 8, 9)
    strings = b"\0name\0"
    layout = bytes(25 * 4) + struct.pack("<BBH", 4, 4, 0)
    offsets = (0, len(types), len(types) + len(layout), len(strings), len(types), len(layout))
    head = struct.pack("<HBB7I", 0xEB9F, 1, 0, 40, *offsets) + bytes(8)
    blob = head + types + layout + strings
    btf = Btf.from_bytes(blob)
    assert (btf.count, btf.kind(1), btf.name(1)) == (2, 25, "name")
    with pytest.raises(FormatError):
        Btf.from_bytes(blob.replace(layout, layout[:-4] + b"\3\0\0\0"))
    with pytest.raises(FormatError):
        list(definition(btf, 1))
    swapped = bytearray(header())
    swapped[:8] = struct.pack(">HBBI", 0xEB9F, 1, 0, 8)
    with pytest.raises(FormatError):
        Btf.from_bytes(bytes(swapped))


@pytest.mark.parametrize("what", ["type", "name", "func", "element"])
def test_references_out_of_range(what: str) -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    if what == "type":
        builder.add_ptr(77)
    elif what == "func":
        builder.add_func("f", number)
    elif what == "element":
        builder.add_struct("s", 4, [("a", 99, 0)])
    blob = builder.build()
    if what == "name":
        blob = blob[:24] + struct.pack("<I", 500) + blob[28:]
    with pytest.raises(FormatError):
        Btf.from_bytes(blob)
    trusted = Btf.from_bytes(blob, None, is_trusted=True)
    assert trusted.count > 1


def test_a_type_that_is_cut_off_is_refused_again_and_again() -> None:
    builder = BtfBuilder()
    builder.add_int("int", 4)
    builder.add_struct("s", 8, [("a", 1, 0), ("b", 1, 32)])
    blob = bytearray(builder.build())
    (types_len,) = struct.unpack_from("<I", blob, 12)
    struct.pack_into("<I", blob, 12, types_len - 4)
    btf = Btf.from_bytes(bytes(blob), None, is_trusted=True)
    for _ in range(3):
        with pytest.raises(FormatError, match=r"type \[2\] is cut off"):
            _ = btf.count
    assert btf.kind(1) == 1


def test_self_reference_ends() -> None:
    builder = BtfBuilder()
    builder.add_typedef("loop", 1)
    builder.add_struct("inside", 8, [("self", 2, 0)])
    btf = Btf.from_bytes(builder.build())
    assert btf.size_of(1) is None
    for action in (btf.align_of, lambda type_id: definition(btf, type_id)):
        for type_id in (1, 2):
            with pytest.raises(FormatError):
                action(type_id)


def test_split() -> None:
    base_builder = BtfBuilder()
    number = base_builder.add_int("unsigned long", 4)
    blob = base_builder.build()
    base = Btf.from_bytes(blob)
    builder = BtfBuilder(first_id=2, base_strings=base.string_end)
    pointer = builder.add_ptr(number)
    builder.add_struct("own", 4, [("p", pointer, 0)])
    btf = Btf.from_bytes(builder.build(), base)
    assert (btf.start_id, btf.count) == (2, 4)
    assert btf.name(number) == "unsigned long"
    assert btf.find("unsigned long") == number
    assert btf.find("own") == 3
    assert btf.pointer_size == 4
    assert len(btf.parts()) == 2
    with pytest.raises(FormatError):
        Btf.from_bytes(builder.build())


class _Source:
    is_live = False

    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def btf_data(self, btf_id: int, /) -> bytes:
        return self.blob

    def file(self, path: str, /) -> bytes:
        return samples.every_kind()


def test_from_id() -> None:
    assert load.from_id(3, _Source(samples.every_kind())).find("outer")
    with pytest.raises(FormatError):
        load.from_id(3, _Source(b"short"))
    base = Btf.from_bytes(samples.every_kind())
    split = BtfBuilder(first_id=base.count, base_strings=base.string_end)
    split.add_typedef("mine", 1)
    assert load.from_id(4, _Source(split.build())).find("mine") == base.count


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "some.btf"
    path.write_bytes(samples.every_kind())
    assert load.from_file(str(path)).find("outer")
    path.write_bytes(samples.every_kind()[:50])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(2 << 30)
    for bad in (path, tmp_path, fifo, large, tmp_path / "none", "a\0b"):
        with pytest.raises(BpfError) as error:
            load.from_file(str(bad))
        assert "\n" not in str(error.value)


def test_char_strings_of_escapes() -> None:
    builder = BtfBuilder()
    builder.add_raw(KINDS["int"], b'a"\x1b\xff', 1, struct.pack("<I", 8))
    btf = Btf.from_bytes(builder.build())
    assert btf.name(1) == 'a"\x1b\udcff'
