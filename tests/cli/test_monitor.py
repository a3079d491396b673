"""``monitor``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Any

import pytest

from pybpftool.cli.monitor import text
from tests.support import asm, load
from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host
from tests.support.nobody import as_nobody

COMMAND = [sys.executable, "-m", "pybpftool", "monitor"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["x"], "unexpected argument 'x'"),
        (["--interval", "1ms"], "at least 10ms"),
        (["--for", "ever"], "cannot read 'ever' as a time"),
        (["--once"], "option '--once' belongs to 'top'"),
        ([], "nothing happens on a recorded kernel"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    assert_one_sentence(run("monitor", *words, kernel=host()), sentence)


def test_lines_and_documents_exclude_one_another() -> None:
    assert run("-j", "monitor", "--json-lines", kernel=host()).json == {
        "error": "--json-lines goes without -j and -p"
    }


@pytest.mark.usefixtures("utc")
def test_texts() -> None:
    row: dict[str, Any] = {"time": 1.5, "event": "load", "prog_id": 3, "type": "xdp", "name": "a",
           "tag": "01", "pid": 7, "comm": "x", "owner": "unit:x.service"}  # fmt: skip
    assert text(row) == (
        "00:00:01.500000 load    prog 3  xdp  name a  tag 01  pid 7 (x)  unit:x.service"
    )
    row = {"time": 1.5, "event": "attach", "link_id": 4, "type": "tcx", "prog_id": 3, "name": "a",
           "place": "ifindex lo(1)"}  # fmt: skip
    assert text(row) == "00:00:01.500000 attach  link 4  tcx  prog 3  name a  ifindex lo(1)"
    row = {"time": 1.5, "event": "lost", "number": 1, "cpu": 0}
    assert text(row) == "00:00:01.500000 lost    1 record of CPU 0"
    assert text({"time": 1.9999999, "event": "detach", "link_id": 4}).startswith("00:00:02.000000")


@contextlib.contextmanager
def watching(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A monitor that has begun to watch."""
    load.requires_bpf()
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        line = process.stderr.readline()
        if b"CAP_PERFMON" in line or b"does not tell" in line:
            pytest.skip(line.decode())
        assert line == b"watching; an interrupt ends it\n"
        try:
            yield process, process.stdout
        finally:
            process.kill()


def loaded(name: str, count: int = 1) -> list[int]:
    ids = []
    for _ in range(count):
        code = asm.mov64(0, 0) + asm.exit_()
        with load.prog_load("socket_filter", code, name=name) as fd:
            ids.append(load.object_id(fd))
    return ids


@pytest.mark.live
class TestLive:
    def test_loads_and_unloads(self) -> None:
        with watching("--json-lines") as (process, out):
            (id,) = loaded("monitor_test")
            process.send_signal(signal.SIGINT)
            rows = [json.loads(line) for line in out.read().splitlines()]
            assert process.wait() == 0
        mine = [row for row in rows if row.get("prog_id") == id]
        assert [row["event"] for row in mine] == ["load", "unload"]
        assert mine[0]["pid"] == os.getpid()
        assert "comm" in mine[0] and "owner" in mine[0] and len(mine[0]["tag"]) == 16
        assert abs(mine[0]["time"] - time.time()) < 60
        assert all(row.get("name", "monitor_test") == "monitor_test" for row in mine)

    def test_many_at_once_are_all_told_or_said_to_be_lost(self) -> None:
        with watching("--json-lines") as (process, out):
            ids = set(loaded("many", 2000))
            process.send_signal(signal.SIGTERM)
            rows = [json.loads(line) for line in out.read().splitlines()]
        told = {row["prog_id"] for row in rows if row["event"] == "load"} & ids
        lost = sum(row["number"] for row in rows if row["event"] == "lost")
        assert told == ids or lost

    def test_links(self) -> None:
        with watching("--interval", "20ms", "--json-lines") as (process, out):
            code = asm.mov64(0, 0) + asm.exit_()
            with load.prog_load("raw_tracepoint", code, name="linked") as prog:
                with load.raw_tracepoint_open(prog, "sched_switch") as link:
                    id = load.object_id(link)
                    time.sleep(1)
                time.sleep(1)
            process.send_signal(signal.SIGINT)
            rows = [json.loads(line) for line in out.read().splitlines()]
        mine = [row for row in rows if row.get("link_id") == id]
        assert [row["event"] for row in mine] == ["attach", "detach"]
        assert (mine[0]["type"], mine[0]["name"]) == ("raw_tracepoint", "linked")
        assert mine[0]["target"]["tp_name"] == "sched_switch"
        assert mine[0]["pid"] == os.getpid()

    def test_a_document_that_ends_by_itself(self) -> None:
        load.requires_bpf()
        result = run("-j", "monitor", "--for", "300ms")
        if result.status:
            pytest.skip(result.text)
        assert isinstance(result.json, list)

    def test_unprivileged(self) -> None:
        done = as_nobody("monitor", "--for", "100ms")
        assert done.returncode == 255
        assert "this needs the capability CAP_PERFMON" in done.stderr
