"""Linking by the system's libbpf: what comes out, what is refused, what cannot be digested."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.control import libbpf, linker
from pybpftool.errors import BpfError
from pybpftool.gen.opening import open_bytes
from tests.support.bpfc import compile_object

ONE = """
int seen = 1;
int twice(int x);
SEC("xdp") int first(void *ctx) { return twice(seen); }
"""
TWO = """
extern int seen;
int __attribute__((noinline)) twice(int x) { return x * 2 + seen; }
SEC("tc") int second(void *ctx) { return twice(3); }
"""


@pytest.fixture(autouse=True)
def _needs_libbpf() -> None:
    try:
        libbpf.library()
    except libbpf.LibbpfError:
        pytest.skip("no libbpf")


def test_two_objects(tmp_path: Path) -> None:
    first = compile_object(tmp_path, ONE, "one")
    second = compile_object(tmp_path, TWO.replace("LICENSE", "OTHER"), "two")
    obj = open_bytes(linker.link([first, second]), "both")
    assert {program.name for program in obj.programs} == {"first", "second"}
    assert {one.name for one in obj.functions if one.is_subprog} == {"twice"}
    assert obj.externs == []
    assert obj.license == "GPL"
    assert [
        section for section in obj.elf.sections if (section.name or "").startswith(".debug")
    ] == []


def test_two_of_a_name(tmp_path: Path) -> None:
    path = compile_object(tmp_path, ONE)
    with pytest.raises(BpfError, match="cannot link"):
        linker.link([path, path])


def test_said_aloud(tmp_path: Path) -> None:
    heard: list[str] = []
    with pytest.raises(BpfError):
        linker.link([str(tmp_path / "none")], heard.append)
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(BpfError, match=r"broken\.o"):
        linker.link([str(broken)])


def test_a_library_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compile_object(tmp_path, ONE)

    def crash(*_: object) -> Iterator[None]:
        os.kill(os.getpid(), 9)
        yield

    monkeypatch.setattr(linker, "_link", crash)
    with pytest.raises(BpfError, match="ended with SIGKILL"):
        linker.link([path])
