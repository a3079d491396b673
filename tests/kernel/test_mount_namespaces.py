"""Bpf file systems of other mount namespaces: what is shared is read once, what is hidden noted."""

from __future__ import annotations

import errno
import os
import posix
from pathlib import Path
from typing import NamedTuple

import pytest

from pybpftool.kernel import mount_namespaces
from pybpftool.kernel.mount_namespaces import Elsewhere
from pybpftool.kernel.tasks import comm_of, tasks

MOUNTS = rb"""22 1 0:21 / /proc rw - proc proc rw
30 1 0:40 / /sys/fs/bpf rw,nosuid shared:9 master:1 - bpf bpf rw,mode=700
31 1 0:41 /sub /with\040blank rw - bpf bpf rw
32 1 0:42 / /not rw - bpfx bpf rw
"""


def task(tmp_path: Path, name: str, mounts: bytes) -> str:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mountinfo").write_bytes(mounts)
    return str(tmp_path / name)


class Status(NamedTuple):
    st_dev: int


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Path -> the device of what is seen there, a number below 0:0."""
    seen: dict[str, int] = {}

    def stat(path: str) -> Status:
        try:
            return Status(os.makedev(0, seen[path]))
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, path) from None

    monkeypatch.setattr(posix, "stat", stat)
    return seen


def test_mounts_that_no_namespace_before_has(tmp_path: Path, devices: dict[str, int]) -> None:
    elsewhere = Elsewhere()
    devices.update({"/sys/fs/bpf": 40, "/with blank": 41, "/part": 41, "/not": 42})
    first = list(elsewhere._unseen(task(tmp_path, "1", MOUNTS), ""))
    assert first == ["/sys/fs/bpf", "/with blank"]
    # A copy, a part of what is known; a brother of it with a longer name, and the whole of it.
    again = MOUNTS + b"33 1 0:41 /sub/part /part rw - bpf bpf rw\n"
    assert list(elsewhere._unseen(task(tmp_path, "2", again), "")) == []
    more = b"34 1 0:41 /sub2 /brother rw - bpf bpf rw\n35 1 0:41 / /whole rw - bpf bpf rw\n"
    devices.update({"/r/brother": 41, "/r/whole": 41})
    found = list(elsewhere._unseen(task(tmp_path, "3", more), "/r"))
    assert found == ["/r/brother", "/r/whole"]


def test_what_another_mount_covers_may_be_seen_elsewhere(
    tmp_path: Path, devices: dict[str, int]
) -> None:
    elsewhere = Elsewhere()
    both = MOUNTS + b"40 30 0:50 / /sys/fs/bpf rw - bpf bpf rw\n"
    devices.update({"/sys/fs/bpf": 50, "/r/sys/fs/bpf": 40})
    ours = list(elsewhere._unseen(task(tmp_path, "self", both), ""))
    assert ours == ["/sys/fs/bpf"]  # the upper one
    theirs = list(elsewhere._unseen(task(tmp_path, "1", MOUNTS), "/r"))
    assert theirs == ["/r/sys/fs/bpf"]


def test_each_file_comes_once_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "b" / "other").touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "file")
    (tmp_path / "a" / "folder").symlink_to("/")
    elsewhere = Elsewhere()
    found = sorted(path for path, _ in elsewhere._below(str(tmp_path / "a")))
    assert found == [f"{tmp_path}/a/b/other", f"{tmp_path}/a/file"]
    assert list(elsewhere._below(str(tmp_path / "a" / "b"))) == []
    assert not elsewhere.is_refused


def test_refusals_are_noted_and_what_has_ended_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Elsewhere()
    monkeypatch.setattr(mount_namespaces, "tasks", lambda: [(1 << 30, "/proc/1073741824")])
    assert list(elsewhere.files()) == []
    assert not elsewhere.is_refused
    elsewhere._note(PermissionError(13, "Permission denied"))
    assert elsewhere.is_refused


def test_tasks_of_this_process() -> None:
    assert (os.getpid(), f"/proc/{os.getpid()}") in set(tasks())
    assert comm_of("/proc/self") == Path("/proc/self/comm").read_text().removesuffix("\n")
    assert comm_of("/proc/none") == ""


def test_lines_that_are_not_the_kernels(tmp_path: Path) -> None:
    """A recording tool, a sandbox's own /proc: what cannot be read is left out."""
    odd = b"".join(
        b"30 1 " + device + b" / /x rw - bpf bpf rw\n"
        for device in (b"0", b"x:1", b"0:1:2", b"0:" + b"9" * 40)
    )
    lines = b"- bpf \n30 - bpf x\n" + odd
    assert list(Elsewhere()._unseen(task(tmp_path, "1", lines), "")) == []
