"""Loads and unloads of programs as perf(1) learns of them: no program of ours is loaded.

Records: PERF_RECORD_BPF_EVENT and PERF_RECORD_KSYMBOL (v5.1, 6ee52e2a3fe4 and 76193a94522f;
include/uapi/linux/perf_event.h), one ring for each CPU.
"""

from __future__ import annotations

import mmap
import os
import struct
from errno import EACCES, EINVAL, EPERM

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import perf_event
from pybpftool.kernel.syscall import perf_event_open
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOST, _COMM, _LOST_SAMPLES, _KSYMBOL, _BPF_EVENT = 2, 3, 13, 17, 18
_LOAD, _UNLOAD = 1, 2  # enum perf_bpf_event_type

_DUMMY = 9  # PERF_COUNT_SW_DUMMY
_SAMPLED = perf_event.SAMPLE_TID | perf_event.SAMPLE_TIME
_FLAGS = (
    perf_event.COMM
    | perf_event.COMM_EXEC
    | perf_event.WATERMARK
    | perf_event.SAMPLE_ID_ALL
    | perf_event.USE_CLOCKID  # clockid is 0, CLOCK_REALTIME (v4.1)
    | perf_event.KSYMBOL
    | perf_event.BPF_EVENT
)

_HEAD, _TAIL = 128, 129  # words of struct perf_event_mmap_page
_HEADER = struct.Struct("=IHH")  # type, misc, size
_TRAILER = struct.Struct("=IIQ")  # pid, tid, time: of every record (sample_id_all)
_EVENT = struct.Struct("=HHI8s")  # type, flags, id, tag
_MOST_BYTES, _FEWEST_BYTES = 1 << 20, 1 << 15  # of a ring: pages have 4 KiB to 64 KiB
_MOST_SYMBOLS = 1024  # kept of what belongs to no program
_PREFIX = "bpf_prog_"


class ProgEvent(Record):
    """A program was loaded or unloaded (``is_load``), by ``pid`` unless the kernel did it later.

    ``time_ns`` counts from 1970. ``symbols`` are the names of its functions, the main one
    first, without the kernel's prefix and tag; none for a program that was not compiled.
    """

    time_ns: int
    is_load: bool
    id: int
    tag: str
    symbols: Sequence[str]
    pid: int
    tid: int


class LostEvents(Record):
    """So many records of a CPU did not fit its ring."""

    time_ns: int
    cpu: int
    number: int


class CommEvent(Record):
    """A task has a new name."""

    time_ns: int
    pid: int
    tid: int
    comm: str


class BpfEvents:
    """The rings of all CPUs; :attr:`fds` can be polled.

    Raises KernelError: CAP_PERFMON is needed where kernel.perf_event_paranoid is above -1.
    """

    def __init__(self, cpus: Sequence[int]) -> None:
        self._rings: list[_Ring] = []
        try:
            for cpu in cpus:
                self._rings.append(_Ring(cpu))
        except BaseException:
            self.close()
            raise
        if not self._rings:
            raise BpfError("there is no CPU to watch")

    @property
    def fds(self) -> list[int]:
        """A descriptor for each CPU, readable when records have arrived."""
        return [ring.fd for ring in self._rings]

    def read(self) -> list[ProgEvent | LostEvents | CommEvent]:
        """What has arrived by now on all CPUs, in the order of time."""
        found: list[ProgEvent | LostEvents | CommEvent] = []
        for ring in self._rings:
            found += ring.records()
        found.sort(key=lambda event: event[0])
        return found

    def close(self) -> None:
        """Give the rings back."""
        for ring in self._rings:
            ring.close()
        self._rings.clear()


class _Ring:
    """The ring of one CPU."""

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.fd = _open(cpu)
        self._symbols: list[str] = []
        size = _MOST_BYTES
        while True:
            try:
                self._area = mmap.mmap(self.fd, mmap.PAGESIZE + size, mmap.MAP_SHARED)
                break
            except OSError as error:
                # As much as an unprivileged user may lock (kernel.perf_event_mlock_kb).
                if error.errno == EPERM and size > max(_FEWEST_BYTES, mmap.PAGESIZE):
                    size //= 2
                    continue
                os.close(self.fd)
                raise KernelError.of(
                    f"cannot map the perf ring of CPU {cpu}", error.errno or 0
                ) from None
        self._words = memoryview(self._area).cast("Q")
        self._data = memoryview(self._area)[mmap.PAGESIZE :]
        self._mask = size - 1

    def close(self) -> None:
        self._words.release()
        self._data.release()
        self._area.close()
        os.close(self.fd)

    def records(self) -> Iterator[ProgEvent | LostEvents | CommEvent]:
        """What has arrived; symbols are kept for the program that follows them."""
        words = self._words
        tail, head = words[_TAIL], words[_HEAD]
        while tail < head:
            type, _, size = _HEADER.unpack(self._bytes(tail, _HEADER.size))
            if size < _HEADER.size:
                words[_TAIL] = head
                return  # no record is that small: the ring is not to be trusted
            record = self._bytes(tail, size)
            tail += size
            event = self._event(type, record)
            if event is not None:
                yield event
        words[_TAIL] = tail

    def _bytes(self, position: int, size: int) -> bytes:
        at = position & self._mask
        part = bytes(self._data[at : at + size])
        return part if len(part) == size else part + bytes(self._data[: size - len(part)])

    def _event(self, type: int, record: bytes) -> ProgEvent | LostEvents | CommEvent | None:
        at = _HEADER.size
        end = len(record) - _TRAILER.size
        if end < at:
            return None
        pid, tid, time_ns = _TRAILER.unpack_from(record, end)
        if type == _KSYMBOL and end >= at + 16:
            # u64 address, u32 length, u16 type, u16 flags, the name
            name = _text(record[at + 16 : end])
            if name.startswith(_PREFIX) and len(self._symbols) < _MOST_SYMBOLS:
                self._symbols.append(name[len(_PREFIX) :].partition("_")[2])
        elif type == _BPF_EVENT and end >= at + _EVENT.size:
            kind, _, id, tag = _EVENT.unpack_from(record, at)
            symbols = tuple(name for name in self._symbols if name)
            self._symbols.clear()
            if kind in (_LOAD, _UNLOAD):
                return ProgEvent(time_ns, kind == _LOAD, id, tag.hex(), symbols, pid, tid)
        elif type == _COMM and end >= at + 8:
            pid, tid = struct.unpack_from("=II", record, at)
            return CommEvent(time_ns, pid, tid, _text(record[at + 8 : end]))
        elif type in (_LOST, _LOST_SAMPLES) and end >= at + 8:
            # Lost records: u64 id, u64 number; lost samples: u64 number
            place = at + 8 if type == _LOST and end >= at + 16 else at
            (number,) = struct.unpack_from("=Q", record, place)
            self._symbols.clear()
            return LostEvents(time_ns, self.cpu, number)
        return None


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _open(cpu: int) -> int:
    attr = perf_event.event_attr(perf_event.TYPE_SOFTWARE, _DUMMY, 0, _SAMPLED, _FLAGS, 1)
    fd = perf_event_open(attr, -1, cpu)
    if fd in (-EACCES, -EPERM):
        raise KernelError(
            "loads of programs cannot be watched: this needs the capability CAP_PERFMON", -fd
        )
    if fd == -EINVAL:
        raise KernelError("this kernel does not tell of loads of programs (Linux 5.1 does)", EINVAL)
    if fd < 0:
        raise KernelError.of(f"cannot watch CPU {cpu}", -fd)
    return fd
