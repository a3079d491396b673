"""``version``."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest

from pybpftool import UPSTREAM_VERSION, __version__
from pybpftool.cli import version
from pybpftool.control import libbpf
from tests.support.cli import run


@pytest.mark.parametrize("argv", [["version"], ["-V"], ["--version"], ["v"], ["-V", "prog"]])
def test_text(argv: list[str]) -> None:
    result = run(*argv)
    assert (result.status, result.err) == (0, b"")
    lines = result.text.splitlines()
    assert lines[0] == f"pybpftool v{__version__}"
    assert lines[1] == f"following bpftool v{UPSTREAM_VERSION}"
    assert "libbpf" in lines[2]
    assert lines[3].startswith("features:")


def test_json() -> None:
    answer = run("-j", "version").json
    assert answer["version"] == __version__
    assert answer["upstream_version"] == UPSTREAM_VERSION
    assert answer["libbpf_version"] == version.libbpf_version()
    names = {"capstone", "graphviz", "pyelftools", "pyroute2", "tabulate"}
    assert set(answer["features"]) == names
    assert run("-p", "version").json == answer


def test_an_adapter_without_its_package_is_no_feature() -> None:
    with mock.patch.object(sys, "meta_path", [object()]):
        from pybpftool.cli.version import _is_installed

        assert not _is_installed("tabulate")
    assert _is_installed("json")


def test_libbpf_by_the_name_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "_directories", lambda: ["/no/such", str(tmp_path)])
    (tmp_path / "libbpf.so.1").symlink_to("libbpf.so.1.7.3")
    assert run("version").text.splitlines()[2] == "using libbpf v1.7"


def test_where_a_32_bit_python_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", (1 << 31) - 1)
    monkeypatch.setattr(sys.implementation, "_multiarch", "i386-linux-gnu", raising=False)
    directories = version._directories()
    assert "/usr/lib/i386-linux-gnu" in directories
    assert "/lib64" not in directories
    assert "/usr/lib/x86_64-linux-gnu" not in directories


def test_no_libbpf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "_directories", list)
    monkeypatch.setattr(libbpf, "_library", None)
    monkeypatch.setattr(libbpf, "SONAME", "libbpf.so.no-such")
    assert run("version").text.splitlines()[2] == "without libbpf"
    assert run("-j", "version").json["libbpf_version"] is None


def test_surplus_words_are_ignored_as_upstream_does() -> None:
    assert run("version", "more").status == 0


class TestUnderTheNameBpftool:
    """What build systems do: meson compares the first number, others cut the first line."""

    @pytest.fixture(params=["bpftool", "/usr/sbin/bpftool"], autouse=True)
    def name(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", [request.param])

    @pytest.mark.parametrize("word", ["version", "-V", "--version"])
    def test_text(self, word: str) -> None:
        lines = run(word).text.splitlines()
        assert lines[0] == f"bpftool v{UPSTREAM_VERSION}"
        assert lines[1] == f"by pybpftool v{__version__}"
        assert lines[3].startswith("features: ")

    def test_json(self) -> None:
        answer = run("-j", "version").json
        assert answer["version"] == UPSTREAM_VERSION
        assert answer["pybpftool_version"] == __version__
        assert "features" in answer
