"""A second process for part of the work, and what happens without it."""

from __future__ import annotations

import os
import posix
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pybpftool.worker import Worker
from tests.support.descriptors import descriptors

if TYPE_CHECKING:
    from pybpftool.worker import Send


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: {0, 1})


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    before = set(descriptors())
    yield
    assert set(descriptors()) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_messages_in_their_order() -> None:
    large = bytes(range(256)) * 1000

    def work(send: Send) -> None:
        send([b"one", memoryview(b" and "), b"two"])
        send([])
        send([large])

    with Worker(work) as worker:
        first, nothing, second = (worker.receive() for _ in range(3))
        assert first is not None and bytes(first) == b"one and two"
        assert nothing is not None and bytes(nothing) == b""
        assert second is not None and bytes(second) == large
        assert worker.receive() is None


def test_a_failure_is_the_end_of_messages() -> None:
    def work(send: Send) -> None:
        send([b"first"])
        raise ValueError("not shown")

    with Worker(work) as worker:
        first = worker.receive()
        assert first is not None and bytes(first) == b"first"
        assert worker.receive() is None


def test_work_that_is_not_wanted_any_more(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def work(send: Send) -> None:
        started.touch()
        while True:
            pass

    with pytest.raises(KeyError), Worker(work):
        while not started.exists():
            pass
        raise KeyError


def test_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: {0})
    with Worker(lambda send: send([b"never"])) as worker:
        assert worker.receive() is None


@pytest.mark.parametrize("call", ["memfd_create", "pipe", "fork"])
def test_no_process_to_be_had(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise OSError

    monkeypatch.setattr(posix, call, refuse)
    with Worker(lambda send: send([b"never"])) as worker:
        assert worker.receive() is None
