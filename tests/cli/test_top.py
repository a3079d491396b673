"""``top``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.uapi.bpf import BPF_PROG_INFO
from tests.support import asm, load
from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host
from tests.support.nobody import as_nobody
from tests.support.terminal import on_terminal

COMMAND = [sys.executable, "-m", "pybpftool", "top"]
SYSCTL = Path("/proc/sys/kernel/bpf_stats_enabled")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["x"], "unexpected argument 'x'"),
        (["--by", "progs"], "did you mean 'prog'?"),
        (["--interval", "50ms"], "at least 0.1s"),
        (["--interval", "soon"], "cannot read 'soon' as a time"),
        (["--once", "--for", "2s"], "exclude one another"),
        (["--sort", "cpu"], "no column 'cpu'"),
        (["--filter", "nme=x"], "did you mean 'name'?"),
        (["--by", "owner", "--sort", "id"], "no column 'id'"),
        (["--color", "x"], "--color is not 'x'"),
        ([], "the programs of a recorded kernel do not run"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    assert_one_sentence(run("top", *words, kernel=host()), sentence)


def test_lines_and_documents_exclude_one_another() -> None:
    assert run("-j", "top", "--json-lines", kernel=host()).json == {
        "error": "--json-lines goes without -j and -p"
    }


def test_help() -> None:
    assert run("top", "help").errors.startswith("Usage: pybpftool top")


@pytest.fixture
def prog() -> Iterator[load.Fd]:
    load.requires_bpf()
    with load.prog_load("socket_filter", asm.mov64(0, 0) + asm.exit_(), name="top_test") as fd:
        yield fd


def calls(prog: load.Fd, repeat: int = 50_000) -> None:
    load.prog_test_run(prog, bytes(14), repeat=repeat)


def run_cnt(prog: load.Fd) -> int:
    at = next(offset for name, offset, _ in BPF_PROG_INFO if name == "run_cnt")
    return int.from_bytes(load.info(prog)[at : at + 8], sys.byteorder)


@pytest.mark.live
class TestLive:
    def test_lines(self, prog: load.Fd) -> None:
        id = load.object_id(prog)
        with subprocess.Popen(
            [*COMMAND, "--interval", "200ms", "--for", "4s", "--json-lines", "--filter",
             f"id={id},calls>0"],
            stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            for _ in range(30):
                calls(prog)
                time.sleep(0.1)
            assert process.stdout is not None
            rows = [json.loads(line) for line in process.stdout.read().splitlines()]
        assert process.returncode == 0
        assert rows
        assert {row["id"] for row in rows} == {id}
        assert all(row["calls"] > 0 and row["name"] == "top_test" for row in rows)
        assert all(row["time_ns"] > 0 and row["ns_per_call"] > 0 for row in rows)

    def test_once_and_documents(self, prog: load.Fd) -> None:
        id = load.object_id(prog)
        (table,) = run("-j", "top", "--once", "--interval", "100ms").json
        assert id in [row["id"] for row in table["rows"]]
        text = run("top", "--once", "--interval", "100ms").text
        assert text.splitlines()[1].split() == ["ID", "TYPE", "NAME", "CALLS/S", "NS/CALL", "CPU%",
                                                "OWNER"]  # fmt: skip
        assert "top_test" in text
        owners = run("-j", "top", "--once", "--by", "owner", "--interval", "100ms").json[0]["rows"]
        assert sum(row["programs"] for row in owners) >= 1

    def test_statistics_go_off_however_it_ends(self, prog: load.Fd) -> None:
        if SYSCTL.read_text().strip() != "0":
            pytest.skip("somebody has turned them on")
        for end in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with subprocess.Popen([*COMMAND, "-j"], stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.read(2)  # the first table comes
                process.send_signal(end)
                rest = process.stdout.read()
                process.wait()
            if end != signal.SIGKILL:
                assert process.returncode == 0
                json.loads(b"[{" + rest)
            before = run_cnt(prog)
            calls(prog)
            assert run_cnt(prog) == before, end
            assert SYSCTL.read_text().strip() == "0"

    def test_a_terminal(self, prog: load.Fd) -> None:
        words = ("top", "--for", "600ms", "--interval", "200ms")
        shown = on_terminal(*words, COLUMNS="60")
        assert shown.startswith("\x1b[2J\x1b[H")
        assert shown.count("\x1b[H") >= 2  # the first is drawn, and drawn anew
        assert "\x1b[7m" in shown
        assert "top_test" in shown

    def test_unprivileged(self) -> None:
        done = as_nobody("top", "--once")
        assert done.returncode == 255
        assert done.stderr == (
            "Error: run-time statistics cannot be turned on: this needs the capability"
            " CAP_SYS_ADMIN\n"
        )
