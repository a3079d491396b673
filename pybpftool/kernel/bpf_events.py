"""Loads and unloads of programs as perf(1) learns of them: no program of ours is loaded.

Records: PERF_RECORD_BPF_EVENT and PERF_RECORD_KSYMBOL (v5.1, 6ee52e2a3fe4 and 76193a94522f;
include/uapi/linux/perf_event.h), one ring for each CPU.
"""

from __future__ import annotations

import struct
from errno import EACCES, EINVAL, EPERM

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import perf_event
from pybpftool.kernel.rings import HEADER, PerfRing
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

_TRAILER = struct.Struct("=IIQ")  # pid, tid, time: of every record (sample_id_all)
_EVENT = struct.Struct("=HHI8s")  # type, flags, id, tag
_MOST_BYTES = 1 << 20  # of a ring
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
            found += ring.events()
        found.sort(key=lambda event: event[0])
        return found

    def close(self) -> None:
        """Give the rings back."""
        for ring in self._rings:
            ring.close()
        self._rings.clear()


class _Ring(PerfRing):
    """The ring of one CPU."""

    __slots__ = ("_symbols",)

    def __init__(self, cpu: int) -> None:
        super().__init__(_open(cpu), cpu, _MOST_BYTES)
        self._symbols: list[str] = []

    def events(self) -> Iterator[ProgEvent | LostEvents | CommEvent]:
        """What has arrived; symbols are kept for the program that follows them."""
        for type, record in self.records():
            event = self._event(type, record)
            if event is not None:
                yield event

    def _event(self, type: int, record: bytes) -> ProgEvent | LostEvents | CommEvent | None:
        at = HEADER.size
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
