"""Files read without the interpreter's lock."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import background
from pybpftool.kernel.background import read_unlocked
from pybpftool.kernel.live import LiveKernel


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_files_of_all_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(background, "_BLOCK", 100)
    path = tmp_path / "file"
    path.write_bytes(bytes(i % 256 for i in range(size)))
    assert read_unlocked(str(path)) == path.read_bytes()


def test_a_file_of_proc() -> None:
    assert LiveKernel().file_in_background("/proc/version") == Path("/proc/version").read_bytes()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cannot open /nowhere/at/all: No such file") as info:
        read_unlocked("/nowhere/at/all")
    assert info.value.errno == errno.ENOENT
    with pytest.raises(KernelError, match=r"cannot read .*: Is a directory"):
        read_unlocked(str(tmp_path))
