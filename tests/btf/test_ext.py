"""The section .BTF.ext: its tables in both byte orders, and broken ones."""

from __future__ import annotations

import struct
import sys

import pytest

from pybpftool.btf.ext import BtfExt, check
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from tests.support.btfbuild import BtfBuilder

BUILD = BtfBuilder()
SECTION, ACCESS = BUILD.string("tc"), BUILD.string("0:1")
BTF = Btf.from_bytes(BUILD.build())


def table(order: str, rows: list[tuple[int, ...]], extra: int = 0) -> bytes:
    width = len(rows[0]) * 4 + extra
    body = b"".join([struct.pack(f"{order}{len(row)}I", *row) + bytes(extra) for row in rows])
    return struct.pack(f"{order}III", width, SECTION, len(rows)) + body


def whole(order: str = "<", extra: int = 0) -> bytes:
    parts = [
        table(order, [(0, 5), (16, 6)], extra),
        table(order, [(0, 1, 2, 3 << 10 | 4)], extra),
        table(order, [(8, 7, ACCESS, 0)], extra),
    ]
    places: list[int] = []
    at = 0
    for part in parts:
        places += [at, len(part)]
        at += len(part)
    return struct.pack(f"{order}HBBI6I", 0xEB9F, 1, 0, 32, *places) + b"".join(parts)


NATIVE, FOREIGN = "<>" if sys.byteorder == "little" else "><"


@pytest.mark.parametrize(("order", "extra"), [(NATIVE, 0), (NATIVE, 4), (FOREIGN, 0)])
def test_tables(order: str, extra: int) -> None:
    ext = BtfExt(whole(order, extra), BTF)
    assert ext.functions == {"tc": [(0, 5), (16, 6)]}
    assert ext.lines == {"tc": [(0, 1, 2, 3 << 10 | 4)]}
    assert ext.relocations == {"tc": [(8, 7, "0:1", 0)]}


def test_without_relocations() -> None:
    part = table("<", [(0, 5)])
    data = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, len(part), 0, 0) + part
    assert BtfExt(data, BTF).relocations == {}


def test_cut_off_or_changed_anywhere() -> None:
    data = whole()
    for end in range(len(data)):
        with pytest.raises(FormatError):
            BtfExt(data[:end], BTF)
    for at in range(len(data)):
        for value in (0, 0xFF):
            changed = data[:at] + bytes([value]) + data[at + 1 :]
            try:
                check(changed)
            except FormatError:
                with pytest.raises(FormatError):
                    BtfExt(changed, BTF)
            else:
                BtfExt(changed, BTF)


def test_records_of_another_size_in_the_other_order() -> None:
    with pytest.raises(FormatError, match="wrong size"):
        check(whole(FOREIGN, 4))


def test_place_is_counted_from_the_header() -> None:
    part = table("<", [(0, 5)])
    header = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 26, 0, len(part), 0, 0) + bytes(2)
    assert BtfExt(header + part, BTF).functions == {"tc": [(0, 5)]}
