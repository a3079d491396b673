"""A command line one of whose system calls fails: a seccomp filter asks us about each.

Each run is a fork of this process. With :func:`import_everything` before, what fails is a call
of the command's, hardly ever one of Python's for a module. Needs Linux 5.6 and the right to
install filters.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pkgutil
import platform
import select
import signal
import struct
import sys
import time
from dataclasses import dataclass

# include/uapi/linux/seccomp.h
_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_RET_USER_NOTIF = 0x7FC00000
_RET_ALLOW = 0x7FFF0000
_NOTIF_CONTINUE = 1
_NOTIF = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction_pointer, args
_NOTIF_RESP = struct.Struct("=QqiI")  # id, val, error, flags
_IOC_RECV = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV
_IOC_SEND = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND
_IOC_SET_FLAGS = 0x40082104  # SECCOMP_IOCTL_NOTIF_SET_FLAGS
_FD_SYNC_WAKE_UP = 1  # whoever is asked runs where the caller ran: four times as fast, v6.6

_X86 = platform.machine() == "x86_64"
_SECCOMP, _BPF, _EXIT_GROUP = (317, 321, 231) if _X86 else (277, 280, 94)
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438
_UNUSED = 9999  # no system call has this number
_PR_SET_NO_NEW_PRIVS = 38

Call = tuple[int, int]
"""The number of a system call, and the command if it is bpf(2), else -1."""


@dataclass
class Outcome:
    """How a command line ended.

    ``calls`` are all that it made, ``count`` how many; those that were asked for, if some were.
    ``hung`` tells that it took too long and was ended.
    """

    status: int
    stdout: str
    stderr: str
    hung: bool
    count: int
    calls: list[Call]


class SockFprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter(call: Call | None) -> bytes:
    """Classic BPF that asks about ``call``, or about all calls but the last."""

    def op(code: int, k: int, jt: int = 0, jf: int = 0) -> bytes:
        return struct.pack("=HBBI", code, jt, jf, k)

    ask, allow = op(0x06, _RET_USER_NOTIF), op(0x06, _RET_ALLOW)
    number = op(0x20, 0)  # ld [offsetof(struct seccomp_data, nr)]
    if call is None:
        return number + op(0x15, _EXIT_GROUP, 1, 0) + ask + allow
    nr, command = call
    if command < 0:
        return number + op(0x15, nr, 0, 1) + ask + allow
    return number + op(0x15, nr, 0, 3) + op(0x20, 16) + op(0x15, command, 0, 1) + ask + allow


def _install(call: Call | None, libc: ctypes.CDLL) -> None:
    code = _filter(call)
    program = SockFprog(len(code) // 8, code)
    # Without CAP_SYS_ADMIN a filter is only for who gains no rights any more.
    if os.geteuid():
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(_SECCOMP, _SET_MODE_FILTER, _FLAG_NEW_LISTENER, ctypes.byref(program)) < 0:
        os._exit(97)


def _child(argv: list[str], call: Call | None, number: int, out: int, err: int) -> None:
    """Become the command; ``number`` is the descriptor that the filter's listener will have."""
    from pybpftool.cli import main as entry

    libc = ctypes.CDLL(None, use_errno=True)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, 1000)
    # Everything below is taken, so the next file gets this number.
    for fd in range(3, number):
        os.dup2(0, fd)
    _install(call, libc)
    os.closerange(3, number)
    sys.argv[1:] = argv
    try:
        entry.run()
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    os._exit(1)


_LISTENER = 40


def _listener(pid: int, libc: ctypes.CDLL) -> int:
    """The child's listener, as soon as it has one; -1 if it ended before."""
    pidfd = libc.syscall(_PIDFD_OPEN, pid, 0)
    try:
        while not select.select([pidfd], [], [], 0)[0]:
            name = ""
            try:
                name = os.readlink(f"/proc/{pid}/fd/{_LISTENER}")
            except OSError:
                pass
            if "seccomp" in name:
                return int(libc.syscall(_PIDFD_GETFD, pidfd, _LISTENER, 0))
            time.sleep(0.0005)
        return -1
    finally:
        os.close(pidfd)


def run(
    argv: list[str], call: Call | None = None, nth: int = 0, error: int = 0, limit: float = 20
) -> Outcome:
    """What a command line did when its ``nth`` (from 1) such call failed with ``error``.

    Without a call nothing fails. It is ended after ``limit`` seconds.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    out, err = os.memfd_create("out"), os.memfd_create("err")
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        _child(argv, call, _LISTENER, out, err)
    listener = _listener(pid, libc)
    if listener >= 0:
        libc.ioctl(listener, ctypes.c_ulong(_IOC_SET_FLAGS), ctypes.c_ulong(_FD_SYNC_WAKE_UP))
    calls: list[Call] = []
    hung = False
    end = time.monotonic() + limit
    while listener >= 0:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        ready = poll.poll(max(0, int((end - time.monotonic()) * 1000)))
        if not ready:
            hung = True
            break
        if not ready[0][1] & select.POLLIN:
            break
        buffer = bytearray(80)
        try:
            fcntl.ioctl(listener, _IOC_RECV, buffer)
        except OSError:
            continue  # whoever called was killed meanwhile
        id, _, _, nr, _, _, first, *_ = _NOTIF.unpack(buffer)
        calls.append((nr, int(first & 0xFFFFFFFF) if nr == _BPF else -1))
        fails = call is not None and len(calls) == nth
        answer = _NOTIF_RESP.pack(id, 0, -error if fails else 0, 0 if fails else _NOTIF_CONTINUE)
        try:
            fcntl.ioctl(listener, _IOC_SEND, answer)
        except OSError:
            continue
    if hung:
        os.killpg(pid, signal.SIGKILL)
    if listener >= 0:
        os.close(listener)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = []
    for fd in (out, err):
        size = os.fstat(fd).st_size
        texts.append(os.pread(fd, size, 0).decode("utf-8", "surrogateescape"))
        os.close(fd)
    return Outcome(status, texts[0], texts[1], hung, len(calls), calls)


def works() -> bool:
    """Whether calls can be made to fail here."""
    done = run(["version"], (_UNUSED, -1))
    return done.status == 0 and not done.hung


def import_everything() -> None:
    """Each module of the package, as far as its packages are here."""
    import pybpftool

    for module in pkgutil.walk_packages(pybpftool.__path__, "pybpftool."):
        if module.name.endswith("__main__") or "pytest" in module.name:
            continue
        try:
            __import__(module.name)
        except ImportError:
            continue


def names() -> dict[int, str]:
    """Names of system calls, as far as the headers here tell them."""
    found: dict[int, str] = {}
    for path in (
        "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "/usr/include/asm-generic/unistd.h",
    ):
        try:
            with open(path) as file:
                for line in file:
                    words = line.split()
                    if len(words) == 3 and words[1].startswith("__NR_") and words[2].isdigit():
                        found.setdefault(int(words[2]), words[1][5:])
        except OSError:
            continue
    return found
