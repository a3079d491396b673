"""What is published: metadata, what an sdist holds, archives that are equal each time."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

import pybpftool

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()


def strings(name: str) -> list[str]:
    """The strings of a value of pyproject.toml (3.9 and 3.10 have no tomllib)."""
    match = re.search(rf"^{name} = (\[.*?\]|\{{.*?\}}|\".*?\")", PROJECT, re.DOTALL | re.MULTILINE)
    assert match, name
    return re.findall(r'"([^"\n]*)"', match.group(1))


class TestMetadata:
    def test_version(self) -> None:
        assert strings("version") == [pybpftool.__version__]
        assert f"\n## {pybpftool.__version__}" in (ROOT / "CHANGELOG.md").read_text()

    def test_licence_is_spdx(self) -> None:
        assert strings("license") == ["BSD-2-Clause"]
        for name in strings("license-files"):
            assert (ROOT / name).read_text().startswith("BSD 2-Clause License")

    def test_every_python(self) -> None:
        versions = [f"3.{minor}" for minor in range(9, 15)]
        named = [c.rpartition(" ")[2] for c in strings("classifiers") if "Python :: 3." in c]
        assert named == versions
        assert strings("requires-python") == [f">={versions[0]}"]

    def test_people_find_it(self) -> None:
        assert strings("authors")
        assert {"bpf", "bpftool", "btf"} <= set(strings("keywords"))
        for name in ("Homepage", "Documentation", "Changelog", "Issues"):
            assert strings(name)[0].startswith(strings("Homepage")[0])

    def test_links_of_the_readme(self) -> None:
        """An index shows README.md without the files beside it."""
        text = (ROOT / "README.md").read_text()
        home = strings("Homepage")[0]
        raw = home.replace("//github.com", "//raw.githubusercontent.com") + "/main/"
        targets = re.findall(r"\]\(([^)]+)\)", text)
        assert any(target.endswith(".svg") for target in targets)
        for target in targets:
            if target.startswith("#"):
                continue
            if target.startswith("https://") and "/pybpftool" not in target:
                continue  # somebody else's
            base = raw if target.startswith(raw) else f"{home}/blob/main/"
            assert target.startswith(base), target
            assert (ROOT / target[len(base) :]).is_file(), target


def test_what_an_sdist_holds() -> None:
    """Each thing at the top is taken along or made anew."""
    manifest = (ROOT / "MANIFEST.in").read_text()
    taken = set(re.findall(r"\S+", re.sub(r"(?m)^#.*$", "", manifest)))
    by_itself = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "setup.cfg"}
    ignored = {line.strip().strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    for entry in os.listdir(ROOT):
        if entry in taken | by_itself or entry == ".git":
            continue
        assert any(Path(entry).match(pattern) for pattern in ignored), entry


@pytest.fixture(scope="module")
def backend() -> Any:
    """``.ci/backend.py`` without setuptools, which makes the archives that it works on."""
    names = ("setuptools", "setuptools.build_meta")
    before = {name: sys.modules.get(name) for name in names}
    fake = types.ModuleType("setuptools")
    fake.build_meta = types.ModuleType("setuptools.build_meta")  # type: ignore[attr-defined]
    sys.modules.update({"setuptools": fake, "setuptools.build_meta": fake.build_meta})
    try:
        spec = importlib.util.spec_from_file_location("backend", ROOT / ".ci" / "backend.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
    return module


FILES = {"p/__init__.py": 0o644, "p/script": 0o755, "p-1.dist-info/RECORD": 0o644}


class TestEqualArchives:
    def wheel(self, path: Path, year: int, umask: int, names: list[str]) -> Path:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                member = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
                member.external_attr = (0o100000 | FILES[name] & ~umask) << 16
                file.writestr(member, name)
        return path

    def test_wheel(self, backend: Any, tmp_path: Path) -> None:
        one = self.wheel(tmp_path / "one.whl", 2001, 0o022, list(FILES))
        two = self.wheel(tmp_path / "two.whl", 2026, 0o077, list(FILES)[::-1])
        assert one.read_bytes() != two.read_bytes()
        backend.even_wheel(one)
        backend.even_wheel(two)
        assert one.read_bytes() == two.read_bytes()
        with zipfile.ZipFile(one) as file:
            members = {m.filename: m.external_attr >> 16 & 0o777 for m in file.infolist()}
            assert members == FILES
            assert file.namelist()[-1].endswith("RECORD")
            assert all(file.read(name).decode() == name for name in FILES)

    def sdist(self, path: Path, mtime: int, umask: int, names: list[str]) -> Path:
        with tarfile.open(path, "w:gz") as file:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.mode = len(name), mtime, FILES[name] & ~umask
                member.uid, member.uname = mtime, f"user{mtime}"
                file.addfile(member, io.BytesIO(name.encode()))
        return path

    def test_sdist(self, backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        one = self.sdist(tmp_path / "one.tar.gz", 1, 0o022, list(FILES))
        two = self.sdist(tmp_path / "two.tar.gz", 2, 0o077, list(FILES)[::-1])
        backend.even_sdist(one)
        backend.even_sdist(two)
        assert one.read_bytes() == two.read_bytes()
        with tarfile.open(one) as file:
            assert {m.name: m.mode for m in file} == FILES
            assert {(m.mtime, m.uid, m.uname) for m in file} == {(1700000000, 0, "")}
            for name in FILES:
                content = file.extractfile(name)
                assert content is not None and content.read().decode() == name
