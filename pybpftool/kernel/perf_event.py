"""Perf events: how they are described, and what is done with an open one.

include/uapi/linux/perf_event.h; :func:`pybpftool.kernel.syscall.perf_event_open` opens them.
"""

from __future__ import annotations

import sys
from struct import Struct

from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import ABI, Buffer
from pybpftool.uapi.ioctl import io, iow

# struct perf_event_attr as of its first version, which every kernel takes: type, size, config,
# sample_period, sample_type, read_format, flags, wakeup_events, bp_type, bp_addr. What later
# versions have behind it is zero then, a clockid that is CLOCK_REALTIME too.
_ATTR = Struct("=IIQQQQQIIQ")
_TYPE = ord("$")
_IOC_ENABLE, _IOC_SET_BPF = io(ABI, _TYPE, 0), iow(ABI, _TYPE, 8, 4)

TYPE_SOFTWARE, TYPE_TRACEPOINT = 1, 2  # enum perf_type_id
SAMPLE_TID, SAMPLE_TIME, SAMPLE_RAW = 1 << 1, 1 << 2, 1 << 10  # enum perf_event_sample_format


def flag(number: int, byteorder: str = sys.byteorder) -> int:
    """A flag of the attribute by its place among them, counted from 0.

    They are bit-fields of one 64-bit number, which compilers for big-endian machines fill from
    its highest bit.
    """
    return 1 << (number if byteorder == "little" else 63 - number)


DISABLED, EXCLUDE_USER, COMM, WATERMARK = flag(0), flag(4), flag(9), flag(14)
SAMPLE_ID_ALL, COMM_EXEC, USE_CLOCKID = flag(18), flag(24), flag(25)
KSYMBOL, BPF_EVENT = flag(29), flag(30)


def event_attr(
    type: int,
    config: int,
    sample_period: int = 0,
    sample_type: int = 0,
    flags: int = 0,
    wakeup_events: int = 0,
) -> Buffer:
    """``struct perf_event_attr`` of these fields."""
    fields = type, _ATTR.size, config, sample_period, sample_type, 0, flags, wakeup_events, 0, 0
    return Buffer.of(_ATTR.pack(*fields))


def enable(fd: int, what: str) -> None:
    """Let an event count and its samples in. Raises KernelError("what: reason")."""
    _request(fd, _IOC_ENABLE, 0, what)


def set_prog(fd: int, prog: int, what: str) -> None:
    """Attach a program, by its descriptor, to an event. Raises KernelError("what: reason")."""
    _request(fd, _IOC_SET_BPF, prog, what)


def _request(fd: int, number: int, argument: int, what: str) -> None:
    import fcntl

    try:
        fcntl.ioctl(fd, number, argument)
    except OSError as error:
        raise KernelError.of(what, error.errno or 0) from None
