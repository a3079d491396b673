"""Perf ring buffers behind a ``perf_event_array`` (perf_event_open(2), ``linux/perf_event.h``).

A ring receives what programs hand to ``bpf_perf_event_output()`` for the array's slot
that its event is put into.
"""

from __future__ import annotations

import mmap
import os
import struct

from pybpftool.errors import KernelError
from pybpftool.kernel.perf_event import (
    SAMPLE_RAW,
    SAMPLE_TIME,
    TYPE_SOFTWARE,
    enable,
    event_attr,
)
from pybpftool.kernel.syscall import perf_event_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD_LOST = 2
RECORD_SAMPLE = 9

_COUNT_SW_BPF_OUTPUT = 10
_DATA_PAGES = 16
# struct perf_event_mmap_page, in 64-bit words.
_HEAD, _TAIL = 128, 129
_HEADER = struct.Struct("=IHH")  # type, misc, size
_SAMPLE = struct.Struct("=QI")  # time, size of the raw data that follows
_LOST = struct.Struct("=QQ")  # id, number


class Event:
    """One record: a sample (``time`` in nanoseconds, ``data``), lost samples, or another."""

    __slots__ = ("data", "id", "lost", "size", "time", "type")

    def __init__(self, type: int, size: int) -> None:
        self.type = type
        self.size = size  # of the whole record
        self.time = 0
        self.data = b""
        self.id = 0
        self.lost = 0


class PerfRing:
    """The ring of one CPU; samples arrive once its descriptor is in the map."""

    __slots__ = ("_area", "_data", "_mask", "_words", "cpu", "fd")

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.fd = _open_event(cpu)
        page = mmap.PAGESIZE
        try:
            self._area = mmap.mmap(self.fd, (_DATA_PAGES + 1) * page, mmap.MAP_SHARED)
        except OSError as error:
            os.close(self.fd)
            raise KernelError.of(
                f"cannot map the perf ring of CPU {cpu}", error.errno or 0
            ) from None
        self._words = memoryview(self._area).cast("Q")
        self._data = memoryview(self._area)[page:]
        self._mask = _DATA_PAGES * page - 1

    def enable(self) -> None:
        """Let samples in (``PERF_EVENT_IOC_ENABLE``)."""
        enable(self.fd, f"cannot enable the perf event of CPU {self.cpu}")

    def close(self) -> None:
        """Give back the memory and the event."""
        self._words.release()
        self._data.release()
        self._area.close()
        os.close(self.fd)

    def events(self) -> Iterator[Event]:
        """What has arrived by now; a record's room is the kernel's again after it was taken."""
        words = self._words
        tail = words[_TAIL]
        head = words[_HEAD]
        while tail < head:
            type, _, size = _HEADER.unpack(self._bytes(tail, _HEADER.size))
            record = self._bytes(tail, size)
            tail += size
            words[_TAIL] = tail
            if size < _HEADER.size:
                return  # no record is that small: the ring is not to be trusted
            yield _event(type, record)

    def _bytes(self, position: int, size: int) -> bytes:
        at = position & self._mask
        part = bytes(self._data[at : at + size])
        if len(part) < size:
            part += bytes(self._data[: size - len(part)])
        return part


def _event(type: int, record: bytes) -> Event:
    event = Event(type, len(record))
    if type == RECORD_SAMPLE and len(record) >= _HEADER.size + _SAMPLE.size:
        event.time, size = _SAMPLE.unpack_from(record, _HEADER.size)
        start = _HEADER.size + _SAMPLE.size
        event.data = record[start : start + size]
    elif type == RECORD_LOST and len(record) >= _HEADER.size + _LOST.size:
        event.id, event.lost = _LOST.unpack_from(record, _HEADER.size)
    return event


def _open_event(cpu: int) -> int:
    attr = event_attr(TYPE_SOFTWARE, _COUNT_SW_BPF_OUTPUT, 1, SAMPLE_RAW | SAMPLE_TIME, 0, 1)
    fd = perf_event_open(attr, -1, cpu)
    if fd < 0:
        raise KernelError.of(f"cannot open a perf event on CPU {cpu}", -fd)
    return fd
