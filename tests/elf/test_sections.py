"""BTF in ELF files: classes, byte orders, compression, what is broken."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pybpftool.btf import load
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError, FormatError
from tests.support import btfsamples as samples
from tests.support.elffile import object_file

BLOB = samples.every_kind()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("is_64", [True, False])
@pytest.mark.parametrize("order", ["little", "big"])
def test_read(tmp_path: Path, order: str, is_64: bool, compressed: bool) -> None:
    path = tmp_path / "object"
    contents = {".text": b"code", ".BTF": BLOB}
    path.write_bytes(object_file(contents, order=order, is_64=is_64, compressed=compressed))
    btf = load.from_file(str(path))
    assert btf.find("outer")
    assert btf.pointer_size == (8 if is_64 else 4)


def broken(**changes: tuple[int, bytes]) -> list[bytes]:
    whole = object_file({".BTF": BLOB})
    found = []
    for at, data in changes.values():
        found.append(whole[:at] + data + whole[at + len(data) :])
    return found


def test_broken(tmp_path: Path) -> None:
    whole = object_file({".BTF": BLOB})
    (table,) = struct.unpack_from("<Q", whole, 40)
    bad = broken(
        elf_class=(4, b"\7"),
        byte_order=(5, b"\7"),
        version=(6, b"\2"),
        table_beyond=(40, b"\xff" * 7),
        no_table=(40, bytes(8)),
        name_index=(62, b"\x77"),
        section_type=(table + 64 + 4, b"\x08"),
        section_beyond=(table + 64 + 24, b"\xff" * 6),
        section_size=(table + 64 + 32, b"\xff" * 6),
        name_beyond=(table + 64, b"\xff\xff"),
        names_type=(table + 128 + 4, b"\x01"),
        extended=(60, b"\0\0"),
        extended_names=(62, b"\xff\xff"),
    )
    bad += [whole[:40], whole[:60], whole[:-1], b"\x7fELF", object_file({".text": b""})]
    bad.append(object_file({".BTF": BLOB}, section_type=8))
    bad.append(object_file({".BTF": BLOB[:40]}))
    bad.append(object_file({".BTF": BLOB, ".BTF.base": b"x"}))
    squeezed = object_file({".BTF": BLOB}, compressed=True)
    # The header of a compressed section says how it is compressed and how large it was.
    for at, data in ((64, b"\7"), (72, b"\xff\xff"), (72, b"\xff" * 6), (90, b"\0\0\0")):
        bad.append(squeezed[:at] + data + squeezed[at + len(data) :])
    path = tmp_path / "object"
    for data in bad:
        path.write_bytes(data)
        with pytest.raises(FormatError) as error:
            load.from_file(str(path))
        assert "\n" not in str(error.value)


def test_the_size_of_a_header_that_nobody_reads(tmp_path: Path) -> None:
    whole = object_file({".BTF": BLOB})
    path = tmp_path / "object"
    path.write_bytes(whole[:58] + b"\x20" + whole[59:])
    assert load.from_file(str(path)).count == Btf.from_bytes(BLOB).count


def test_not_files(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "none"), "a\0b", os.devnull):
        with pytest.raises(BpfError):
            load.from_file(path)
