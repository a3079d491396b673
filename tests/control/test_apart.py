"""Work in another process: what it says and raises arrives here, and its end stays its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybpftool.control.apart import CrashedError, apart, as_bpf_error, as_plain
from pybpftool.control.libbpf import LibbpfError
from pybpftool.control.pin import PinSet
from pybpftool.errors import BpfError, FormatError, KernelError, LoadError


def test_it_goes_step_by_step(tmp_path: Path) -> None:
    progress = tmp_path / "progress"

    def work(say: Callable[..., None], aloud: object) -> Iterator[object]:
        assert aloud is None
        say("begun", 1)
        yield [b"\0\xff", {"a": None}]
        progress.write_text("asked on")
        say("ended", 2)
        yield os.getpid()

    heard: list[tuple[str, int]] = []
    items = apart("a.o", work, say=lambda *said: heard.append(said), aloud=None)
    assert next(items) == [b"\0\xff", {"a": None}]
    assert heard == [("begun", 1)]
    assert not progress.exists()
    pid = next(items)
    assert pid != os.getpid()
    assert heard == [("begun", 1), ("ended", 2)]
    assert list(items) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    "error",
    [
        BpfError("no"),
        FormatError("bad"),
        LibbpfError("old"),
        KernelError("refused", 22),
        LoadError("refused: \udcff", 13, "prog", "log"),
    ],
)
def test_its_errors_are_raised_here(error: BpfError) -> None:
    def work() -> Iterator[int]:
        yield 1
        raise error

    items = apart("a.o", work)
    assert next(items) == 1
    with pytest.raises(type(error)) as raised:
        next(items)
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)
    again = as_bpf_error(*as_plain(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_errors_of_other_kinds() -> None:
    def fail(error: Exception) -> Iterator[object]:
        def work() -> Iterator[int]:
            raise error
            yield

        return apart("a.o", work)

    with pytest.raises(FileNotFoundError) as missing:
        next(fail(OSError(2, "none", "x")))
    assert missing.value.filename == "x"
    with pytest.raises(MemoryError):
        next(fail(MemoryError()))
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by nothing") as mistake:
        next(fail(ZeroDivisionError("by nothing")))
    assert "test_apart.py" in str(mistake.value.__cause__)


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (10, "SIGUSR1")])
def test_a_crash_is_a_sentence(number: int, name: str) -> None:
    def work() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), number)
        yield 2

    items = apart("bad.o", work)
    assert next(items) == 1
    with pytest.raises(CrashedError, match=rf"libbpf cannot digest 'bad\.o': it ended with {name}"):
        next(items)


def test_who_asks_for_no_more_ends_it_in_order(tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    def work() -> Iterator[int]:
        try:
            yield os.getpid()
            yield 2
        finally:
            ended.write_text("in order")

    items = apart("a.o", work)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert ended.read_text() == "in order"


def test_what_fails_here_ends_it_at_once(tmp_path: Path) -> None:
    went_on = tmp_path / "went on"

    def work(say: Callable[..., None]) -> Iterator[int]:
        say()
        os.read(os.pipe()[0], 1)  # as long as it takes
        went_on.touch()
        yield 1

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(apart("a.o", work, say=interrupt))
    assert not went_on.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_ended_by_a_signal_leaves_nothing(number: int, tmp_path: Path) -> None:
    """A group gets it, as from a terminal; the second process then takes back what it did."""
    script = f"""
import os, signal, sys, time
from pybpftool.control.apart import apart

def work(say):
    open({str(tmp_path / "half")!r}, "w").close()
    try:
        print("begun", flush=True)
        for _ in range(1000):
            time.sleep(0.01)
            say()
    finally:
        os.unlink({str(tmp_path / "half")!r})
    yield 1

for number in (signal.SIGINT, signal.SIGHUP):  # whatever the tests run under
    signal.signal(number, signal.SIG_DFL)
list(apart("a.o", work, say=lambda: None))
"""
    first = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert first.stdout is not None
    first.stdout.readline()
    assert (tmp_path / "half").exists()
    if number == signal.SIGKILL:
        first.kill()
    else:
        os.killpg(first.pid, number)
    assert first.wait() == -number
    first.stdout.read()  # which the second has open to its end
    first.stdout.close()
    assert not (tmp_path / "half").exists()


def test_what_a_crash_leaves_is_taken_back(tmp_path: Path) -> None:
    directory = tmp_path / "made"

    def work(note: Callable[..., None]) -> Iterator[int]:
        pins = PinSet(False, note)
        directory.mkdir()
        pins.note(1, str(directory))
        (directory / "pin").touch()
        pins.adopt(f"{directory}/pin")
        os.kill(os.getpid(), 9)
        yield 1

    pins = PinSet(False)
    with pytest.raises(CrashedError):
        next(apart("a.o", work, note=pins.note))
    assert directory.exists()
    pins.undo()
    assert not directory.exists()


def test_what_was_taken_back_there_is_left_alone_here(tmp_path: Path) -> None:
    place = tmp_path / "pin"

    def work(note: Callable[..., None]) -> Iterator[int]:
        pins = PinSet(False, note)
        pins.adopt(str(place))
        pins.undo()
        yield 1

    pins = PinSet(False)
    assert list(apart("a.o", work, note=pins.note)) == [1]
    place.touch()  # somebody else's
    pins.undo()
    assert place.exists()
