"""The system calls that need no privilege to be tried."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import syscall
from pybpftool.kernel.live import LiveKernel
from pybpftool.kernel.syscall import Buffer, bpf, checked, if_indextoname, read_unlocked, same_files


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


def test_numbers_of_this_machine() -> None:
    machine = os.uname().machine
    if machine == "x86_64":
        assert (syscall._nr_bpf, syscall._nr_kcmp) == (321, 312)
    assert syscall._NR_BPF.keys() == syscall._NR_KCMP.keys()


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
