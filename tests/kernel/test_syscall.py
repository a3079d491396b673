"""The system calls that need no privilege to be tried."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import syscall
from pybpftool.kernel.live import LiveKernel
from pybpftool.kernel.syscall import Buffer, bpf, checked, if_indextoname, read_unlocked, same_files
from tests.support.abi import Headers, headers


def test_buffers() -> None:
    buffer = Buffer(8)
    assert bytes(buffer.data) == bytes(8)
    assert buffer.address
    assert bytes(Buffer.of(b"abc").data) == b"abc"
    with pytest.raises(BufferError):
        buffer.data.append(1)  # its address must hold
    assert Buffer(0).data == b""


def test_bpf_reports_errno() -> None:
    attr = Buffer(16)
    assert bpf(0xFFFF, attr.address, 16) in (-errno.EINVAL, -errno.EPERM, -errno.ENOSYS)
    assert bpf(0, 0, 16) < 0


def test_checked() -> None:
    assert checked("x", 5) == 5
    with pytest.raises(KernelError, match="cannot do it: Operation not permitted") as error:
        checked("cannot do it", -errno.EPERM)
    assert error.value.errno == errno.EPERM


def test_the_machine_under_setarch() -> None:
    path = Path("/proc/sys/kernel/arch")
    if not path.exists():
        assert syscall.kernel_machine("i686") == "i686"
        pytest.skip("Linux 6.1 tells it")
    assert syscall.kernel_machine("i686") == path.read_text().strip()
    assert syscall.kernel_machine("vax") == "vax"


_CALLS = ("bpf", "kcmp", "add_key", "perf_event_open", "pidfd_getfd")


@pytest.mark.parametrize("row", headers(), ids=lambda row: row.machine)
def test_numbers_of_each_architecture(row: Headers) -> None:
    name = syscall.abi(row.machine, row.is_64bit)
    numbers = syscall._NUMBERS.get(name, syscall._GENERIC)
    assert numbers == tuple(row.numbers[call] for call in _CALLS)


@pytest.mark.parametrize(
    ("machine", "is_64bit", "expected"),
    [
        # 32-bit programs of 64-bit kernels
        ("x86_64", False, "i386"),
        ("aarch64", False, "arm"),
        ("mips64", False, "mips"),
        ("ppc64", False, "ppc"),
        ("s390x", False, "s390"),
        ("sparc64", False, "sparc"),
        ("parisc64", False, "parisc"),
        # setarch(8): 64-bit programs that are told a 32-bit kernel
        ("i686", True, "x86_64"),
        ("armv8l", True, "aarch64"),
        ("mips", True, "mips64"),
        ("ppc", True, "ppc"),
        ("s390", True, "s390"),
        # other names of the same
        ("i486", False, "i386"),
        ("armv5tel", False, "arm"),
        ("armv8b", True, "aarch64"),
        ("aarch64_be", True, "aarch64"),
        ("sparc", False, "sparc"),
        ("sh4a", False, "sh"),
        ("riscv32", False, "riscv32"),
        ("loongarch64", True, "loongarch64"),
    ],
)
def test_our_own_architecture(machine: str, is_64bit: bool, expected: str) -> None:
    assert syscall.abi(machine, is_64bit) == expected


@pytest.mark.parametrize("row", headers(), ids=lambda row: row.machine)
def test_the_first_field_of_statfs(row: Headers) -> None:
    name = syscall.abi(row.machine, row.is_64bit)
    is_short = name in syscall._SHORT_STATFS
    assert row.numbers["f_type"] == (4 if is_short else 4 + 4 * row.is_64bit)


def test_the_file_system_of_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert syscall.file_system_type("/proc") == 0x9FA0  # PROC_SUPER_MAGIC
    assert syscall.file_system_type("/nowhere/at/all") is None
    assert syscall.file_system_type("a\0b") is None
    if sys.byteorder == "little":
        monkeypatch.setattr(syscall, "ABI", "s390")
        assert syscall.file_system_type("/proc") == 0x9FA0


def test_same_files_of_our_own_process() -> None:
    assert same_files(os.getpid(), os.getpid())
    assert same_files(os.getpid(), 1 << 30)  # nobody: nothing to look at


def test_names_of_devices() -> None:
    assert if_indextoname(1) == "lo"
    assert if_indextoname(0x7FFFFFFF) is None


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_unlocked_files_of_all_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(syscall, "_FREAD_BLOCK", 100)
    path = tmp_path / "file"
    path.write_bytes(bytes(i % 256 for i in range(size)))
    assert read_unlocked(str(path)) == path.read_bytes()


def test_an_unlocked_file_of_proc() -> None:
    assert LiveKernel().file_in_background("/proc/version") == Path("/proc/version").read_bytes()


def test_what_cannot_be_read_unlocked(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cannot open /nowhere/at/all: No such file") as info:
        read_unlocked("/nowhere/at/all")
    assert info.value.errno == errno.ENOENT
    with pytest.raises(KernelError, match=r"cannot read .*: Is a directory"):
        read_unlocked(str(tmp_path))
