"""Network namespaces that mounts and descriptors keep, read from a /proc made by hand."""

from __future__ import annotations

import builtins
import io
import os
import posix
from pathlib import Path
from typing import Any

import pytest

from pybpftool.kernel import kept_namespaces


@pytest.mark.parametrize(
    ("text", "inode"),
    [("net:[4026531840]", 4026531840), ("mnt:[4026531840]", 0), ("net:[]", 0), ("net:[x]", 0),
     ("/etc/passwd", 0), ("", 0)],
)  # fmt: skip
def test_inode(text: str, inode: int) -> None:
    assert kept_namespaces._inode(text) == inode


def test_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = tmp_path / "with blank", tmp_path / "over"
    here.touch()
    other.touch()
    number = here.stat().st_ino
    point = str(here).replace(" ", "\\040")
    lines = (
        f"1 2 0:4 net:[{number}] {point} rw - nsfs nsfs rw\n"
        f"1 2 0:4 net:[{number + 100000}] {other} rw - nsfs nsfs rw\n"  # another lies over it
        f"1 2 0:4 mnt:[{number}] {point} rw - nsfs nsfs rw\n"
        f"1 2 0:4 net:[{number}] /nonexistent/{{}} rw - nsfs nsfs rw\n"
        "nonsense - nsfs nsfs rw\n"
        "1 2 8:1 / / rw - ext4 /dev/sda rw\n"
    ).encode()
    real = builtins.open

    def fake(path: Any, *args: Any, **kwargs: Any) -> Any:
        if str(path).endswith("/mountinfo"):
            return io.BytesIO(lines)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", fake)
    monkeypatch.setattr(kept_namespaces, "tasks", lambda: iter([(os.getpid(), "/proc/self")]))
    assert list(kept_namespaces._mounted()) == [(str(here), number, str(here), 0, "")]


def test_descriptors_of_processes_that_end_or_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"/proc": ["1", "2", "self"], "/proc/2/fd": ["3", "4", "5"]}
    links = {"/proc/2/fd/3": "net:[77]", "/proc/2/fd/4": "socket:[5]"}

    def listdir(path: str) -> list[str]:
        if path not in folders:
            raise PermissionError
        return folders[path]

    def readlink(path: str) -> str:
        if path not in links:
            raise FileNotFoundError
        return links[path]

    monkeypatch.setattr(posix, "listdir", listdir)
    monkeypatch.setattr(posix, "readlink", readlink)
    monkeypatch.setattr(kept_namespaces, "comm_of", lambda task: "agent")
    assert list(kept_namespaces._open()) == [("/proc/2/fd/3", 77, "", 2, "agent")]


def test_what_is_known_by_a_task_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_namespaces, "network_namespaces", lambda: [("", 1, "", 5, "a")])
    rows = [("/m", 1, "/m", 0, ""), ("/n", 2, "/n", 0, "")]
    monkeypatch.setattr(kept_namespaces, "_mounted", lambda: iter(rows))
    monkeypatch.setattr(
        kept_namespaces, "_open", lambda: iter([("/f", 2, "", 6, "b"), ("/g", 3, "", 6, "b")])
    )
    assert kept_namespaces.kept_network_namespaces() == [
        ("/n", 2, "/n", 0, ""), ("/g", 3, "", 6, "b")
    ]  # fmt: skip
