"""Object files of BPF: sections, symbols, relocations, and files that are none."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pybpftool.elf.relocatable import Relocatable, read_file
from pybpftool.errors import BpfError, FormatError
from tests.support.objbuild import EXEC, FUNC, NOTYPE, ObjBuilder, small_object


@pytest.mark.parametrize("order", ["<", ">"])
def test_read(order: str) -> None:
    build = ObjBuilder(order)
    code = build.section("xdp", bytes(16), flags=EXEC)
    main = build.symbol("main", code, 0, 16, FUNC)
    far = build.symbol("far", 0, kind=NOTYPE)
    rel = build.relocations(code, [(8, far)])
    elf = Relocatable(build.build())
    assert [section.name for section in elf.sections[1:]] == [
        "xdp",
        ".relxdp",
        ".symtab",
        ".strtab",
    ]
    assert (elf.symbols[main].name, elf.symbols[main].size) == ("main", 16)
    assert elf.symbols[far].is_extern
    assert not elf.symbols[main].is_extern
    assert elf.relocations(elf.sections[rel]) == [(8, 1, far)]
    assert elf.content(elf.sections[code]) == bytes(16)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({0: b"\x7fELG"}, "not ELF"),
        ({4: b"\1"}, "64-bit"),
        ({5: b"\3"}, "byte order"),
        ({6: b"\2"}, "unknown version"),
        ({16: b"\2"}, "not an object file of BPF"),
        ({18: b"\x3e\0"}, "not an object file of BPF"),
        ({40: b"\xff" * 8}, "no table of sections"),
        ({60: b"\xff\x7f"}, "table of sections is cut off"),
        ({62: b"\1\0"}, "no section names"),
    ],
)
def test_refused(change: dict[int, bytes], sentence: str) -> None:
    data = bytearray(small_object())
    for at, new in change.items():
        data[at : at + len(new)] = new
    with pytest.raises(FormatError, match=sentence):
        Relocatable(bytes(data))


def test_cut_off_anywhere() -> None:
    whole = small_object()
    for end in range(len(whole) - 1):
        with pytest.raises(FormatError):
            Relocatable(whole[:end])


def test_no_regular_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), str(tmp_path)):
        with pytest.raises(BpfError, match="not a regular file"):
            read_file(path)
    with pytest.raises(BpfError, match="No such file"):
        read_file(str(tmp_path / "none"))


def test_symbols_of_a_wrong_size() -> None:
    data = bytearray(small_object())
    elf = Relocatable(bytes(data))
    (table,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, table + 64 * elf.symbol_table.number + 56, 25)
    with pytest.raises(FormatError, match="not made of whole symbols"):
        Relocatable(bytes(data))


def test_the_size_of_headers_is_not_looked_at() -> None:
    data = bytearray(small_object())
    data[58:60] = b"\0\1"
    assert Relocatable(bytes(data)).sections
