"""Opening BTF: files, ELF files, objects of a kernel; what is refused, and in which words."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pybpftool.btf import load
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError, FormatError
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.elffile import object_file
from tests.support.fakeattached import AttachedKernel

PADDING = "long enough that names of split BTF lead out of a shorter base"


def base() -> BtfBuilder:
    btf = BtfBuilder()
    btf.add_int("int", 4, SIGNED)
    btf.string(PADDING)
    return btf


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A base, and BTF on top of it."""
    below = base()
    above = BtfBuilder(first_id=2, base_strings=len(b"\0int\0") + len(PADDING) + 1)
    above.add_typedef("number_t", 1)
    paths = tmp_path / "base.btf", tmp_path / "split.btf"
    paths[0].write_bytes(below.build())
    paths[1].write_bytes(above.build())
    return str(paths[0]), str(paths[1])


def test_one_file(files: tuple[str, str]) -> None:
    btf = load.from_file(files[0])
    assert btf.find("int") == 1
    with pytest.raises(FormatError, match=r"cannot read BTF from '.*split.btf': "):
        load.from_file(files[1])


def test_types_of_a_file_whose_other_sections_lie_beyond_its_end(tmp_path: Path) -> None:
    data = bytearray(object_file({".BTF": base().build(), ".BTF.ext": bytes(8)}))
    (table,) = struct.unpack_from("<Q", data, 40)  # e_shoff
    struct.pack_into("<Q", data, table + 2 * 64 + 32, 1 << 20)  # sh_size
    path = tmp_path / "cut.o"
    path.write_bytes(data)
    assert load.from_file(str(path)).find("int") == 1


def test_split_btf_goes_on_top_of_the_file_before_it(files: tuple[str, str]) -> None:
    btf = load.stacked(files)
    assert btf.name(2) == "number_t" and btf.base is not None
    # A file that stands alone takes the place of those before it.
    assert load.stacked([files[0], files[0]]).base is None


class Kernel(AttachedKernel):
    """A recorded kernel with types of its own and of a module."""

    is_live = False

    def __init__(self, files: tuple[str, str]) -> None:
        super().__init__()
        own, module = (Path(path).read_bytes() for path in files)
        self.files[load.VMLINUX] = own
        self.btf(1)
        self.btf(5)
        self.btfs = {1: own, 5: module}
        self.btf_names = {1: "vmlinux", 5: "some_mod"}


def test_objects_of_a_kernel(files: tuple[str, str]) -> None:
    kernel = Kernel(files)
    assert load.from_id(1, kernel).base is None
    module = load.from_id(5, kernel)  # vmlinux is its base
    assert module.name(2) == "number_t"
    given = load.from_id(5, kernel, load.from_file(files[0]))
    assert given.name(2) == "number_t"
    empty = Btf.from_bytes(BtfBuilder().build())
    with pytest.raises(FormatError, match="BTF object 5 does not fit its base"):
        load.from_id(5, kernel, empty)


def test_files_of_a_recorded_kernel(files: tuple[str, str]) -> None:
    kernel = Kernel(files)
    assert load.from_kernel_file(load.VMLINUX, kernel).find("int") == 1
    assert load.from_kernel_file(load.SYSFS + "some_mod", kernel).find("number_t") == 2
    with pytest.raises(BpfError, match="the recorded kernel has no BTF '/sys/kernel/btf/other'"):
        load.from_kernel_file(load.SYSFS + "other", kernel)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 23])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short"
    path.write_bytes(base().build()[:size])
    with pytest.raises(FormatError, match="cannot read BTF from"):
        load.from_file(str(path))


def test_what_is_no_file_of_btf(tmp_path: Path) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo)
    with open(large, "wb") as file:
        file.truncate((1 << 30) + 1)
    for path, reason in (
        (fifo, "not a regular file"),
        (tmp_path, "not a regular file"),
        (large, "the file has more than 1 GiB"),
        (tmp_path / "none", "No such file or directory"),
        (Path("a\0b"), "impossible name"),
    ):
        with pytest.raises(BpfError, match=reason):
            load.from_file(str(path))
    elf = tmp_path / "elf"
    elf.write_bytes(b"\x7fELF")
    with pytest.raises(BpfError):
        load.from_file(str(elf))
