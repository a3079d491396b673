"""The build backend: setuptools', with archives that are equal each time.

What a wheel or sdist holds depends on its sources alone; when, where, by whom and under
which umask it was built does not show. SOURCE_DATE_EPOCH sets the time that files carry.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # all hooks; two of them stand below

Settings = Mapping[str, Any]

_SOME_DAY = 1_580_601_600  # 2 February 2020, without SOURCE_DATE_EPOCH


def _time() -> int:
    # Zip knows no time before 1980.
    return max(int(os.environ.get("SOURCE_DATE_EPOCH") or _SOME_DAY), 315_619_200)


def build_wheel(
    directory: str, settings: Settings | None = None, metadata: str | None = None
) -> str:
    """Build a wheel, and take out of it what its sources do not tell."""
    name = build_meta.build_wheel(directory, settings, metadata)
    even_wheel(Path(directory, name))
    return name


def build_sdist(directory: str, settings: Settings | None = None) -> str:
    """Build an sdist, and take out of it what its sources do not tell."""
    name = build_meta.build_sdist(directory, settings)
    even_sdist(Path(directory, name))
    return name


def _mode(mode: int) -> int:
    return 0o755 if mode & 0o100 else 0o644


def _last_metadata(member: zipfile.ZipInfo) -> tuple[bool, str]:
    # The metadata stand last, as the specification recommends.
    return (".dist-info/" in member.filename, member.filename)


def even_wheel(path: Path) -> None:
    """Write a wheel again: members in order, one time, modes that no umask made."""
    when = time.gmtime(_time())[:6]
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in sorted(old.infolist(), key=_last_metadata):
            even = zipfile.ZipInfo(member.filename, when)
            even.external_attr = (0o100000 | _mode(member.external_attr >> 16)) << 16
            even.create_system = 3  # Unix
            new.writestr(even, old.read(member), zipfile.ZIP_DEFLATED, 9)
    path.write_bytes(buffer.getvalue())


def even_sdist(path: Path) -> None:
    """Write an sdist again: members in order, one time and owner, modes that no umask made."""
    buffer = io.BytesIO()
    with (
        tarfile.open(path) as old,
        tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            even = tarfile.TarInfo(member.name)
            even.type, even.size, even.linkname = member.type, member.size, member.linkname
            even.mode = 0o755 if member.isdir() else _mode(member.mode)
            even.mtime = _time()
            new.addfile(even, old.extractfile(member) if member.isreg() else None)
    path.write_bytes(gzip.compress(buffer.getvalue(), 9, mtime=0))
