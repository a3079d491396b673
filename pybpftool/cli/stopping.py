"""Commands that run until a signal ends them: Ctrl-C is how they are meant to end."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

_LATEST = 0.5  # seconds
_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


class Stopping:
    """Within this context SIGINT, SIGHUP and SIGTERM set :attr:`is_asked` and nothing else.

    ``fd`` can be read from when one came, for poll(2).
    """

    __slots__ = ("_alarm", "_before", "_is_waiting", "_wakeup", "_writer", "fd", "is_asked")

    def __enter__(self) -> Stopping:
        self.is_asked = self._is_waiting = False
        self._alarm: tuple[float, float] | None = None
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = [(number, signal.signal(number, self._stop)) for number in _SIGNALS]
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def _stop(self, number: int, frame: object) -> None:
        self.is_asked = True
        self._interrupt(number, frame)

    def _interrupt(self, number: int, frame: object) -> None:
        if self._is_waiting and self.is_asked:
            raise InterruptedError

    def interruptible(self, call: Callable[..., Any], *args: Any) -> Any:
        """The result of a system call that may wait; InterruptedError when a signal comes."""
        if self._alarm is None:
            # A signal just before a call begins does not interrupt it: the alarm does.
            handler = signal.signal(signal.SIGALRM, self._interrupt)
            self._before.append((signal.SIGALRM, handler))
            self._alarm = signal.setitimer(signal.ITIMER_REAL, _LATEST, _LATEST)
        try:
            self._is_waiting = True
            if self.is_asked:
                raise InterruptedError
            return call(*args)
        finally:
            self._is_waiting = False

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until one of the signals comes."""
        import select

        if not self.is_asked:
            select.select([self.fd], [], [], seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        if self._alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, *self._alarm)
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._writer)
