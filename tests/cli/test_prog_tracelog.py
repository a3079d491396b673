"""`prog tracelog`: the trace pipe until a signal ends it, and streams of programs."""

from __future__ import annotations

import array
import fcntl
import io
import os
import signal
import termios
import threading
import time
from collections.abc import Iterator
from errno import EPERM
from pathlib import Path

import pytest

from pybpftool.cli.stopping import Stopping
from pybpftool.control import mounts, tracelog
from pybpftool.errors import KernelError
from pybpftool.kernel import pins
from pybpftool.output.stream import Output
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel


class Live(FakeKernel):
    is_live = True


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a trace pipe that stands in the second place, as a FIFO."""
    path = tmp_path / "trace_pipe"
    os.mkfifo(path)
    monkeypatch.setattr(tracelog, "_PLACES", (str(tmp_path / "absent"), str(tmp_path)))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def interrupt_when_read(fd: int, number: int) -> threading.Thread:
    """Send this process a signal when all is read that was written."""

    def wait() -> None:
        unread = array.array("i", [1])
        while unread[0]:
            time.sleep(0.02)
            fcntl.ioctl(fd, termios.FIONREAD, unread)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_prints_lines_until_a_signal(pipe: int, number: int) -> None:
    os.write(pipe, b'one "line"\nbyte \xff\nno end')
    before = signal.getsignal(number)
    thread = interrupt_when_read(pipe, number)
    result = run("prog", "tracelog", kernel=Live())
    thread.join()
    assert (result.status, result.out, result.err) == (0, b'one "line"\nbyte \xff\n', b"")
    assert signal.getsignal(number) == before


def test_json_is_an_array_of_lines(pipe: int) -> None:
    os.write(pipe, b'one "line"\nbyte \xff\n')
    thread = interrupt_when_read(pipe, signal.SIGINT)
    result = run("-j", "prog", "tracelog", kernel=Live())
    thread.join()
    assert result.status == 0
    assert result.out == b'["one \\"line\\"\\n","byte \\udcff\\n"]\n'


def test_lines_show_as_they_come(pipe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = []
    write = Output.write

    def timed(out: Output, text: str) -> None:
        moments.append(time.monotonic())
        write(out, text)

    def feed() -> None:
        for _ in range(5):
            time.sleep(0.05)
            written.append(time.monotonic())
            os.write(pipe, b"line\n")
        interrupt_when_read(pipe, signal.SIGINT).join()

    written: list[float] = []
    monkeypatch.setattr(Output, "write", timed)
    thread = threading.Thread(target=feed)
    thread.start()
    result = run("prog", "tracelog", kernel=Live())
    thread.join()
    assert result.out == b"line\n" * 5
    # Each before the next one is there.
    assert len(moments) == 5
    assert all(moment < after for moment, after in zip(moments, written[1:]))


def test_a_signal_just_before_the_call() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT)]
    reader, writer = os.pipe()
    try:
        with Stopping() as stopping:

            def late() -> bytes:
                stopping.is_asked = True  # as if the handler had run before
                return os.read(reader, 1)

            start = time.monotonic()
            with pytest.raises(InterruptedError):
                stopping.interruptible(late)
            assert time.monotonic() - start < 5
            with pytest.raises(InterruptedError):
                stopping.interruptible(os.read, reader, 1)
            stopping.is_asked = False
            os.write(writer, b"x")
            assert stopping.interruptible(os.read, reader, 1) == b"x"
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        assert [signal.getsignal(each) for each in (signal.SIGALRM, signal.SIGINT)] == before
    finally:
        os.close(reader)
        os.close(writer)


def test_the_end_of_the_pipe_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trace_pipe").write_bytes(b"last\n")
    monkeypatch.setattr(tracelog, "_PLACES", (str(tmp_path),))
    result = run("-j", "prog", "tracelog", kernel=Live())
    assert result.status == 255
    line, error = result.json
    assert line == "last\n" and "has ended" in error["error"]


def with_mounts(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(pins, "open", lambda path, mode: io.BytesIO(text), raising=False)


@pytest.mark.parametrize("name", ["a \rplace", "tr\u00e4ce", "\udcff\\x41"])
def test_tracefs_mounted_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / name  # a name may have any end of a line but that of Unix
    place.mkdir()
    (place / "trace_pipe").write_bytes(b"x\n")
    monkeypatch.setattr(tracelog, "_PLACES", (str(tmp_path / "absent"),))
    shown = os.fsencode(place).replace(b"\\", b"\\134").replace(b" ", b"\\040")
    with_mounts(monkeypatch, b"a /b sysfs rw 0 0\nt " + shown + b" tracefs rw 0 0\n")
    assert run("prog", "tracelog", kernel=Live()).out == b"x\n"


def test_nothing_is_mounted_with_n(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracelog, "_PLACES", (str(tmp_path / "absent"),))
    monkeypatch.setattr(mounts, "mount_tracefs", lambda directory: pytest.fail("mounted"))
    with_mounts(monkeypatch, b"")
    result = run("-n", "prog", "tracelog", kernel=Live())
    assert result.status == 255
    assert_one_sentence(result, "no tracefs is mounted")


def test_a_mount_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(directory: str) -> int:
        raise KernelError.of(f"cannot mount tracefs on '{directory}'", EPERM)

    monkeypatch.setattr(tracelog, "_PLACES", (str(tmp_path / "absent"),))
    monkeypatch.setattr(mounts, "mount_tracefs", refuse)
    with_mounts(monkeypatch, b"")
    result = run("-j", "prog", "tracelog", kernel=Live())
    assert result.status == 255
    assert "cannot mount tracefs" in result.json[0]["error"]


def test_a_stream_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that gives two pieces, then none."""
    kernel = Live()
    kernel.prog(7).fd = 5
    pieces: list[int] = []

    def answer(command: int, address: int, size: int) -> int:
        assert (command, size) == (37, 20)
        return pieces.pop(0) if pieces else 0

    monkeypatch.setattr(tracelog, "bpf", answer)
    for options, stream, out, err in (
        ((), "stdout", bytes(5), b""),
        (("-j",), "stdo", b'"' + b"\\u0000" * 5 + b'"\n', b""),
        ((), "stderr", b"", bytes(5)),
        (("-j",), "stderr", b"null\n", bytes(5)),
    ):
        pieces[:] = [3, 2]
        result = run(*options, "prog", "tracelog", stream, "id", "7", kernel=kernel)
        assert (result.status, result.out, result.err) == (0, out, err)
    pieces[:] = [-22]
    result = run("prog", "tracelog", "stdout", "id", "7", kernel=kernel)
    assert result.status == 255
    assert_one_sentence(result, "Linux 6.17")
    assert kernel.opened == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("x",), "got 'x'"),
        (("stdout",), "ends there"),
        (("stderr", "id", "9"), "9"),
    ],
)
def test_mistakes(words: tuple[str, ...], part: str) -> None:
    result = run("prog", "tracelog", *words, kernel=Live())
    assert result.status == 255
    assert_one_sentence(result, part)


def test_a_recorded_kernel_prints_nothing() -> None:
    result = run("prog", "tracelog", kernel=FakeKernel())
    assert result.status == 255
    assert_one_sentence(result, "recorded kernel")
