"""The classic BPF filters of other processes' sockets (pidfd_getfd(2), SO_GET_FILTER)."""

from __future__ import annotations

import os
import socket
import struct
from errno import EPERM
from fcntl import ioctl

from pybpftool.kernel.syscall import ABI, Buffer, getsockopt, pidfd_getfd, socket_name
from pybpftool.kernel.tasks import comm_of, processes
from pybpftool.records import Record

# SO_GET_FILTER of asm/socket.h, the one option that the module socket does not have.
_GET_FILTER = {"parisc": 0x401A}
_GET_FILTER_ELSEWHERE = 26
_SIOCGIFNAME = 0x8910
_LENGTH_TRIES = 3


class FilteredSocket(Record):
    """A socket with a filter: where it is held, what it is, the filter's bytes.

    ``domain``, ``type`` and ``protocol`` are those of socket(2). ``device`` is the one that a
    packet socket is bound to, empty for all.
    """

    pid: int
    comm: str
    fd: int
    inode: int
    domain: int
    type: int
    protocol: int
    device: str
    filter: bytes


def filtered_sockets() -> tuple[list[FilteredSocket], int]:
    """All sockets with a classic filter, each once, and how many processes could not be asked."""
    found: dict[int, FilteredSocket] = {}
    seen: set[int] = set()
    refused = 0
    try:
        pids = processes()
    except OSError:
        pids = []
    for pid in pids:
        try:
            refused += not _of_process(pid, found, seen)
        except OSError:
            continue  # it has ended
    return sorted(found.values(), key=lambda one: (one.pid, one.fd)), refused


def _of_process(pid: int, found: dict[int, FilteredSocket], seen: set[int]) -> bool:
    """Look at the sockets of one process; whether that was permitted."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except PermissionError:
        return False
    inodes: dict[int, int] = {}
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")
        except PermissionError:
            return False
        except OSError:
            continue  # closed meanwhile
        digits = target[8:-1]
        if target.startswith("socket:[") and digits.isdecimal():
            inode = int(digits)
            if inode not in seen:
                seen.add(inode)
                inodes[int(name)] = inode
    if not inodes:
        return True
    pidfd = os.pidfd_open(pid)
    try:
        copy = pidfd_getfd(pidfd)
        for number, inode in inodes.items():
            fd = copy(number)
            if fd < 0:
                if os.path.exists(f"{directory}/{number}"):
                    seen.discard(inode)
                    return False
                continue
            with socket.socket(fileno=fd) as one:
                _look(pid, number, inode, one, found)
    finally:
        os.close(pidfd)
    return True


def _look(
    pid: int, number: int, inode: int, one: socket.socket, found: dict[int, FilteredSocket]
) -> None:
    data = _filter(one.fileno(), _GET_FILTER.get(ABI, _GET_FILTER_ELSEWHERE))
    if not data:
        return
    numbers = []
    for option in (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL):
        try:
            numbers.append(one.getsockopt(socket.SOL_SOCKET, option))
        except OSError:
            numbers.append(0)
    device = ""
    if numbers[0] == socket.AF_PACKET:
        numbers[2], device = _packet(one.fileno())
    comm = comm_of(f"/proc/{pid}")
    found[inode] = FilteredSocket(
        pid, comm, number, inode, numbers[0], numbers[1], numbers[2], device, data
    )  # fmt: skip


def _packet(fd: int) -> tuple[int, str]:
    """Protocol and device of a packet socket, of which SO_PROTOCOL tells nothing."""
    address = socket_name(fd)  # struct sockaddr_ll: linux/if_packet.h
    protocol = int.from_bytes(address[2:4], "big")
    request = struct.pack("16s4s20x", b"", address[4:8])  # struct ifreq
    try:
        name = ioctl(fd, _SIOCGIFNAME, request)[:16].partition(b"\0")[0]
    except OSError:
        name = b""  # it is bound to none
    return protocol, name.decode("utf-8", "surrogateescape")


def _filter(fd: int, option: int) -> bytes:
    """The instructions of a socket's filter; empty where there is none, or one of eBPF."""
    # Lengths count instructions here (sk_get_filter() of net/core/filter.c).
    for _ in range(_LENGTH_TRIES):
        count = getsockopt(fd, socket.SOL_SOCKET, option, None, 0)
        if count <= 0:
            break
        buffer = Buffer(count * 8)
        again = getsockopt(fd, socket.SOL_SOCKET, option, buffer, count)
        if 0 < again <= count:
            return bytes(buffer.data[: again * 8])
        if again == -EPERM:
            break  # SO_LOCK_FILTER does not hide it, but who knows
    return b""
