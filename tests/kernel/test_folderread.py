"""A snapshot that is a folder: plain files below it, whatever the names in it say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import FormatError
from pybpftool.kernel.folderread import Folder
from tests.support.cli import assert_one_sentence, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    (path / "blobs").mkdir(parents=True)
    (path / "plain").write_bytes(b"12345")
    (path / "blobs" / "aa").write_bytes(b"blob")
    (tmp_path / "secret").write_bytes(b"classified")
    return path


def test_members(folder: Path) -> None:
    members = Folder(str(folder))
    assert members.read("plain", 5) == b"12345"
    assert members.read("blobs/aa", 99) == members.read("blobs/aa", 4) == b"blob"
    with pytest.raises(FormatError, match="plain has 5 bytes"):
        members.read("plain", 4)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../secret", "blobs/../../secret", "blobs/..", "./plain", "/etc/passwd", "none",
     "blobs/none", "none/aa", "plain/aa", "a\0b", "blobs/" + "x" * 300, "blobs/aa/b", "blobs//aa"],
)  # fmt: skip
def test_names_that_lead_nowhere(folder: Path, name: str) -> None:
    with pytest.raises(KeyError):
        Folder(str(folder)).read(name, 99)


def test_what_is_no_plain_file(folder: Path) -> None:
    (folder / "link").symlink_to("../secret")
    (folder / "loop").symlink_to("loop")
    (folder / "below").symlink_to("/etc", True)
    os.mkfifo(folder / "fifo")
    members = Folder(str(folder))
    for name, part in (
        ("link", "symbolic link"),
        ("loop", "symbolic link"),
        ("fifo", "no plain file"),
        ("blobs", "no plain file"),
    ):
        with pytest.raises(FormatError, match=part):
            members.read(name, 99)
    with pytest.raises((KeyError, FormatError)):
        members.read("below/passwd", 1 << 20)


def test_hostile_answers_reach_no_other_file(folder: Path) -> None:
    manifest: dict[str, Any] = {
        "format": 2, "program": "pybpftool", "machine": "x", "release": "1", "byteorder": "<",
        "recorded_at": 1,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "blobs" / "bb").symlink_to("../../secret")
    for blob in ("../../secret", "../secret", "/etc/passwd", "bb", "..", "none"):
        content = {"objects": {"prog": [[1, {"blob": blob}, False]]}, "answers": {}}
        (folder / "answers.json").write_text(json.dumps(content))
        result = run("snapshot", "show", str(folder))
        assert_one_sentence(result, "is damaged")
        assert b"classified" not in result.out + result.err


def test_a_manifest_that_is_none(folder: Path) -> None:
    assert_one_sentence(run("snapshot", "show", str(folder)), "it has no manifest.json")
    (folder / "manifest.json").symlink_to("plain")
    assert_one_sentence(run("snapshot", "show", str(folder)), "symbolic link")
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    assert_one_sentence(run("snapshot", "show", str(folder)), "no plain file")
    (folder / "manifest.json").rmdir()
    (folder / "manifest.json").write_bytes(b"{}")
    assert_one_sentence(run("snapshot", "show", str(folder)), "not a snapshot")
