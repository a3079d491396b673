"""Items of an iterator, or a value, made by a thread a little before they are wanted.

Worth it where the kernel or a C library makes them, during which the interpreter is free
for something else; for what Python itself computes see :mod:`pybpftool.worker`.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any, TypeVar

    Item = TypeVar("Item")
    Value = TypeVar("Value")

# Items that are made before there is a thread: on a busy machine it may be waited for longer
# than a short iterator takes.
_FEW = 8
_PATIENCE = 1.0  # seconds within which a thread that was started does begin


def ahead(items: Iterator[Item], is_worth: bool = True) -> Generator[Item, None, None]:
    """The same items and, where it comes among them, the same exception.

    Up to three exist at a time: the one that is worked on, one that waits, one being made.
    Where it is not worth a thread, there is one CPU, or no thread can be started, each is made
    when it is asked for. To be closed before what the items are made from.
    """
    for _, item in zip(range(_FEW), items):
        yield item
    if not is_worth or len(posix.sched_getaffinity(0)) < 2:
        yield from items
        return
    maker = _Maker(items)
    try:
        yield from maker.all() if maker.start() else items
    finally:
        maker.stop()


def meanwhile(make: Callable[[], Value]) -> Callable[[], Value]:
    """Let a thread make a value: what is returned waits for it, and raises what ``make`` raised.

    Raises RuntimeError where no thread can be started.
    """
    from _thread import allocate_lock

    made: list[Value] = []
    failures: list[BaseException] = []
    is_made = allocate_lock()  # held until then
    is_made.acquire()

    def work() -> None:
        try:
            made.append(make())
        except BaseException as error:
            failures.append(error)
        is_made.release()

    def result() -> Value:
        while not is_made.acquire(timeout=_PATIENCE):
            if worker.takes_over():
                work()
        is_made.release()
        if failures:
            raise failures[0]
        return made[0]

    worker = _Worker(work)
    return result


class _Worker:
    """A thread that does some work, if nobody else has begun it."""

    __slots__ = ("_right", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        """Raises RuntimeError where no thread can be started."""
        from _thread import allocate_lock, start_new_thread

        self._right = allocate_lock()  # held by whoever does it
        self._work = work
        start_new_thread(self._run, ())

    def _run(self) -> None:
        if self.takes_over():
            self._work()

    def takes_over(self) -> bool:
        """Whether the work had not begun: it is the caller's now.

        A thread that gets no memory ends before its first line, and says so to nobody. It has
        begun within :data:`_PATIENCE`, or hardly ever will.
        """
        return self._right.acquire(False)


class _Maker:
    """The thread's end and ours of what passes between them."""

    def __init__(self, items: Iterator[Item]) -> None:
        from _queue import SimpleQueue  # queue itself imports threading and others

        self._items = items
        # Items, at the end an exception without one.
        self._made: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._wanted: SimpleQueue[None] = SimpleQueue()
        self._is_over = False
        self._is_done = True

    def start(self) -> bool:
        """Start the thread; whether that went well."""
        # Always one more than is worked on: to be told to go on, a thread needs the interpreter.
        self._wanted.put(None)
        try:
            self._worker = _Worker(self._make)
        except RuntimeError:
            return False
        self._is_done = False
        return True

    def _make(self) -> None:
        ending: BaseException = StopIteration()
        try:
            for item in self._items:
                self._made.put((item, None))
                self._wanted.get()
                if self._is_over:
                    break
        except BaseException as error:
            ending = error
        self._made.put((None, ending))

    def all(self) -> Iterator[Any]:
        """The items that the thread makes."""
        from _queue import Empty

        while True:
            try:
                item, ending = self._made.get(timeout=_PATIENCE)
            except Empty:
                if not self._worker.takes_over():
                    continue
                self._is_done = True
                yield from self._items
                return
            if ending is not None:
                break
            self._wanted.put(None)
            yield item
        self._is_done = True
        if not isinstance(ending, StopIteration):
            raise ending

    def stop(self) -> None:
        """Wait until the thread has left the items, which may then be closed."""
        self._is_over = True
        self._wanted.put(None)
        # At the end of the whole program there is no thread any more.
        while not self._is_done and not sys.is_finalizing():
            self._is_done = self._made.get()[1] is not None
