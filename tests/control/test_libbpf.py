"""The module that calls libbpf."""

from __future__ import annotations

import ctypes

import pytest

from pybpftool.control import libbpf
from pybpftool.control.bpf_object import BpfObjectFile
from pybpftool.control.libbpf import DEBUG, WARN, LibbpfError, Messages
from pybpftool.control.refusal import refused


def library() -> libbpf.Libbpf:
    try:
        return libbpf.library()
    except LibbpfError as error:
        pytest.skip(str(error))


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "_library", None)
    monkeypatch.setattr(libbpf, "SONAME", "libbpf.so.no-such")
    with pytest.raises(LibbpfError, match=r"install the package libbpf1"):
        libbpf.library()


def test_version_and_every_function() -> None:
    lib = library()
    major, minor = map(int, lib.version.split("."))
    assert major >= 1
    assert [name for name in libbpf._FUNCTIONS if not lib.has(name)] == []
    assert minor >= 0


def test_a_function_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lib = library()
    monkeypatch.setitem(libbpf._FUNCTIONS, "bpf_future", ("9.9", ctypes.c_int, ()))
    assert not lib.has("bpf_future")
    with pytest.raises(LibbpfError, match=rf"libbpf 9\.9 or newer, and libbpf {lib.version} is"):
        lib.call("bpf_future")


def test_what_the_library_says_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    lib = library()
    lib.messages = Messages()
    assert lib.prog_type("xdp") is not None
    assert lib.prog_type("no such section") is None
    texts = [text for _, text in lib.messages.said]
    assert any("no such section" in text for text in texts)
    assert capfd.readouterr() == ("", "")


def test_aloud() -> None:
    heard: list[str] = []
    messages = Messages(heard.append)
    messages.add(DEBUG, "libbpf: a\n")
    messages.add(WARN, "libbpf: b\n")
    assert heard == ["libbpf: a\n", "libbpf: b\n"]
    assert messages.warnings() == ["b"]


class FakeLibrary:
    version = "1.1"

    def __init__(self, *said: str) -> None:
        self.messages = Messages()
        for text in said:
            self.messages.add(WARN, f"libbpf: {text}\n")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ((), "cannot load: Invalid argument"),
        (("map 'm': failed to create: x", "failed to load object 'a.o'"),
         "cannot load: libbpf says: map 'm': failed to create: x"),
        (("prog 'p': BPF program load failed: x",
          "prog 'p': -- BEGIN PROG LOAD LOG --\n; a = b; @ f.c:7\n0: (95) exit\nR0 !read_ok\n"
          "-- END PROG LOAD LOG --", "prog 'p': failed to load: -22"),
         "cannot load: the verifier refuses the program 'p' at f.c:7 `a = b;`: R0 !read_ok"),
        (("prog 'p': -- BEGIN PROG LOAD LOG --\n; a = b; @ f.c:7\n0: (95) exit\n"
          "processed 1 insns (limit 1000000)\n-- END PROG LOAD LOG --",),
         "cannot load: the kernel refuses the program 'p': Invalid argument"),
    ],
)  # fmt: skip
def test_sentences(said: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert str(refused("cannot load", FakeLibrary(*said), 22)) == sentence  # type: ignore[arg-type]


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    lib = FakeLibrary("prog 'p': bad map relo against 'x' in section '.addr_space.1'")
    sentence = str(refused("cannot open", lib, 22))  # type: ignore[arg-type]
    assert sentence.endswith(" (this needs libbpf 1.4 or newer, and libbpf 1.1 is installed)")
    lib = FakeLibrary(
        "prog 'p': -- BEGIN PROG LOAD LOG --\nexception callback type id not found in func_info\n"
        "-- END PROG LOAD LOG --"
    )
    sentence = str(refused("cannot load", lib, 22))  # type: ignore[arg-type]
    assert sentence.endswith(" (this needs libbpf 1.3 or newer, and libbpf 1.1 is installed)")
    lib.version = "1.10"
    assert "newer" not in str(refused("cannot open", lib, 22))  # type: ignore[arg-type]


def test_a_reason_that_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    lib = FakeLibrary()
    lib.messages.add(DEBUG, "libbpf: sec '.data': failed to find ELF symbol for VAR 'x'\n")
    sentence = "cannot open: libbpf says: sec '.data': failed to find ELF symbol for VAR 'x'"
    assert str(refused("cannot open", lib, 2)) == sentence  # type: ignore[arg-type]
    lib.messages.add(DEBUG, "libbpf: looking for externs among 3 symbols...\n")
    unknown = "cannot open: No such file or directory"
    assert str(refused("cannot open", lib, 2)) == unknown  # type: ignore[arg-type]


def test_numbers_of_libbpf_itself() -> None:
    error = refused("cannot load", FakeLibrary(), 4003)  # type: ignore[arg-type]
    assert str(error) == "cannot load: error 4003 of libbpf"


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(57)])
def test_files_that_are_no_objects(data: bytes, tmp_path: object) -> None:
    path = f"{tmp_path}/x.o"
    with open(path, "wb") as file:
        file.write(data)
    library()
    from pybpftool.errors import BpfError

    with pytest.raises(BpfError, match="cannot open"), BpfObjectFile(path):
        pass
