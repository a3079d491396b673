"""`perf show` of constructed kernel answers."""

from __future__ import annotations

import errno

import pytest

from pybpftool.errors import KernelError
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeattached import AttachedKernel


@pytest.fixture
def kernel() -> AttachedKernel:
    kernel = AttachedKernel()
    kernel.prog(5, type=2, name=b"watcher\0")
    kernel.tasks = [
        (1, 3, 5, 0, b"sys_enter", 0, 0),
        (1, 4, 5, 1, b"sched_switch", 0, 0),
        (20, 5, 6, 2, b"vfs_read", 4, 0),
        (20, 6, 6, 2, b"", 0, 0xFFFFFFFF81000000),
        (20, 7, 6, 3, b"vfs_read", 0, 0),
        (20, 8, 6, 4, b"/bin/a b", 16, 0),
        (20, 9, 6, 5, b"/bin/\xff", 32, 0),
        (20, 10, 6, 77, b"", 0, 0),
    ]
    kernel.places["/bin/a b", 16] = {"symbol": "main", "symbol_offset": 0, "usdt": ["a:b", "c:d"]}
    return kernel


def test_text(kernel: AttachedKernel) -> None:
    result = run("perf", "show", kernel=kernel)
    assert result.status == 0
    assert result.out == (
        b"pid 1  fd 3: prog_id 5  raw_tracepoint  sys_enter\n"
        b"pid 1  fd 4: prog_id 5  tracepoint  sched_switch\n"
        b"pid 20  fd 5: prog_id 6  kprobe  func vfs_read  offset 4\n"
        b"pid 20  fd 6: prog_id 6  kprobe  addr 18446744071578845184\n"
        b"pid 20  fd 7: prog_id 6  kretprobe  func vfs_read  offset 0\n"
        b"pid 20  fd 8: prog_id 6  uprobe  filename /bin/a b  offset 16\n"
        b"pid 20  fd 9: prog_id 6  uretprobe  filename /bin/\xff  offset 32\n"
        b"pid 20  fd 10: prog_id 6  \n"
    )


def test_json(kernel: AttachedKernel) -> None:
    rows = run("-j", "perf", kernel=kernel).json
    assert rows[0] == {
        "pid": 1,
        "fd": 3,
        "prog_id": 5,
        "fd_type": "raw_tracepoint",
        "tracepoint": "sys_enter",
    }
    assert rows[2] | {"pid": 0} == {
        "pid": 0,
        "fd": 5,
        "prog_id": 6,
        "fd_type": "kprobe",
        "func": "vfs_read",
        "offset": 4,
    }
    assert rows[3]["addr"] == 0xFFFFFFFF81000000 and "func" not in rows[3]
    assert list(rows[5])[-2:] == ["filename", "offset"]
    assert rows[7] == {"pid": 20, "fd": 10, "prog_id": 6}


def test_resolve(kernel: AttachedKernel) -> None:
    lines = run("--resolve", "perf", kernel=kernel).text.splitlines()
    assert lines[0] == "pid 1  fd 3: prog_id 5 (watcher)  raw_tracepoint  sys_enter"
    assert lines[5].endswith("offset 16  symbol main  usdt a:b, c:d")
    assert lines[6].endswith("offset 32")
    rows = run("--resolve", "-j", "perf", kernel=kernel).json
    assert rows[0]["prog_name"] == "watcher" and "prog_name" not in rows[5]
    assert rows[5]["symbol"] == "main" and rows[5]["usdt"] == ["a:b", "c:d"]
    assert kernel.opened == 0


def test_nothing_and_refusal() -> None:
    kernel = AttachedKernel()
    assert run("perf", kernel=kernel).out == b""
    assert run("-j", "perf", "list", kernel=kernel).out == b"[]\n"
    kernel.tasks = KernelError.of("cannot query the perf events of tasks", errno.EPERM)
    result = run("perf", kernel=kernel)
    assert result.status != 0
    assert_one_sentence(result, "perf events")
    refused = run("-j", "perf", kernel=kernel)
    assert refused.status == 255 and list(refused.json) == ["error"]
    assert run("perf", "unknown", kernel=kernel).status != 0


def test_help() -> None:
    result = run("perf", "help", kernel=AttachedKernel())
    assert result.status == 0 and "perf { show | list }" in result.errors
