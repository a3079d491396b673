"""What programs print: the kernel's trace pipe, and the streams of a program.

Reading takes it away from the next reader.
"""

from __future__ import annotations

import os
import struct
from errno import EINVAL, ENOENT, ENOTDIR

from pybpftool.control import require_live
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.pins import mount_points
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi.bpf import BPF_PROG_STREAM_READ_BY_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.kernel.interface import BpfObject, Kernel

STREAMS = {"stdout": 1, "stderr": 2}
"""BPF_STDOUT and BPF_STDERR (enum bpf_prog_stream_id, v6.17)."""

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_PIPE = "trace_pipe"
_ABSENT = (ENOENT, ENOTDIR)
_STREAM_ATTR = struct.Struct("=QIII")  # stream_buf, stream_buf_len, stream_id, prog_fd


def open_trace_pipe(kernel: Kernel, may_mount: bool, say: Callable[[str], None]) -> int:
    """Open the trace pipe; a file descriptor.

    Where no tracefs is mounted one is, if it may be, and stays, as the pipe is in use then.
    Raises BpfError.
    """
    require_live(kernel)
    for place in _places():
        fd = _open(place)
        if fd is not None:
            return fd
    if not may_mount:
        raise BpfError("no tracefs is mounted, and with -n none may be")
    from pybpftool.control.mounts import mount_tracefs

    say("no tracefs is mounted; mounting one")
    mount_tracefs(_PLACES[0])
    fd = _open(_PLACES[0])
    if fd is None:
        raise BpfError("this kernel's tracefs has no trace_pipe")
    return fd


def tracefs_file(kernel: Kernel, path: str, may_mount: bool) -> bytes:
    """A file of tracefs. Where none is mounted one is for as long as it is read, if it may be.

    Raises BpfError: KernelError with ENOENT where tracefs has no such file.
    """
    mounts = 0
    place = next((each for each in _places() if _is_tracefs(each)), "")
    if not place:
        if not may_mount:
            raise BpfError("no tracefs is mounted, and with -n none may be")
        from pybpftool.control.mounts import mount_tracefs, unmount

        place = _PLACES[0]
        mounts = mount_tracefs(place)
    try:
        return kernel.file(f"{place}/{path}")
    finally:
        if mounts:
            unmount(place, mounts)


def _is_tracefs(place: str) -> bool:
    return os.path.exists(f"{place}/events")


def _places() -> Iterator[str]:
    """Where a tracefs may be: the usual places, then all where one is mounted."""
    yield from _PLACES
    yield from mount_points(b"tracefs")


def _open(place: str) -> int | None:
    path = f"{place}/{_PIPE}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise BpfError(f"cannot open '{path}': {error.strerror}") from None


def read_stream(kernel: Kernel, prog: BpfObject, stream: int) -> Iterator[bytes]:
    """All that a program has printed to a stream (BPF_PROG_STREAM_READ_BY_FD, v6.17)."""
    require_live(kernel)
    attr, buffer = Buffer(_STREAM_ATTR.size), Buffer(4096)
    _STREAM_ATTR.pack_into(attr.data, 0, buffer.address, 4096, stream, prog.fd)
    while True:
        result = bpf(BPF_PROG_STREAM_READ_BY_FD, attr.address, _STREAM_ATTR.size)
        if result == -EINVAL:
            what = f"cannot read a stream of program {prog.id}"
            raise KernelError(f"{what}: this kernel has none (they came with Linux 6.17)", EINVAL)
        if result < 0:
            raise KernelError.of(f"cannot read a stream of program {prog.id}", -result)
        if result == 0:
            return
        yield bytes(buffer.data[:result])
