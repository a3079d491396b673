"""``doctor`` on the running kernel: what is wrong is found, what is well is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import asm, load
from tests.support.cli import run

pytestmark = pytest.mark.live


def findings(*checks: str) -> dict[tuple[str, str, int], dict[str, Any]]:
    result = run("-j", "doctor", *checks)
    assert result.status in (0, 1, 2), result
    rows = result.json["findings"]
    return {(row["check"], row.get("kind", ""), row.get("id", 0)): row for row in rows}


def test_what_is_wrong() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(load.temp_bpffs())
        keep = stack.enter_context
        with load.prog_load("xdp", asm.ret(2), name="pybt_idle") as idle:
            load.obj_pin(idle, folder + "/idle")
            idle_id = load.object_id(idle)
        with load.map_create("array", 4, 8, 1, name="pybt_orphan") as orphan:
            load.obj_pin(orphan, folder + "/orphan")
            orphan_id = load.object_id(orphan, "map")
        full = keep(load.map_create("hash", 4, 8, 10, name="pybt_full"))
        half = keep(load.map_create("hash", 4, 8, 10, name="pybt_half"))
        for number in range(10):
            load.map_update(full, struct.pack("=I", number), bytes(8))
            if number < 5:
                load.map_update(half, struct.pack("=I", number), bytes(8))
        jumps = keep(load.map_create("prog_array", 4, 4, 4, name="pybt_jumps"))
        code = asm.assemble(
            [asm.ld_map_fd(asm.R2, jumps.fd), asm.mov64(asm.R3, 2), asm.call(12),
             asm.mov64(asm.R0, 0), asm.exit_()]
        )  # fmt: skip
        caller = keep(load.prog_load("raw_tracepoint", code, name="pybt_caller"))
        keep(load.raw_tracepoint_open(caller, "cpuhp_enter"))
        target = keep(load.prog_load("raw_tracepoint", asm.ret(0), name="pybt_target"))
        load.map_update(jumps, struct.pack("=I", 1), struct.pack("=I", target.fd))
        found = findings("unattached", "unused", "full", "tail-call", "unheld")

        def map_id(fd: load.Fd) -> int:
            return load.object_id(fd, "map")

        assert ("unattached", "prog", idle_id) in found
        assert ("unused", "map", orphan_id) in found
        assert "full: 10 of 10" in found["full", "map", map_id(full)]["what"]
        assert ("full", "map", map_id(half)) not in found
        assert "slot 2 is empty" in found["tail-call", "map", map_id(jumps)]["what"]
        for fd in (full, half, jumps):
            assert ("unheld", "map", map_id(fd)) not in found
        # With the slot filled, all is well.
        load.map_update(jumps, struct.pack("=I", 2), struct.pack("=I", target.fd))
        assert ("tail-call", "map", map_id(jumps)) not in findings("tail-call")


def test_statistics_that_another_process_keeps_on() -> None:
    from pybpftool.control.stats import RunTimeStats
    from pybpftool.kernel.live import LiveKernel

    def told() -> bool:
        return ("stats", "pid", os.getpid()) in findings("stats")

    with RunTimeStats(LiveKernel()):
        # The descriptor of a process that asks is its own matter: `top` of another is found.
        assert not told()
        command = [sys.executable, "-m", "pybpftool", "-j", "doctor", "stats"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = [row for row in json.loads(done.stdout)["findings"] if row.get("id") == os.getpid()]
        assert [row["check"] for row in found] == ["stats"]
        comm = Path("/proc/self/comm").read_text().strip()
        assert found[0]["label"] == f"process {os.getpid()} ({comm})"
        assert done.returncode == 1
    assert not told()


def test_nothing_hides_while_objects_come_and_go() -> None:
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                prog = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0)))
                stack.enter_context(load.raw_tracepoint_open(prog, "cpuhp_enter"))
            assert findings("hidden") == {}
