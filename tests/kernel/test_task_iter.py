"""Descriptors of all tasks by a BPF iterator, beside what /proc says."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import holders, own_programs, perf, syscall, task_iter
from pybpftool.kernel.live import LiveKernel
from tests.support import asm, load
from tests.support.cli import run
from tests.support.descriptors import descriptors

Row = tuple[int, int, int, int, bytes]


def rows(kind: str, without: tuple[int, ...] = ()) -> list[Row]:
    blocks = task_iter.held(kind, without)
    if blocks is None:
        pytest.skip("this kernel has no task_file iterator for us")
    return [row for block in blocks for row in task_iter.HELD.iter_unpack(block)]


def ours(found: list[Row]) -> list[tuple[int, int]]:
    """(descriptor, id) of those of this process."""
    return [(number, id) for pid, _, number, id, _ in found if pid == os.getpid()]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the iterator pays."""
    monkeypatch.setattr(holders, "_limits", lambda: (1, 1))


@pytest.fixture
def held_objects() -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0), name="iterated"))
        kept = {
            "prog": program,
            "map": stack.enter_context(load.map_create("array", 4, 8, 1)),
            "link": stack.enter_context(load.raw_tracepoint_open(program, "sys_exit")),
        }
        yield kept


Holders = dict[int, list[tuple[int, str]]]


def among(found: Holders, pids: tuple[int, ...]) -> Holders:
    """What these processes hold; others come and go while we ask twice."""
    kept = {id: [holder for holder in held if holder[0] in pids] for id, held in found.items()}
    return {id: held for id, held in kept.items() if held}


def others(kernel: LiveKernel, kind: str) -> list[int]:
    """What other processes than this one hold."""
    found = kernel.holders(kind).items()
    return [id for id, held in found if any(pid != os.getpid() for pid, _ in held)]


@contextlib.contextmanager
def forked() -> Iterator[int]:
    """A process that has our descriptors until the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        yield child
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


@pytest.mark.live
class TestHeld:
    @pytest.mark.parametrize("kind", ["prog", "map", "link"])
    def test_a_descriptor_of_ours(self, kind: str, held_objects: dict[str, Any]) -> None:
        fd = held_objects[kind].fd
        before = set(descriptors())
        found = dict(ours(rows(kind)))
        assert set(descriptors()) == before
        expected = next(obj.id for obj in LiveKernel().objects(kind) if obj.id == found[fd])
        assert found[fd] == expected
        # What the search needs itself is not in the answer: all are still open.
        assert {str(number) for number in found} <= before

    def test_left_out_on_demand(self, held_objects: dict[str, Any]) -> None:
        fd = held_objects["map"].fd
        assert fd in dict(ours(rows("map")))
        assert fd not in dict(ours(rows("map", (fd,))))

    def test_nothing_of_it_is_left(self) -> None:
        kernel = LiveKernel()
        kinds = ("prog", "map", "link")
        for _ in range(5):
            before = {kind: {obj.id for obj in kernel.objects(kind)} for kind in kinds}
            for kind in (*kinds, "btf", "event"):
                rows(kind)
            # Other processes load theirs meanwhile, and hold them.
            left = {kind: {obj.id for obj in kernel.objects(kind)} - before[kind] for kind in kinds}
            left = {kind: ids - set(others(kernel, kind)) for kind, ids in left.items()}
            if not any(left.values()):
                break
        assert not any(left.values())

    @pytest.mark.usefixtures("many", "held_objects")
    @pytest.mark.parametrize("kind", ["prog", "map", "link", "btf"])
    def test_holders_are_those_of_proc(self, kind: str) -> None:
        by_iterator, by_proc = LiveKernel(), LiveKernel()
        by_proc.uses_iterators = False
        with forked() as child:
            pids = os.getpid(), child
            found = among(by_iterator.holders(kind), pids)
            assert found == among(by_proc.holders(kind), pids)
        assert kind == "btf" or child in [pid for held in found.values() for pid, _ in held]

    @pytest.mark.usefixtures("many", "held_objects")
    def test_events_are_those_of_proc(self) -> None:
        assert perf.task_fds() == perf.task_fds(use_iterators=False)

    @pytest.mark.usefixtures("many")
    @pytest.mark.parametrize("words", ["prog show", "map show", "link show", "perf show", "doctor"])
    def test_none_is_loaded_against_the_users_will(
        self, words: str, held_objects: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = run("-j", *words.split())
        loads = []

        def refused(self: own_programs.Programs, *_: object) -> None:
            loads.append(words)
            raise own_programs.Refused

        monkeypatch.setattr(own_programs.Programs, "_load", refused)
        without = run("-j", "--no-iter", *words.split())
        assert (without.status, loads) == (usual.status, [])
        mine = load.object_id(held_objects["prog"])
        if words == "prog show":
            row, same = ([row for row in answer.json if row["id"] == mine]
                         for answer in (usual, without))  # fmt: skip
            assert row == same != []

    @pytest.mark.usefixtures("many")
    def test_a_thread_with_descriptors_of_its_own(self) -> None:
        code = (
            "import ctypes, os, sys, threading\n"
            "from tests.support import asm, load\n"
            "def own_files():\n"
            "    ctypes.CDLL(None).unshare(0x400)\n"
            "    program = load.prog_load('raw_tracepoint', asm.ret(0), name='in_thread')\n"
            "    print(os.getpid(), threading.get_native_id(), program.fd, flush=True)\n"
            "    done.wait()\n"
            "done = threading.Event()\n"
            "thread = threading.Thread(target=own_files)\n"
            "thread.start()\n"
            "sys.stdin.read()\n"
            "done.set()\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            pid, tid, fd = map(int, child.stdout.readline().split())
            found = [row[:3] for row in rows("prog")]
            held = LiveKernel().holders("prog")
        assert (pid, tid, fd) in found
        assert pid in [holder[0] for each in held.values() for holder in each]

    def test_a_thread_of_ours_without(self) -> None:
        """Threads that share the descriptors of their process do not come again."""
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        try:
            with load.map_create("array", 4, 8, 1) as map:
                numbers = [number for number, _ in ours(rows("map"))]
                assert numbers.count(map.fd) == 1
        finally:
            done.set()
            thread.join()


class TestRefusals:
    @pytest.mark.parametrize("refused", range(1, 7))
    def test_each_request_may_be_refused(
        self, refused: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = 0
        real = syscall.bpf

        def bpf(cmd: int, attr: int, size: int) -> int:
            nonlocal count
            count += 1
            return -1 if count >= refused else real(cmd, attr, size)

        monkeypatch.setattr(own_programs, "bpf", bpf)
        before = set(descriptors())
        assert task_iter.held("map") is None
        assert set(descriptors()) == before

    def test_without_type_information(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(own_programs, "mapped", lambda: None)
        monkeypatch.setattr(own_programs, "bpf", lambda *_: -1)
        assert task_iter.held("prog") is None

    def test_in_a_pid_namespace_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_iter, "can_iterate", lambda: False)
        assert task_iter.held("prog") is None

    @pytest.mark.usefixtures("many")
    def test_proc_answers_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_iter, "held", lambda *_: None)
        assert isinstance(LiveKernel().holders("prog"), dict)
        with contextlib.suppress(KernelError):  # without privilege
            perf.task_fds()


def test_rows_of_our_own_descriptors_are_taken_out() -> None:
    row = task_iter.HELD.pack
    # One whose name looks like the begin of our rows, at another place than those have it.
    alike = row(8, 8, 5, 42, row(7, 7, 4, 0, b"")[:16])
    ours = [row(7, 7, fd, 40 + fd, b"bpftool") for fd in range(3, 7)]
    thread = row(7, 9, 4, 44, b"bpftool")
    block = b"".join((ours[0], alike, ours[1], ours[2], thread, ours[3]))
    kept = b"".join((alike, ours[2], thread))
    assert task_iter._without(block, 7, frozenset((3, 4, 6))) == kept
    assert task_iter._without(block, 6, frozenset((3, 4, 6))) == block
    assert task_iter._without(b"", 7, frozenset((3,))) == b""


def test_rows_of_the_same_holder_count_once() -> None:
    row = task_iter.HELD.pack
    blocks = [
        row(7, 7, 3, 40, b"agent") + row(7, 7, 4, 40, b"agent") + row(5, 5, 3, 40, b"late\xff"),
        row(7, 9, 3, 41, b"agent"),
    ]
    assert holders.from_blocks(blocks) == {
        40: [(5, "late\udcff"), (7, "agent")],
        41: [(7, "agent")],
    }


def test_objects_with_the_same_holders_share_a_list() -> None:
    row = task_iter.HELD.pack
    held = {9: (1, 2, 2, 3), 8: (1, 2, 3), 5: (2, 3, 4), 7: (4,), 11: (3, 2, 1)}
    blocks = [
        row(pid, pid, fd, id, b"p%d" % pid) for pid in held for fd, id in enumerate(held[pid])
    ]
    found = holders.from_blocks(blocks)
    expected: dict[int, list[tuple[int, str]]] = {}
    for pid in sorted(held):
        for id in dict.fromkeys(held[pid]):
            expected.setdefault(id, []).append((pid, f"p{pid}"))
    assert found == expected
    assert found[2] is found[3]
