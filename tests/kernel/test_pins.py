"""Where bpf file systems are mounted, what is pinned there, in upstream's order."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import posix
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import pins
from pybpftool.kernel.pins import PinTable
from tests.support import load


def with_mounts(monkeypatch: pytest.MonkeyPatch, text: bytes | None) -> None:
    real = builtins.open

    def fake(path: Any, *args: Any, **kwargs: Any) -> Any:
        if path != "/proc/mounts":
            return real(path, *args, **kwargs)
        if text is None:
            raise OSError
        return io.BytesIO(text)

    monkeypatch.setattr(builtins, "open", fake)


def test_mount_points(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mounts(
        monkeypatch,
        b"none / ext4 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n\nx\n"
        b"bpf /with\\040blank\\011tab\\134n\\012 bpf rw 0 0\nbpf /\xff bpf rw 0 0\n",
    )
    assert pins.mount_points() == ["/sys/fs/bpf", "/with blank\ttab\\n\n", "/\udcff"]


def test_escapes_are_undone_once() -> None:
    assert pins.unescape(b"/a\\134040b") == b"/a\\040b"
    assert pins.unescape(b"/a\\0401") == b"/a 1"


def test_no_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mounts(monkeypatch, None)
    assert pins.mount_points() == []
    assert list(pins.pinned_files()) == []


def test_what_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mounts(monkeypatch, b"bpf /a\0b bpf rw 0 0\n")
    assert list(pins.pinned_files()) == []


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("one", "a/two", "a/b/three", "um\u00e4"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    point = str(tmp_path).encode()
    monkeypatch.setattr(pins, "file_system_type", lambda path: pins.BPF_FS_MAGIC)
    with_mounts(monkeypatch, b"bpf %s bpf rw 0 0\nbpf /nonexistent/x bpf rw 0 0\n" % point)
    found = sorted(os.path.relpath(path, tmp_path) for path, _ in pins.pinned_files())
    assert found == ["a/b/three", "a/two", "one", "um\u00e4"]


def test_only_bpf_file_systems_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").touch()
    point = str(tmp_path).encode()
    with_mounts(monkeypatch, b"bpf %s bpf rw 0 0\next4 %s ext4 rw 0 0\n" % (point, point))
    assert list(pins.pinned_files()) == []  # another one lies over it


def test_what_is_mounted_inside_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own", "mounted"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    real = posix.stat

    def elsewhere(path: str, **how: Any) -> Any:
        device = real(path, **how).st_dev
        return type("Stat", (), {"st_dev": device + (path == "mounted")})

    monkeypatch.setattr(posix, "stat", elsewhere)
    assert [path for path, _ in pins.files_below(str(tmp_path))] == [f"{tmp_path}/own/file"]
    # A bpf file system is gone into, and what is mounted in it is measured by that.
    monkeypatch.setattr(pins, "file_system_type", lambda path: pins.BPF_FS_MAGIC)
    found = sorted(path for path, _ in pins.files_below(str(tmp_path)))
    assert found == [f"{tmp_path}/mounted/file", f"{tmp_path}/own/file"]


def test_a_file_that_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def is_dir(self, follow_symlinks: bool = True) -> bool:
            raise FileNotFoundError

    monkeypatch.setattr(posix, "scandir", lambda fd: contextlib.nullcontext([Gone()]))
    assert list(pins.files_below("/")) == []


def test_directories_that_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    heard: list[OSError] = []
    real = posix.open

    def refusing(path: str, *rest: Any, **how: Any) -> int:
        if path == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *rest, **how)

    monkeypatch.setattr(posix, "open", refusing)
    assert list(pins.files_below(str(tmp_path), heard.append)) == []
    assert [error.errno for error in heard] == [errno.EACCES]
    assert list(pins.files_below(str(tmp_path / "none"), heard.append)) == []
    assert [error.errno for error in heard] == [errno.EACCES, errno.ENOENT]


def test_is_bpffs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pins.is_bpffs(str(tmp_path))
    assert not pins.is_bpffs("/nonexistent")
    assert not pins.is_bpffs("a\0b")
    monkeypatch.setattr(pins, "file_system_type", lambda path: None)
    for number in (errno.EIO, errno.ENOMEM, errno.EACCES):
        monkeypatch.setattr(pins, "get_errno", lambda number=number: number)
        with pytest.raises(KernelError, match="cannot tell whether 'x'"):
            pins.is_bpffs("x")
    monkeypatch.undo()
    if "/sys/fs/bpf" in pins.mount_points():
        assert pins.is_bpffs("/sys/fs/bpf")


class UpstreamTable:
    """libbpf's hash map with one bucket chain for each id, as its rules tell it.

    A new entry goes before the others of its bucket; before an insertion that would fill
    the table beyond three quarters it doubles (from 4), and entries go over one after the
    other, bucket by bucket, each again before the others of its new bucket.
    """

    def __init__(self) -> None:
        self.chains: dict[int, list[str]] = {}
        self.size = self.capacity = 0

    def add(self, id: int, path: str) -> None:
        if not self.capacity or (self.size + 1) * 4 // 3 > self.capacity:
            self.capacity = max(self.capacity * 2, 4)
            moved: dict[int, list[str]] = {}
            for key, chain in self.chains.items():
                for entry in chain:
                    moved.setdefault(key, []).insert(0, entry)
            self.chains = moved
        self.chains.setdefault(id, []).insert(0, path)
        self.size += 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 12, 13, 25, 100])
def test_order_of_several_pins(count: int) -> None:
    table, theirs = PinTable(), UpstreamTable()
    for number in range(count):
        table.add(number % 3, f"/{number}")
        theirs.add(number % 3, f"/{number}")
    assert table.paths == theirs.chains
    assert sum(map(len, table.paths.values())) == count


@pytest.mark.live
def test_what_is_mounted_below_or_above_is_left_alone() -> None:
    with contextlib.ExitStack() as stack:
        outer = stack.enter_context(load.mounted_bpffs())
        array = stack.enter_context(load.map_create("array", 4, 4, 1))

        def mount(type: str, place: str) -> None:
            subprocess.run(["mount", "-t", type, type, place], check=True)
            stack.callback(subprocess.run, ["umount", "-l", place], check=True)

        def found() -> list[str]:
            # Kernels may keep iterators of their own there (CONFIG_BPF_PRELOAD).
            return sorted(
                path
                for path, _ in pins.pinned_files()
                if path.startswith(outer) and not path.endswith(".debug")
            )

        for name in ("inner", "other"):
            os.mkdir(f"{outer}/{name}")
            load.obj_pin(array, f"{outer}/{name}/hidden")
        mount("bpf", f"{outer}/inner")
        load.obj_pin(array, f"{outer}/inner/pin")
        mount("tmpfs", f"{outer}/other")
        Path(f"{outer}/other/file").touch()
        # Upstream meets what stands in /proc/mounts twice as often, too.
        assert found() == [f"{outer}/inner/pin"] * 2
        mount("tmpfs", outer)
        Path(f"{outer}/file").touch()
        assert found() == []
