"""Networking questions: netlink dumps, program queries by device, other namespaces."""

from __future__ import annotations

import _socket
import posix
import struct
from _thread import get_ident
from errno import EACCES, EINVAL, ENODEV, ENXIO, EPERM

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.syscall import Buffer, bpf, setns
from pybpftool.kernel.tasks import comm_of, tasks
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

NAMED_NAMESPACES = "/run/netns"
"""Where ip-netns(8) keeps the namespaces that it names."""

_AF_NETLINK = 16
_SOCK_RAW = 3 | 0o2000000  # SOCK_CLOEXEC
NETLINK_ROUTE = 0
NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_DUMP_INTR = 0x10
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: len, type, flags, seq, pid
_CLONE_NEWNET = 0x40000000

# union bpf_attr.query: target, attach_type, query_flags, attach_flags, prog_ids, count,
# prog_attach_flags, link_ids, link_attach_flags, revision
_QUERY = struct.Struct("=IIIIQIxxxxQQQQ")
_FLOW_DISSECTOR = uapi.ATTACH_TYPES.index("flow_dissector")
_PID_DIGITS = 10
_MOST = 64  # BPF_MPROG_MAX: programs of one type on one device

_TRIES = 4  # for a dump that a change of the list interrupted

_OWN = "/proc/thread-self/ns/net"


# By thread: a descriptor of our own namespace, where it could not be entered again.
_away: dict[int, int] = {}


def _inside(netns: str, question: Callable[[], T]) -> T:
    """Ask a question in the network namespace at the path ``netns``; empty is our own."""
    _return()
    if not netns:
        return question()
    try:
        back = posix.open(_OWN, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            target = posix.open(netns, posix.O_RDONLY | posix.O_CLOEXEC)
        except (OSError, ValueError):
            posix.close(back)
            raise
    except (OSError, ValueError) as error:
        errno = (error.errno if isinstance(error, OSError) else 0) or EINVAL
        raise KernelError.of(f"cannot open the network namespace '{netns}'", errno) from None
    try:
        refused = setns(target, _CLONE_NEWNET)
    finally:
        posix.close(target)
    if refused:
        posix.close(back)
        raise KernelError.of(f"cannot enter the network namespace '{netns}'", -refused)
    _away[get_ident()] = back
    try:
        return question()
    finally:
        _return()


def _return() -> None:
    """Go back to this thread's own namespace.

    Raises KernelError where that fails: the next question tries it again, so that none is
    answered from another namespace.
    """
    thread = get_ident()
    back = _away.get(thread)
    if back is None:
        return
    refused = setns(back, _CLONE_NEWNET)
    if refused:
        raise KernelError.of("cannot return to our own network namespace", -refused)
    del _away[thread]
    posix.close(back)


def _status(netns: str) -> posix.stat_result:
    """What stat(2) says of the namespace at the path ``netns``; empty is our own."""
    _return()
    path = netns or _OWN
    try:
        return posix.stat(path)
    except (OSError, ValueError) as error:
        errno = (error.errno if isinstance(error, OSError) else 0) or EINVAL
        raise KernelError.of(f"cannot open the network namespace '{path}'", errno) from None


def opened(netns: str, protocol: int) -> _socket.socket:
    """A netlink socket in a namespace."""
    try:
        return _inside(netns, lambda: _socket.socket(_AF_NETLINK, _SOCK_RAW, protocol))
    except OSError as error:
        raise KernelError.of("cannot open a netlink socket", error.errno or 0) from None


def answers(sock: _socket.socket, request: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, message with its header) of each answer to a request."""
    sock.send(request)
    while True:
        data = sock.recv(1 << 18)
        at = 0
        while at + _HEADER.size <= len(data):
            length, type, flags, _, _ = _HEADER.unpack_from(data, at)
            if length < _HEADER.size:
                return
            yield type, flags, data[at : at + length]
            at += (length + 3) & ~3
        if not data:
            return


def netlink_dump(request: bytes, netns: str) -> list[bytes]:
    """The messages, with their headers, that answer a dump request.

    Requests are made by :mod:`pybpftool.objects.rtnetlink`, which reads the answers,
    too. Raises KernelError with the kernel's reason.
    """
    sock = opened(netns, NETLINK_ROUTE)
    try:
        return dumped(sock, request)
    except OSError as error:
        raise KernelError.of("a netlink request failed", error.errno or 0) from None
    finally:
        sock.close()


def dumped(sock: _socket.socket, request: bytes) -> list[bytes]:
    """The messages that answer a dump request on a socket; raises OSError, too."""
    for _ in range(_TRIES):
        messages: list[bytes] = []
        interrupted = 0
        for type, flags, message in answers(sock, request):
            interrupted |= flags & _NLM_F_DUMP_INTR
            if type == _NLMSG_DONE:
                break
            if type == NLMSG_ERROR:
                check(message, "a netlink request failed")
                break
            messages.append(message)
        if not interrupted:
            break
    return messages


def check(message: bytes, what: str) -> None:
    """Raise KernelError if a ``struct nlmsgerr`` is one."""
    errno = -struct.unpack_from("=i", message.ljust(20, b"\0"), _HEADER.size)[0]
    if errno:
        raise KernelError.of(what, errno)


def device_programs(ifindex: int, attach_type: int, netns: str) -> list[tuple[int, int, int, int]]:
    """(prog_id, prog_flags, link_id, link_flags) of a device's tcx or netkit programs.

    ``link_id`` is 0 for a program attached without a link. Empty where the device or
    the kernel knows no such attach type; raises KernelError when it refuses to tell.
    """
    arrays = [Buffer(4 * _MOST) for _ in range(4)]
    progs, prog_flags, links, link_flags = arrays
    attr = Buffer.of(
        _QUERY.pack(
            ifindex,
            attach_type,
            0,
            0,
            progs.address,
            _MOST,
            prog_flags.address,
            links.address,
            link_flags.address,
            0,
        )
    )
    result = _inside(netns, lambda: bpf(uapi.BPF_PROG_QUERY, attr.address, _QUERY.size))
    # EACCES: a netkit device is asked as the other end of its pair (netkit_dev_fetch()).
    if result in (-EINVAL, -ENODEV, -ENXIO, -EACCES):
        return []
    if result < 0:
        raise KernelError.of(f"cannot query the programs of device {ifindex}", -result)
    count = min(_QUERY.unpack(attr.data)[5], _MOST)
    columns = (
        struct.unpack_from(f"={count}I", array.data)
        for array in (progs, prog_flags, links, link_flags)
    )
    return list(zip(*columns))


def flow_dissector(netns: str) -> int:
    """The id of a namespace's flow dissector program, 0 when it has none."""
    _return()
    path = netns or _OWN
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except (OSError, ValueError) as error:
        errno = (error.errno if isinstance(error, OSError) else 0) or EINVAL
        raise KernelError.of(f"cannot open the network namespace '{path}'", errno) from None
    try:
        ids = Buffer(4)
        # Old kernels know nothing behind the count.
        attr = Buffer.of(_QUERY.pack(fd, _FLOW_DISSECTOR, 0, 0, ids.address, 1, 0, 0, 0, 0)[:32])
        result = bpf(uapi.BPF_PROG_QUERY, attr.address, 32)
    finally:
        posix.close(fd)
    if result == -EINVAL:
        return 0  # kernels before 5.0 cannot tell
    if result == -EPERM:
        raise KernelError(
            "cannot query the flow dissector: this needs the capability CAP_NET_ADMIN"
            " (try as root)",
            EPERM,
        )
    if result < 0:
        raise KernelError.of("cannot query the flow dissector", -result)
    return int(struct.unpack("=I", ids.data)[0])


def device_index(name: str, netns: str) -> int:
    """The ifindex of a device by its name; raises KernelError when there is none."""

    def question() -> int:
        try:
            return _socket.if_nametoindex(name)
        except (OSError, ValueError):
            raise KernelError(f"there is no network device '{name}'", ENODEV) from None

    return _inside(netns, question)


def network_namespaces() -> list[tuple[str, int, str, int, str]]:
    """The network namespaces that have a name or a task, our own first.

    :return: (path, inode number, name or "", pid or 0, comm) for each; the path of
        our own is empty, pid and comm are those of the first task in it.

    Raises KernelError where /proc does not even show our own.
    """
    own = _status("")
    found: dict[int, tuple[str, int, str, int, str]] = {}
    names: dict[int, str] = {}
    try:
        listed = sorted(posix.listdir(NAMED_NAMESPACES))
    except OSError:
        listed = []
    for name in listed:
        path = f"{NAMED_NAMESPACES}/{name}"
        try:
            status = posix.stat(path)
        except OSError:
            continue
        if status.st_dev == own.st_dev:
            names.setdefault(status.st_ino, name)
    for pid, task in tasks():
        try:
            text = posix.readlink(f"{task}/ns/net")
            inode = int(text[text.index("[") + 1 : -1])
            if inode in found:
                continue
        except (OSError, ValueError):
            continue
        path = "" if inode == own.st_ino else f"{task}/ns/net"
        found[inode] = (path, inode, names.get(inode, ""), pid, comm_of(task))
    rows = [found.pop(own.st_ino, ("", own.st_ino, names.get(own.st_ino, ""), 0, ""))]
    names.pop(own.st_ino, None)
    for inode, name in names.items():
        _, _, _, pid, comm = found.pop(inode, ("", 0, "", 0, ""))
        rows.append((f"{NAMED_NAMESPACES}/{name}", inode, name, pid, comm))
    return rows + list(found.values())


def namespace_path(word: str) -> str:
    """The path of the namespace that a word names: of ip-netns(8), a pid, or a path.

    Raises BpfError when it names none.
    """
    from os.path import exists

    candidates = [word] if "/" in word else [f"{NAMED_NAMESPACES}/{word}"]
    if word.isdecimal() and len(word) <= _PID_DIGITS:
        candidates.append(f"/proc/{int(word)}/ns/net")
    for path in candidates:
        if word not in ("", ".", "..") and exists(path):
            return path
    raise BpfError(f"there is no network namespace with the name or process id '{word}'")
