"""A line on standard error for who waits longer than a second, where that is a terminal."""

from __future__ import annotations

import os
import time

from pybpftool.output.stream import write_stderr

_FIRST = 1.0  # seconds before anything is shown
_PAUSE = 0.5
_CLEAR = b"\r\x1b[K"


class Progress:
    """``with Progress("Recording"):`` shows how long it has been; the line is gone at the end."""

    __slots__ = ("_end", "_has_ended", "_is_wanted", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_wanted = os.isatty(2)

    def __enter__(self) -> Progress:
        if self._is_wanted:
            import _thread

            self._end, self._has_ended = _thread.allocate_lock(), _thread.allocate_lock()
            self._end.acquire()
            self._has_ended.acquire()
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:
                self._is_wanted = False  # no thread can be started
        return self

    def _run(self) -> None:
        begin = time.monotonic()
        pause, is_shown = _FIRST, False
        while not self._end.acquire(timeout=pause):
            pause, is_shown = _PAUSE, True
            seconds = int(time.monotonic() - begin)
            write_stderr(_CLEAR + f"{self._text} … {seconds} s".encode())
        if is_shown:
            write_stderr(_CLEAR)
        self._has_ended.release()

    def __exit__(self, *exception: object) -> None:
        if self._is_wanted:
            self._end.release()
            self._has_ended.acquire()
