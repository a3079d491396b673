"""Places in executables: functions and USDT probes of ELF files made by hand."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pybpftool.elf import probes as usdt
from pybpftool.elf.probes import read_probes
from pybpftool.errors import BpfError
from tests.support.elfbuild import ElfBuilder


def sample(bits: int = 64, order: str = "<") -> ElfBuilder:
    elf = ElfBuilder(bits, order)
    elf.symbol("main", 0x400010, 0x20)
    elf.symbol("alias", 0x400010, 0x20)
    elf.symbol("sizeless", 0x400080, 0)
    elf.symbol("resolver", 0x4000A0, 8, kind=10)
    elf.symbol("data", 0x400050, 8, kind=1)
    elf.symbol("elsewhere", 0x400060, 8, section=0)
    elf.symbol("", 0x400070, 8)
    elf.probe("app", "begin", 0x400014)
    elf.probe("app", "again", 0x400014)
    elf.probe("app", "begin", 0x400014)
    elf.note(1, b"something else", b"GNU\0")
    elf.note(3, b"short")
    return elf


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "program"
    file.write_bytes(sample().build())
    return str(file)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_places(tmp_path: Path, bits: int, order: str) -> None:
    file = tmp_path / "program"
    file.write_bytes(sample(bits, order).build())

    def place(offset: int) -> object:
        return usdt.file_place(str(file), offset)

    assert place(0x110) == {"symbol": "main", "symbol_offset": 0}
    assert place(0x114) == {
        "symbol": "main",
        "symbol_offset": 4,
        "usdt": ["app:begin", "app:again"],
    }
    assert place(0x12F) == {"symbol": "main", "symbol_offset": 0x1F}
    assert place(0x130) == {}  # behind main
    assert place(0x150) == {}  # data is no function
    assert place(0x160) == {}  # not defined here
    assert place(0x180) == {"symbol": "sizeless", "symbol_offset": 0}
    assert place(0x181) == {}
    assert place(0x1A4) == {"symbol": "resolver", "symbol_offset": 4}
    assert place(0x50) == {} and place(1 << 40) == {}  # not loaded


def test_prelinked(tmp_path: Path) -> None:
    elf = ElfBuilder()
    elf.base = 0x400100
    elf.probe("lib", "moved", 0x1014, linked_base=0x1100)
    file = tmp_path / "library"
    file.write_bytes(elf.build())
    assert usdt.file_place(str(file), 0x114) == {"usdt": ["lib:moved"]}


def test_no_such_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("no ELF")
    for name in ("missing (deleted)", "pipe", "text", "nul\0byte", "."):
        assert usdt.file_place(str(tmp_path / name), 0) == {}
        with pytest.raises(BpfError):
            read_probes(str(tmp_path / name))


def test_damaged_files(tmp_path: Path) -> None:
    """Whatever is broken, the answer is places or none, never another exception."""
    whole = sample().build()
    file = tmp_path / "program"
    dice = random.Random(5)
    for cut in range(0, len(whole), 37):
        file.write_bytes(whole[:cut])
        try_to_read(str(file))
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(3):
            data[dice.choice((dice.randrange(0x100), dice.randrange(len(data))))] = dice.randrange(
                256
            )
        file.write_bytes(data)
        try_to_read(str(file))


def try_to_read(path: str) -> None:
    try:
        read_probes(path)
    except BpfError as error:
        assert path in str(error)
