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
from pybpftool.control import bpf_calls, tracelog
from pybpftool.errors import BpfError
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
    row = {"time": 1.5, "event": "lost", "number": 2, "of": "call"}
    assert text(row) == "00:00:01.500000 lost    2 calls"
    row = {"time": 1.5, "event": "call", "command": "BPF_OBJ_GET", "words": "file_flags=rdonly",
           "result": -2, "error": "ENOENT", "pid": 7, "comm": "x"}  # fmt: skip
    assert text(row) == (
        "00:00:01.500000 call    BPF_OBJ_GET(file_flags=rdonly) = -ENOENT  pid 7 (x)"
    )
    assert text({"time": 1.9999999, "event": "detach", "link_id": 4}).startswith("00:00:02.000000")


_FORMAT = b"""\
name: sys_enter_bpf
ID: 586
format:
\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;

\tfield:int cmd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:union bpf_attr * uattr;\toffset:24;\tsize:8;\tsigned:0;
\tfield:unsigned int size;\toffset:32;\tsize:8;\tsigned:0;
"""


def test_tracepoints_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracelog, "tracefs_file", lambda kernel, path, may_mount: _FORMAT)
    assert bpf_calls._tracepoints(host(), False) == (586, 586)
    narrow = _FORMAT.replace(b"offset:32;\tsize:8", b"offset:20;\tsize:4")
    monkeypatch.setattr(tracelog, "tracefs_file", lambda kernel, path, may_mount: narrow)
    with pytest.raises(BpfError, match="watched on 64-bit kernels only"):
        bpf_calls._tracepoints(host(), False)


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

    def test_calls(self) -> None:
        try:
            with watching("--calls", "--json-lines") as (process, out):
                with load.map_create("hash", 4, 8, 3, name="asked", flags=1):
                    pass
                with contextlib.suppress(load.KernelRefusal):
                    load.obj_get("/sys/fs/bpf/pybt-nothing-is-there")
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                rows = [json.loads(line) for line in out.read().splitlines()]
        except AssertionError as error:
            if "tracepoints of system calls" in str(error):
                pytest.skip(str(error))
            raise
        calls = [row for row in rows if row["event"] == "call" and row["pid"] == os.getpid()]
        made, got = [row for row in calls
                     if row["command"] in ("BPF_MAP_CREATE", "BPF_OBJ_GET")]  # fmt: skip
        assert made["attr"] == {
            "map_type": "hash", "key_size": 4, "value_size": 8, "max_entries": 3,
            "map_flags": ["no_prealloc"], "map_name": "asked",
        }  # fmt: skip
        assert made["result"] > 2 and "error" not in made
        assert got["attr"] == {"pathname": "/sys/fs/bpf/pybt-nothing-is-there"}
        assert (got["result"], got["error"]) == (-2, "ENOENT")
        assert abs(made["time"] - time.time()) < 60
        assert made["time"] < got["time"]
        assert not [row for row in rows if row.get("pid") == process.pid]
        assert not {row.get("name") for row in rows} & {"calls_enter", "calls_exit"}

    def test_calls_that_are_too_many_are_said_to_be_lost(self) -> None:
        with watching("--calls", "--json-lines") as (process, out):
            process.send_signal(signal.SIGSTOP)
            with load.map_create("array", 4, 8, 1, name="many") as map:
                for _ in range(20_000):
                    load.map_lookup(map, bytes(4), 8)
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            rows = [json.loads(line) for line in out.read().splitlines()]
        told = [row for row in rows if row.get("command") == "BPF_MAP_LOOKUP_ELEM"
                and row["pid"] == os.getpid()]  # fmt: skip
        lost = [row for row in rows if row["event"] == "lost" and row["of"] == "call"]
        assert 0 < len(told) < 20_000
        assert len(told) + sum(row["number"] for row in lost) >= 20_000

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
