"""Commands that run until a signal ends them: Ctrl-C is how they are meant to end."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


class Stopping:
    """Within this context SIGINT, SIGHUP and SIGTERM set :attr:`is_asked` and nothing else.

    ``fd`` can be read from when one came, for poll(2).
    """

    __slots__ = ("_before", "_wakeup", "_writer", "fd", "is_asked")

    def __enter__(self) -> Stopping:
        self.is_asked = False
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = [(number, signal.signal(number, self._stop)) for number in _SIGNALS]
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def _stop(self, number: int, frame: object) -> None:
        self.is_asked = True

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
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._writer)
