"""The seccomp filters of a task, through ptrace(2), which stops it for a moment."""

from __future__ import annotations

import os
import time
from errno import EACCES, EMEDIUMTYPE, ENOENT, EPERM, ESRCH

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.syscall import Buffer, ptrace

# include/uapi/linux/ptrace.h
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_SECCOMP_GET_FILTER = 0x420C  # v4.4, f8e529ed941b; needs CONFIG_CHECKPOINT_RESTORE
_EVENT_STOP = 128
_WALL = 0x40000000
_PATIENCE = 2.0  # seconds that a task may take to stop
_MOST_INSNS = 4096


def status_of(pid: int) -> tuple[str, int]:
    """The name of a task and its mode of seccomp. Raises KernelError."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = (file.read() or b"").decode("utf-8", "surrogateescape").split("\n")
    except OSError as error:
        if error.errno in (ENOENT, ESRCH):
            if _exists(pid):
                reason = "/proc is not mounted, or hides it (hidepid=)"
                raise KernelError(f"process {pid} cannot be looked at: {reason}", ESRCH) from None
            raise KernelError(f"there is no process {pid}", ESRCH) from None
        raise KernelError.of(f"cannot read /proc/{pid}/status", error.errno or 0) from None
    fields = dict(line.partition(":\t")[::2] for line in lines)
    if not fields.get("Seccomp", "").isdecimal():
        raise BpfError("this kernel has no seccomp (CONFIG_SECCOMP)")
    return fields.get("Name", ""), int(fields["Seccomp"])


def _exists(pid: int) -> bool:
    """Whether there is a process or thread, whatever /proc shows."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == EPERM
    return True


def filters_of(pid: int) -> list[bytes]:
    """The filters of a task as arrays of ``struct sock_filter``, the oldest first.

    The task is stopped while they are read, and goes on whatever happens to us. Raises
    KernelError.
    """
    if pid == os.getpid():
        raise BpfError("a process cannot trace itself")
    result = ptrace(_SEIZE, pid, 0, 0)
    if result < 0:
        raise _refused(pid, -result)
    status = 0
    try:
        ptrace(_INTERRUPT, pid, 0, 0)
        status = _stopped(pid)
        return _read(pid)
    finally:
        # A signal that stopped it instead of us is handed on.
        signal = status >> 8 & 0xFF if status and status >> 16 != _EVENT_STOP else 0
        ptrace(_DETACH, pid, 0, signal)


def _stopped(pid: int) -> int:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG | _WALL)
        except ChildProcessError:
            raise KernelError(f"process {pid} has ended", ESRCH) from None
        if found:
            if not os.WIFSTOPPED(status):
                raise KernelError(f"process {pid} has ended", ESRCH)
            return status
        if time.monotonic() > end:
            raise BpfError(f"process {pid} does not stop: it waits for the kernel")
        time.sleep(0.001)


def _read(pid: int) -> list[bytes]:
    filters: list[bytes] = []
    while True:
        index = len(filters)
        count = ptrace(_SECCOMP_GET_FILTER, pid, index, 0)
        if count == -ENOENT:
            return filters
        if count == -EMEDIUMTYPE:
            raise BpfError(f"filter {index} of process {pid} is no classic BPF")
        if count < 0 or count > _MOST_INSNS:
            raise _refused(pid, -count)
        buffer = Buffer(count * 8)
        count = ptrace(_SECCOMP_GET_FILTER, pid, index, buffer.address)
        if count < 0:
            raise _refused(pid, -count)
        filters.append(bytes(buffer.data))


def _refused(pid: int, errno: int) -> KernelError:
    what = f"cannot read the seccomp filters of process {pid}"
    if errno == EACCES:
        return KernelError(f"{what}: this needs the capability CAP_SYS_ADMIN", errno)
    if errno == EPERM:
        return KernelError(
            f"{what}: this needs the capability CAP_SYS_PTRACE, and no other tracer", errno
        )
    if errno == ESRCH:
        return KernelError(f"there is no process {pid}", errno)
    return KernelError.of(what, errno)
