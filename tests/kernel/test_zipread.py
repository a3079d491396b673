"""Members of zip files: those that zipfile wrote, with anything before and after; damage."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest

from pybpftool.errors import FormatError
from pybpftool.kernel.zipread import BadZip, ZipFile

MEMBERS = {"a": b"", "b/c": b"x" * 5000, "d": bytes(range(256)), "é": b"utf-8 name"}


def made(method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n" * 100])
@pytest.mark.parametrize("comment", [b"", b"PK a comment"])
def test_members(tmp_path: Path, method: int, before: bytes, comment: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(before + made(method, comment))
    archive = ZipFile(str(path))
    for name, data in MEMBERS.items():
        assert archive.read(name, 10000) == data
    with pytest.raises(KeyError):
        archive.read("none", 10000)
    with pytest.raises(FormatError, match="claims 5000 bytes"):
        archive.read("b/c", 4999)


def test_damage_is_told(tmp_path: Path) -> None:
    """Any byte changed or cut off: the right member, or a refusal."""
    whole = made()
    chance = random.Random(1)
    path = tmp_path / "x.zip"
    refused = 0
    for _ in range(1500):
        data = bytearray(whole)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        for _ in range(chance.randrange(1, 4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            archive = ZipFile(str(path))
        except (BadZip, FormatError):
            refused += 1
            continue
        for name, content in MEMBERS.items():
            try:
                assert archive.read(name, 10000) == content
            except (KeyError, FormatError, OSError):
                refused += 1
    assert refused > 500
