"""A second process for half of the work, where there is a second CPU.

Threads would not do: the interpreter computes in one at a time.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    Send = Callable[[Iterable[bytes | memoryview]], None]

_PAGE = 1 << 16  # a multiple of every architecture's, at which messages begin
_LENGTH = 8  # bytes that announce a message
_SIGKILL = 9  # importing the signal module takes milliseconds


class Worker:
    """Runs ``work(send)`` in a forked process; ``send(pieces)`` sends one message back.

    The process sees everything as it was when it was forked, and what it changes is its
    own. Where none can be started, or it fails, :meth:`receive` says so and nothing
    else happens. To be used in a ``with`` statement, whose end is the process' end too.
    """

    __slots__ = ("_at", "_file", "_pid", "_ready")

    def __init__(self, work: Callable[[Send], object]) -> None:
        self._at = 0
        self._pid = -1
        if len(posix.sched_getaffinity(0)) < 2:
            return
        descriptors: list[int] = []
        try:
            self._file = posix.memfd_create("worker")
            descriptors.append(self._file)
            self._ready, ready = posix.pipe()
            descriptors += (self._ready, ready)
            self._pid = posix.fork()
        except (OSError, AttributeError):  # some builds of Python have no memfd_create()
            for descriptor in descriptors:
                posix.close(descriptor)
            return
        if not self._pid:
            posix.close(self._ready)
            self._run(work, ready)
        posix.close(ready)

    def _run(self, work: Callable[[Send], object], ready: int) -> NoReturn:
        try:
            work(lambda pieces: self._send(ready, pieces))
        finally:
            # Without a word, whatever happened.
            posix._exit(0)

    def _send(self, ready: int, pieces: Iterable[bytes | memoryview]) -> None:
        # Not through the pipe itself, which would wait for a reader that has other work.
        length = 0
        for piece in pieces:
            view = memoryview(piece)
            while view:
                written = posix.pwrite(self._file, view, self._at + length)
                length += written
                view = view[written:]
        self._at += _aligned(length)
        posix.write(ready, (length + 1).to_bytes(_LENGTH, "little"))

    def receive(self) -> memoryview | None:
        """The next message, waited for; None if there is none to come."""
        if self._pid < 0:
            return None
        announced = posix.read(self._ready, _LENGTH)
        if not announced:
            return None
        length = int.from_bytes(announced, "little") - 1
        if not length:
            return memoryview(b"")
        from mmap import PROT_READ, mmap

        message = memoryview(mmap(self._file, length, prot=PROT_READ, offset=self._at))
        self._at += _aligned(length)
        return message

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pid >= 0:
            try:
                if exception[0] is not None:
                    posix.kill(self._pid, _SIGKILL)
                posix.close(self._ready)
                posix.close(self._file)
                posix.waitpid(self._pid, 0)
            except (ChildProcessError, ProcessLookupError):
                pass  # SIGCHLD is ignored here: it is gone already
            self._pid = -1


def _aligned(length: int) -> int:
    return (length + _PAGE - 1) // _PAGE * _PAGE
