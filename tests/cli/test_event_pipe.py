"""`map event_pipe`: every sample of live programs, in order, until a signal."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pybpftool.kernel.rings import RECORD_LOST, RECORD_SAMPLE, OutputRing, _event
from tests.support import asm, load
from tests.support.cli import assert_one_sentence, run
from tests.support.descriptors import descriptors

BPF_F_CURRENT_CPU = 0xFFFFFFFF


def sender(array: load.Fd, flags: int = BPF_F_CURRENT_CPU) -> load.Fd:
    """A program that sends the first 12 bytes of its context through the array."""
    code = [
        asm.mov64(asm.R6, asm.R1),
        asm.ldx(8, asm.R7, asm.R1, 0),
        asm.stx(8, asm.R10, -16, asm.R7),
        asm.ldx(8, asm.R7, asm.R1, 8),
        asm.stx(8, asm.R10, -8, asm.R7),
        asm.ld_map_fd(asm.R2, array.fd),
        asm.ld_imm64(asm.R3, flags),
        asm.mov64(asm.R4, asm.R10),
        asm.alu64("add", asm.R4, -16),
        asm.mov64(asm.R5, 12),
        asm.call(25),  # bpf_perf_event_output
        asm.mov64(asm.R0, 0),
        asm.exit_(),
    ]
    return load.prog_load("raw_tracepoint", asm.assemble(code))


def send(prog: load.Fd, number: int) -> None:
    """Run the program once, on this CPU."""
    load.prog_test_run(prog, ctx_in=struct.pack("=QQ", number, 0x1122334455667788))


@contextlib.contextmanager
def piping(array: load.Fd, *words: str, mode: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """The command, once it listens."""
    number = str(load.object_id(array, "map"))
    command = [sys.executable, "-m", "pybpftool", *mode.split(), "map", "event_pipe", "id", number]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait()


def until_it_listens(prog: load.Fd, process: subprocess.Popen[bytes]) -> bytes:
    """Send sample 0 until the first one is printed; what was printed by then."""
    assert process.stdout is not None
    end = time.monotonic() + 30
    data = b""
    while time.monotonic() < end:
        send(prog, 0)
        if select.select([process.stdout], [], [], 0.05)[0]:
            data += os.read(process.stdout.fileno(), 1 << 16)
            if data.strip(b"[\n"):
                return data
    raise AssertionError("nothing was printed")


def finish(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> bytes:
    """Signal it and wait for its end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"Stopping...\n")
    return out


def numbers(text: str) -> list[int]:
    """The first eight bytes of each sample."""
    found = []
    for line in text.splitlines():
        if re.fullmatch(r"(?:[0-9a-f]{2} {1,2}){11}[0-9a-f]{2}", line):
            found.append(struct.unpack("<Q", bytes.fromhex(line)[:8])[0])
    return found


@pytest.mark.live
@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
def test_text(number: int) -> None:
    with (
        load.map_create("perf_event_array", 4, 4, 64) as array,
        sender(array) as prog,
        piping(array) as process,
    ):
        data = until_it_listens(prog, process)
        for count in range(1, 40):
            send(prog, count)
        text = (data + finish(process, number)).decode()
    order = [count for count in numbers(text) if count]
    # Samples of one CPU are in order; ours may have moved from one to another.
    assert sorted(order) == list(range(1, 40))
    head = re.compile(r"== @\d+\.\d{9} CPU: (\d+) index: (\d+) =====\n(?:[0-9a-f]{2} {1,2}){11}")
    rows = head.findall(text)
    assert len(rows) == len(numbers(text)) and all(cpu == index for cpu, index in rows)


@pytest.mark.live
def test_json() -> None:
    with load.map_create("perf_event_array", 4, 4, 64) as array, sender(array) as prog:
        for mode in ("-j", "-jp"):
            with piping(array, mode=mode) as process:
                data = until_it_listens(prog, process)
                send(prog, 7)
                rows = json.loads(data + finish(process))
            assert {row["type"] for row in rows} == {RECORD_SAMPLE}
            assert list(rows[-1]) == ["type", "cpu", "index", "timestamp", "data"]
            sent = [row["data"] for row in rows if row["data"][0] == 7]
            assert sent == [[7, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55]]


@pytest.mark.live
@pytest.mark.parametrize("mode", ("", "-j"))
def test_in_this_process(mode: str) -> None:
    """Handlers and descriptors are as before, and what came before the signal is printed."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    gc.collect()  # what earlier tests left open must not be closed meanwhile
    before = len(descriptors())
    with load.map_create("perf_event_array", 4, 4, 64) as array, sender(array) as prog:
        number = str(load.object_id(array, "map"))

        def meanwhile() -> None:
            time.sleep(1)
            for count in (1, 2, 3):
                send(prog, count)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=meanwhile)
        thread.start()
        result = run(*mode.split(), "map", "event_pipe", "id", number)
        thread.join()
    assert (result.status, result.err) == (0, b"Stopping...\n")
    if mode:
        assert sorted(row["data"][0] for row in result.json) == [1, 2, 3]
    else:
        assert sorted(numbers(result.text)) == [1, 2, 3]  # they may be of several CPUs
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(descriptors()) == before


@pytest.mark.live
def test_nothing_is_left_in_the_map() -> None:
    """The rings are out of the map again, so that a second pipe works."""
    with load.map_create("perf_event_array", 4, 4, 64) as array, sender(array) as prog:
        for _ in range(2):
            with piping(array) as process:
                until_it_listens(prog, process)
                finish(process)


@pytest.mark.live
def test_one_cpu_and_index() -> None:
    with load.map_create("perf_event_array", 4, 4, 64) as array:
        with sender(array, flags=9) as prog, piping(array, "cpu", "0", "index", "9") as process:
            os.sched_setaffinity(0, {0})
            try:
                data = until_it_listens(prog, process)
                send(prog, 5)
            finally:
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
            text = (data + finish(process)).decode()
        assert "CPU: 0 index: 9 =====" in text
        assert numbers(text)[-1] == 5


@pytest.mark.live
def test_a_flood_loses_nothing_unsaid() -> None:
    """Samples that do not fit the ring are counted; all others are printed."""
    count = 20_000
    with (
        load.map_create("perf_event_array", 4, 4, 64) as array,
        sender(array) as prog,
        piping(array) as process,
    ):
        os.sched_setaffinity(0, {0})
        try:
            data = until_it_listens(prog, process)
            assert process.stdout is not None
            parts = [data]
            for number in range(1, count + 1):
                send(prog, number)
                if number % 50 == 0 and select.select([process.stdout], [], [], 0)[0]:
                    parts.append(os.read(process.stdout.fileno(), 1 << 20))
        finally:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        text = (b"".join(parts) + finish(process)).decode()
    arrived = [number for number in numbers(text) if number]
    lost = sum(map(int, re.findall(r"^lost (\d+) events$", text, re.MULTILINE)))
    assert arrived == sorted(set(arrived))
    # What was lost at the very end is not told by the kernel before the next sample.
    assert count - lost - len(arrived) >= 0
    if arrived[-1] == count:
        assert len(arrived) + lost == count


@pytest.mark.live
def test_a_closed_pipe() -> None:
    with (
        load.map_create("perf_event_array", 4, 4, 64) as array,
        sender(array) as prog,
        piping(array) as process,
    ):
        until_it_listens(prog, process)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:
            send(prog, 1)
            time.sleep(0.02)
        assert process.returncode == 141
        assert process.stderr.read() == b""


@pytest.mark.live
@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("cpu 0", "'cpu' and 'index' have to be given together"),
        ("index 0", "'cpu' and 'index' have to be given together"),
        ("cpu", "expected a CPU's number"),
        ("cpu x index 1", "cannot read 'x'"),
        ("bogus 1", "expected 'cpu' or 'index', got 'bogus'"),
        ("cpu 100000 index 0", "cannot open a perf event on CPU 100000"),
        ("cpu 0 index 64", "cannot update"),
    ],
)
def test_refusals(words: str, part: str) -> None:
    with load.map_create("perf_event_array", 4, 4, 64) as array:
        number = str(load.object_id(array, "map"))
        before = len(descriptors())
        assert_one_sentence(run("map", "event_pipe", "id", number, *words.split()), part)
        assert len(descriptors()) == before


class _FakeRing(OutputRing):
    """A ring whose memory a test writes."""

    def __init__(self, records: bytes, start: int, size: int = 4096) -> None:
        self.cpu = 0
        area = bytearray(size)
        for index, byte in enumerate(records):
            area[(start + index) % size] = byte
        self._data = memoryview(area)
        self._words = memoryview(bytearray(2048)).cast("Q")
        self._mask = size - 1
        self._words[129] = start
        self._words[128] = start + len(records)


def record(kind: int, body: bytes) -> bytes:
    """A record with its header."""
    return struct.pack("=IHH", kind, 0, 8 + len(body)) + body


@pytest.mark.parametrize("start", (0, 4000, 4088, 3 * 4096 - 4))
def test_records_that_wrap_around(start: int) -> None:
    sample = record(RECORD_SAMPLE, struct.pack("=QI", 1_000_000_001, 5) + b"hello" + bytes(7))
    lost = record(RECORD_LOST, struct.pack("=QQ", 3, 12))
    other = record(77, bytes(8))
    ring = _FakeRing(sample + lost + other, start)
    events = list(ring.events())
    assert [event.type for event in events] == [RECORD_SAMPLE, RECORD_LOST, 77]
    assert (events[0].time, events[0].data) == (1_000_000_001, b"hello")
    assert (events[1].id, events[1].lost) == (3, 12)
    assert events[2].size == 16
    assert ring._words[129] == ring._words[128]
    assert list(ring.events()) == []


def test_a_ring_of_nonsense_ends() -> None:
    assert list(_FakeRing(bytes(64), 0).events()) == []
    assert _event(RECORD_SAMPLE, b"short").data == b""


def test_texts_of_events() -> None:
    from pybpftool.cli.event_pipe import _record, _text

    event = _event(RECORD_LOST, record(RECORD_LOST, struct.pack("=QQ", 3, 12)))
    assert _text(event, 1, 2) == "lost 12 events\n"
    assert _record(event, 1, 2) == {
        "type": 2,
        "cpu": 1,
        "index": 2,
        "lost": {"id": 3, "count": 12},
    }
    event = _event(77, record(77, bytes(8)))
    assert _text(event, 1, 2) == "unknown event type=77 size=16\n"
    assert _record(event, 1, 2) == {"type": 77, "cpu": 1, "index": 2}
    event = _event(
        RECORD_SAMPLE, record(RECORD_SAMPLE, struct.pack("=QI", 5 * 10**9 + 7, 2) + b"ab")
    )
    assert _text(event, 1, 2) == "== @5.000000007 CPU: 1 index: 2 =====\n61 62\n"
