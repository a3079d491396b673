"""Files by build id."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.elf.probes import read_build_id
from pybpftool.errors import BpfError
from pybpftool.kernel import build_ids


def test_our_own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_ids, "_known", {})
    monkeypatch.setattr(build_ids, "_is_searched", False)
    path = Path(sys.executable).resolve()
    word = read_build_id(str(path))
    if not word:
        pytest.skip("this Python was linked without a build id")
    if shutil.which("readelf"):
        listed = subprocess.run(
            ["readelf", "-n", str(path)], capture_output=True, text=True, check=True
        )
        assert word in listed.stdout
    assert Path(build_ids.build_id_file(bytes.fromhex(word))).samefile(path)
    assert build_ids.build_id_file(bytes(20)) == ""
    assert build_ids.build_id_file(b"") == ""


def test_a_path_that_ends_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_ids, "_known", {})
    monkeypatch.setattr(build_ids, "_is_searched", False)
    program = shutil.which("tac")  # which hardly anybody else runs
    word = read_build_id(program) if program else ""
    if not program or not word:
        pytest.skip("there is no tac with a build id")
    path = tmp_path / "a \x1cr-xp b"
    shutil.copy(program, path)
    with subprocess.Popen([path], stdin=subprocess.PIPE) as process:
        found = build_ids.build_id_file(bytes.fromhex(word))
        process.kill()
    assert found == str(path)


def test_what_is_no_elf_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x7fELF nonsense")
    with pytest.raises(BpfError):
        read_build_id(str(path))
    with pytest.raises(BpfError, match="cannot read"):
        read_build_id(str(tmp_path / "none"))
