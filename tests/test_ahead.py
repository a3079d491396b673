"""Items made by a thread: which, in which order, how many at a time, and how it ends."""

from __future__ import annotations

import _thread
import posix
import threading
from collections.abc import Iterator

import pytest

from pybpftool import ahead as module
from pybpftool.ahead import ahead, meanwhile

SECONDS = 20.0  # for what takes a moment
FEW = 2  # items that need no thread


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(module, "_FEW", FEW)


class Source:
    """Numbers up to a count, which notes who made them and when it was closed."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.count = count
        self.failure = failure
        self.makers: list[int] = []
        self.went_on = threading.Semaphore(0)
        self.is_closed = False

    def items(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                self.makers.append(threading.get_ident())
                self.went_on.release()
                yield number
            if self.failure is not None:
                raise self.failure
        finally:
            self.is_closed = True

    @property
    def threads(self) -> int:
        return len(set(self.makers))


@pytest.mark.parametrize("count", (*range(6), 500))
def test_all_items_in_their_order(count: int) -> None:
    source = Source(count)
    assert list(ahead(source.items())) == list(range(count))
    assert source.threads == (2 if count > FEW else min(count, 1))
    assert source.is_closed


@pytest.mark.parametrize("count", range(6))
def test_an_exception_comes_at_its_place(count: int) -> None:
    found = []
    with pytest.raises(KeyError, match="that one"):
        for item in ahead(Source(count, KeyError("that one")).items()):
            found.append(item)
    assert found == list(range(count))


def test_an_item_is_made_while_another_is_worked_on() -> None:
    source = Source(9)
    for item in ahead(source.items()):
        if item == 4:
            while len(source.makers) < 6:
                assert source.went_on.acquire(timeout=SECONDS)


def test_three_items_exist_at_a_time() -> None:
    source = Source(50)
    most = 0
    for item in ahead(source.items()):
        while source.went_on.acquire(timeout=0.01):
            pass
        most = max(most, len(source.makers) - item)
        if item == 12:
            break
    assert most == 3


@pytest.mark.parametrize("last", (0, 1, 2, 3, 7))
def test_the_thread_is_done_when_the_items_are_closed(last: int) -> None:
    source = Source(50)
    items = source.items()
    wanted = ahead(items)
    for item in wanted:
        if item == last:
            break
    wanted.close()
    made = len(source.makers)
    items.close()  # type: ignore[attr-defined]  # fails while another thread is in it
    assert source.is_closed
    assert len(source.makers) == made


def test_no_thread_where_it_is_not_worth_one() -> None:
    source = Source(9)
    assert list(ahead(source.items(), is_worth=False)) == list(range(9))
    assert source.threads == 1


def test_one_processor_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: {0})
    source = Source(9)
    assert list(ahead(source.items())) == list(range(9))
    assert source.threads == 1


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", fail)
    source = Source(9)
    assert list(ahead(source.items())) == list(range(9))
    assert source.threads == 1


@pytest.mark.parametrize("failure", (None, KeyError("that one")))
def test_a_thread_that_never_begins(
    monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    started = []
    monkeypatch.setattr(_thread, "start_new_thread", lambda make, _: started.append(make))
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    source = Source(9, failure)
    found = []
    try:
        for item in ahead(source.items()):
            found.append(item)
            for make in started:
                make()  # too late: it must leave the items alone
    except KeyError as error:
        assert error is failure
    assert found == list(range(9))
    assert source.threads == 1


def test_a_slow_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.001)

    def slow() -> Iterator[int]:
        for number in range(5):
            if number > 2:
                threading.Event().wait(0.02)
            yield number

    assert list(ahead(slow())) == list(range(5))


class TestMeanwhile:
    def test_a_thread_makes_it(self) -> None:
        may_end = threading.Event()
        result = meanwhile(lambda: may_end.wait(SECONDS) and threading.get_ident())
        may_end.set()
        assert result() == result() != threading.get_ident()

    def test_what_it_raises(self) -> None:
        def fail() -> int:
            raise KeyError("that one")

        result = meanwhile(fail)
        for _ in range(2):
            with pytest.raises(KeyError, match="that one"):
                result()

    @pytest.mark.parametrize("failure", (None, KeyError("that one")))
    def test_a_thread_that_never_begins(
        self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
    ) -> None:
        """One that gets no memory for its first frame."""
        started = []
        monkeypatch.setattr(_thread, "start_new_thread", lambda run, _: started.append(run))
        monkeypatch.setattr(module, "_PATIENCE", 0.01)
        calls: list[None] = []

        def make() -> int:
            calls.append(None)
            if failure is not None:
                raise failure
            return 5

        result = meanwhile(make)
        if failure is None:
            assert result() == 5
        else:
            with pytest.raises(KeyError, match="that one"):
                result()
        started[0]()  # too late
        assert len(calls) == 1

    def test_a_slow_one_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PATIENCE", 0.001)
        assert meanwhile(lambda: threading.Event().wait(0.05) or 5)() == 5

    def test_no_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> int:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(_thread, "start_new_thread", fail)
        with pytest.raises(RuntimeError):
            meanwhile(list)
