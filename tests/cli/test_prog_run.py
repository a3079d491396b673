"""``prog run``: its words, and runs in the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.cli.grammar import Args
from pybpftool.cli.prog_run import _Plan
from pybpftool.control.run import run_program
from pybpftool.errors import UsageError
from pybpftool.kernel.interface import BpfObject
from pybpftool.uapi.bpf import PROG_TYPES
from tests.support.cli import Result, assert_one_sentence, run
from tests.support.descriptors import descriptors
from tests.support.fakekernel import FakeKernel
from tests.support.runnable import Runnable, load_runnable

PACKET = (
    bytes(12) + b"\x08\0" + bytes.fromhex("4500003400010000400600000a0000010a000002") + b"A" * 20
)


def plan(line: str) -> _Plan:
    return _Plan(Args(line.split()))


def test_words() -> None:
    found = plan(
        "data_in - data_out out data_size_out 0x10 ctx_in f ctx_out - ctx_size_out 010 r 3"
    )
    assert found.texts == {"data_in": "-", "data_out": "out", "ctx_in": "f", "ctx_out": "-"}
    assert found.numbers == {"data_size_out": 16, "ctx_size_out": 8, "repeat": 3}
    assert plan("data_i a data_i b e 4").texts == {"data_in": "b"}
    assert plan("data 00 ctx {1}").texts == {"data": "00", "ctx": "{1}"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("d x", "short for more than one: data_in, data_out, data_size_out"),
        ("data_ x", "short for more than one"),
        ("c x", "short for more than one: ctx_in, ctx_out, ctx_size_out"),
        ("bogus", "got 'bogus'"),
        ("data_in", "the command ends there"),
        ("repeat 3x", "cannot read '3x' as a number of runs"),
        ("repeat 0x100000000", "too large"),
        ("data_in - ctx_in -", "cannot be both"),
        ("data 00 data_in f", "cannot both be given"),
        ("ctx_in f ctx {1}", "cannot both be given"),
        ("data_in f ctx_size_out 8", "'ctx_size_out' needs 'ctx_in' or 'ctx'"),
    ],
)
def test_words_that_are_refused(line: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        plan(line)


@pytest.mark.parametrize(
    ("type", "data", "ctx", "room", "sizes"),
    [
        # Bytes of room for data and for a context, as the kernel hears of them.
        ("tracing", None, None, (0, 0), (0, 0)),
        ("tracing", None, None, (10, 0), (10, 0)),
        ("xdp", bytes(14), None, (0, 0), (1 << 15, 0)),
        ("xdp", bytes(14), bytes(24), (9, 8), (9, 8)),
        ("xdp", bytes(14), bytes(24), (1 << 31, 0), (1 << 22, 1 << 15)),
        ("syscall", None, bytes(8), (7, 0), (7, 0)),
    ],
)
def test_room(
    monkeypatch: pytest.MonkeyPatch,
    type: str,
    data: bytes | None,
    ctx: bytes | None,
    room: tuple[int, int],
    sizes: tuple[int, int],
) -> None:
    """Room for data that is not given is told to the kernel, whose types judge it differently."""
    asked: list[tuple[int, ...]] = []

    def bpf(cmd: int, address: int, size: int) -> int:
        asked.append(struct.unpack("=4I2Q4I2Q3I4x", ctypes.string_at(address, size)))
        return 0

    monkeypatch.setattr("pybpftool.control.run.bpf", bpf)
    monkeypatch.setattr("pybpftool.control.run.require_live", lambda kernel: None)
    prog = BpfObject("prog", 7, 3, struct.pack("=I", PROG_TYPES.index(type)))
    repeat = 0 if type == "syscall" else 1
    outcome = run_program(FakeKernel(), prog, data, ctx, repeat, room)
    (attr,) = asked
    assert (attr[3], attr[9]) == sizes
    assert (bool(attr[5]), bool(attr[11])) == (data is not None, ctx is not None and bool(sizes[1]))
    assert (outcome.data is None) == (data is None)


def test_a_recorded_kernel_runs_nothing() -> None:
    kernel = FakeKernel()
    kernel.prog(7)
    result = run("prog", "run", "id", "7", "data_in", "/dev/null", kernel=kernel)
    assert_one_sentence(result, "a recorded kernel cannot be changed")


@pytest.fixture(scope="module")
def runnable() -> Iterator[dict[str, Runnable]]:
    with contextlib.ExitStack() as stack:
        yield {prog.label: prog for prog in load_runnable(stack)}


@pytest.mark.live
class TestRuns:
    @pytest.fixture(autouse=True)
    def _programs(self, runnable: dict[str, Runnable], tmp_path: Path) -> None:
        self.runnable = runnable
        self.place = tmp_path
        (tmp_path / "packet").write_bytes(PACKET)

    def go(self, label: str, *words: str, mode: str = "", stdin: bytes = b"") -> Result:
        number = str(self.runnable[label].id)
        return run(*mode.split(), "prog", "run", "id", number, *words, stdin=stdin)

    def packet(self, label: str, *words: str, mode: str = "") -> Result:
        return self.go(label, "data_in", str(self.place / "packet"), *words, mode=mode)

    def test_the_packet_that_comes_back(self) -> None:
        result = self.packet("xdp_write", "data_out", "-", mode="-j")
        assert (result.status, result.json["retval"]) == (0, len(PACKET))
        changed = PACKET[:1] + bytes([PACKET[1] ^ 0xFF]) + PACKET[2:]
        assert bytes(result.json["data_out"]) == changed[4:]
        lines = self.packet("xdp_write", "data_out", "-").text.splitlines()
        assert lines[0] == "0000000\t0000 0000 0000 0000 0800 4500 0034 0001 | ........ ..E..4.."
        assert lines[-1].startswith(f"Return value: {len(PACKET)}, duration: ")

    def test_files(self) -> None:
        out = self.place / "out"
        assert self.packet("xdp_pass", "data_out", str(out)).status == 0
        assert out.read_bytes() == PACKET
        result = self.packet("xdp_pass", "data_out", str(self.place / "no" / "out"))
        assert_one_sentence(result, "cannot write the file")
        assert result.text.startswith("Return value: 2, ")
        assert not (self.place / "no").exists()

    def test_files_that_cannot_be_written(self) -> None:
        no = str(self.place / "no" / "out")
        words = ("ctx", "{}", "data_out", no, "ctx_out", no, "expect", "99")
        result = self.packet("cls_write", *words, mode="-j")
        assert result.status == 255
        assert list(result.json) == ["error", "retval", "duration"]
        assert result.json["error"].count("cannot write the file") == 2
        assert "not 99 as expected" in result.json["error"]
        result = self.packet("cls_write", *words)
        assert [line.split()[0] for line in result.errors.splitlines()] == ["Error:"] * 3
        assert result.text.startswith("Return value: ")

    def test_standard_input(self) -> None:
        result = self.go("xdp_pass", "data_in", "-", "data_out", "-", mode="-j", stdin=PACKET)
        assert bytes(result.json["data_out"]) == PACKET

    def test_repetition_is_the_kernels(self) -> None:
        text = self.packet("cls_write", "repeat", "1000").text
        assert text.startswith("Return value: ") and ", duration (average): " in text
        # Each run adds to the same packet's mark and priority.
        value = int(text.split()[2].rstrip(","))
        assert value == len(PACKET) + 999 * 0x01020304 & 0xFFFFFFFF

    def test_a_typed_context(self) -> None:
        words = ("ctx", "{.mark = 7}", "ctx_out", "-", "expect", str(len(PACKET) + 7))
        result = self.packet("cls_write", *words, mode="-j")
        assert result.status == 0
        assert struct.unpack_from("=I", bytes(result.json["ctx_out"]), 8) == (7 + 0x01020304,)

    def test_typed_data(self) -> None:
        data = "struct ethhdr {.h_dest = {1, 2}}, 0a0b"
        result = self.go("xdp_pass", "data", data, "data_out", "-", mode="-j")
        assert bytes(result.json["data_out"]) == b"\1\2" + bytes(12) + b"\x0a\x0b"

    def test_programs_without_input(self) -> None:
        if "raw_tp" in self.runnable:
            assert self.go("raw_tp_bare").text.startswith("Return value: 77, ")
            assert self.go("raw_tp", "ctx", "{40, 2}", "expect", "42").status == 0
        if "syscall" in self.runnable:
            assert self.go("syscall_bare").text.startswith("Return value: 5, ")
            assert self.go("syscall_bare", "repeat", "0", "data_size_out", "9").status == 0
            (self.place / "ctx").write_bytes(struct.pack("=2I", 3, 8))
            words = ("ctx_in", str(self.place / "ctx"), "ctx_out", "-")
            result = self.go("syscall", *words, mode="-j")
            assert result.json["retval"] == 8
            assert bytes(result.json["ctx_out"]) == struct.pack("=2I", 4, 8)
            result = self.go("syscall", "ctx_in", str(self.place / "ctx"), "repeat", "2")
            assert_one_sentence(result, "once at a time, not 2 times")

    def test_an_expectation(self) -> None:
        assert self.packet("xdp_pass", "expect", "2").status == 0
        result = self.packet("xdp_pass", "expect", "0x3")
        assert_one_sentence(result, "the program returned 2, not 3 as expected")
        assert result.text.startswith("Return value: 2, ")
        result = self.packet("xdp_pass", "expect", "3", mode="-j")
        assert result.status == 255 and result.json["retval"] == 2 and "error" in result.json
        # As an option, too, wherever options may stand.
        assert self.packet("xdp_pass", "--expect", "2").status == 0
        result = self.packet("xdp_pass", "--expect=3", "expect", "2")
        assert_one_sentence(result, "the program returned 2, not 3 as expected")
        assert_one_sentence(self.packet("xdp_pass", "--expect", "two"), "cannot read 'two'")

    def test_what_is_refused(self) -> None:
        (self.place / "short").write_bytes(bytes(13))
        result = self.go("xdp_pass", "data_in", str(self.place / "short"))
        assert_one_sentence(result, "need 14 bytes of data or more", "and 13 are given")
        assert_one_sentence(self.go("xdp_pass"), "and none is given")
        assert_one_sentence(self.go("xdp_pass", "data_in", str(self.place)), "Is a directory")
        assert_one_sentence(self.go("xdp_pass", "data_in", "/nowhere"), "No such file")
        assert_one_sentence(self.go("sock_ops", "data", "00"), "no test run for programs")
        assert_one_sentence(self.packet("xdp_pass", "ctx", "{.rx = 1}"), "no member 'rx'")

    def test_nothing_stays_open(self) -> None:
        before = descriptors()
        self.packet("xdp_pass", "data_out", "-")
        self.go("xdp_pass")
        assert descriptors() == before
