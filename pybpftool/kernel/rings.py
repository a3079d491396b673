"""Perf ring buffers (perf_event_open(2), ``linux/perf_event.h``).

That of a ``perf_event_array`` receives what programs hand to ``bpf_perf_event_output()`` for the
array's slot that its event is put into.
"""

from __future__ import annotations

import mmap
import os
import struct
from errno import EPERM

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
_FEWEST_BYTES = 1 << 15  # of a ring: pages have 4 KiB to 64 KiB
# struct perf_event_mmap_page, in 64-bit words.
_HEAD, _TAIL = 128, 129
HEADER = struct.Struct("=IHH")
"""What a record begins with: type, misc, size of all of it."""
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
    """The ring of one CPU's event ``fd``, which it closes, of ``size`` bytes: a power of two.

    It is smaller where the kernel lets us lock less memory (kernel.perf_event_mlock_kb).
    """

    __slots__ = ("_area", "_data", "_mask", "_words", "cpu", "fd")

    def __init__(self, fd: int, cpu: int, size: int) -> None:
        self.cpu = cpu
        self.fd = fd
        while True:
            try:
                self._area = mmap.mmap(fd, mmap.PAGESIZE + size, mmap.MAP_SHARED)
                break
            except OSError as error:
                if error.errno == EPERM and size > max(_FEWEST_BYTES, mmap.PAGESIZE):
                    size //= 2
                    continue
                os.close(fd)
                raise KernelError.of(
                    f"cannot map the perf ring of CPU {cpu}", error.errno or 0
                ) from None
        self._words = memoryview(self._area).cast("Q")
        self._data = memoryview(self._area)[mmap.PAGESIZE :]
        self._mask = size - 1

    def close(self) -> None:
        """Give back the memory and the event."""
        self._words.release()
        self._data.release()
        self._area.close()
        os.close(self.fd)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """The type and all bytes of what has arrived by now.

        A record's room is the kernel's again after it was taken.
        """
        words = self._words
        tail, head = words[_TAIL], words[_HEAD]
        while tail < head:
            type, _, size = HEADER.unpack(self._bytes(tail, HEADER.size))
            if size < HEADER.size:
                words[_TAIL] = head
                return  # no record is that small: the ring is not to be trusted
            record = self._bytes(tail, size)
            tail += size
            words[_TAIL] = tail
            yield type, record

    def _bytes(self, position: int, size: int) -> bytes:
        at = position & self._mask
        part = bytes(self._data[at : at + size])
        return part if len(part) == size else part + bytes(self._data[: size - len(part)])


class OutputRing(PerfRing):
    """A ring for one CPU's samples, which arrive once its descriptor is in the map."""

    __slots__ = ()

    def __init__(self, cpu: int) -> None:
        super().__init__(_open_event(cpu), cpu, _DATA_PAGES * mmap.PAGESIZE)

    def enable(self) -> None:
        """Let samples in (``PERF_EVENT_IOC_ENABLE``)."""
        enable(self.fd, f"cannot enable the perf event of CPU {self.cpu}")

    def events(self) -> Iterator[Event]:
        """What has arrived by now."""
        for type, record in self.records():
            yield _event(type, record)


def _event(type: int, record: bytes) -> Event:
    event = Event(type, len(record))
    if type == RECORD_SAMPLE and len(record) >= HEADER.size + _SAMPLE.size:
        event.time, size = _SAMPLE.unpack_from(record, HEADER.size)
        start = HEADER.size + _SAMPLE.size
        event.data = record[start : start + size]
    elif type == RECORD_LOST and len(record) >= HEADER.size + _LOST.size:
        event.id, event.lost = _LOST.unpack_from(record, HEADER.size)
    return event


def _open_event(cpu: int) -> int:
    attr = event_attr(TYPE_SOFTWARE, _COUNT_SW_BPF_OUTPUT, 1, SAMPLE_RAW | SAMPLE_TIME, 0, 1)
    fd = perf_event_open(attr, -1, cpu)
    if fd < 0:
        raise KernelError.of(f"cannot open a perf event on CPU {cpu}", -fd)
    return fd
