"""Files by their build ids: those that processes run, and separate debug files."""

from __future__ import annotations

import os

from pybpftool.errors import BpfError
from pybpftool.kernel.tasks import processes

_DEBUG = "/usr/lib/debug/.build-id"

_known: dict[str, str] = {}
_is_searched = False


def build_id_file(build_id: bytes) -> str:
    """The path of an ELF file with this build id, empty where none is found.

    What processes have mapped to execute is looked at first, once.
    """
    global _is_searched
    word = build_id.hex()
    if not _is_searched:
        _is_searched = True
        _search()
    path = _known.get(word, "")
    if not path and len(word) > 2:
        path = f"{_DEBUG}/{word[:2]}/{word[2:]}.debug"
        if not os.path.exists(path):
            path = ""
    return path


def _search() -> None:
    """Enter the build ids of all files that processes execute."""
    seen: set[tuple[str, str]] = set()
    try:
        pids = processes()
    except OSError:
        return
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                lines = (file.read() or b"").decode("utf-8", "surrogateescape").split("\n")
        except OSError:
            continue  # it has ended, or belongs to another
        for line in lines:
            fields = line.split(None, 5)
            if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
                continue
            file_id = fields[3], fields[4]  # device and inode
            if file_id in seen:
                continue
            seen.add(file_id)
            path = f"/proc/{pid}/root{fields[5]}"
            found = _build_id(path)
            if found:
                _known.setdefault(found, _plain(path, fields[5]))


def _build_id(path: str) -> str:
    from pybpftool.elf.probes import read_build_id

    try:
        return read_build_id(path)
    except BpfError:
        return ""


def _plain(path: str, inner: str) -> str:
    """The path as we have it ourselves, where that is the same file."""
    try:
        return inner if os.path.samefile(path, inner) else path
    except OSError:
        return path
