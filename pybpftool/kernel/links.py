"""Questions about links that need more than one request: names, addresses, cookies."""

from __future__ import annotations

import posix
import struct
from errno import ENOSPC

from pybpftool.errors import KernelError
from pybpftool.kernel.interface import BpfObject
from pybpftool.kernel.syscall import INFO_ATTR, Buffer, bpf, pidfd_getfd, repeated_call
from pybpftool.uapi import bpf as uapi

# Offset of the cookie in the arm of each kind of perf event link.
_COOKIE_AT = tuple(
    next((at for name, at, _ in uapi.BPF_LINK_INFO[f"perf_event.{arm}"] if name == "cookie"), 0)
    for arm in ("uprobe", "uprobe", "kprobe", "kprobe", "tracepoint", "event")
)
# What stands in the place of a cookie before a request; the second one is for who chose the first.
_MARKS = (0x7C1D5E3A9B2F4086, 0x13579BDF2468ACE0)

_INFO_SIZE = 512
_NAME_SIZE = 4096  # PATH_MAX: the kernel builds paths in a page

_info = Buffer(_INFO_SIZE)
_name = Buffer(_NAME_SIZE)
_attr = Buffer(16)
_blank = bytes(_INFO_SIZE)
_hidden: dict[int, int] = {}  # link id -> cookie, as the last walk found them
_walked = 0  # the newest link that this walk can have met
_NO_LINK_IS_NEWER = 1 << 32
_NAME_FIELDS = struct.Struct("=QI")


def link_details(link: BpfObject, uses_iterators: bool = False) -> dict[str, bytes]:
    """What the info of a link points to, with the info of the same request.

    ``name`` is the tracepoint, iterator target, function or file; ``addrs``,
    ``offsets``, ``ref_ctr_offsets`` and ``cookies`` are arrays of 64-bit numbers, ``ids`` of
    32-bit ones. The info
    of a perf event link ends before its cookie where the kernel tells none (before v6.9,
    d5c16492c66f; the size of its struct alone does not show that). Where it tells nothing
    of the event (before v6.6, 1b715e1b0ec5), ``cookie`` is the 64-bit number, if an iterator
    may be asked.
    See ``struct bpf_link_info`` in ``include/uapi/linux/bpf.h``.
    """
    type = struct.unpack_from("=I", link.info)[0]
    data = _info.data
    data[:] = _blank
    if type in (uapi.BPF_LINK_TYPE_RAW_TRACEPOINT, uapi.BPF_LINK_TYPE_ITER):
        return _with_name(link, 16)
    if type == uapi.BPF_LINK_TYPE_PERF_EVENT:
        kind = struct.unpack_from("=I", link.info.ljust(20, b"\0"), 16)[0]
        if 0 < kind <= uapi.BPF_PERF_EVENT_EVENT:
            return _perf_event(link, kind)
        cookie = _hidden_cookie(link.id) if uses_iterators else None
        if cookie is not None:
            return {"info": link.info, "cookie": struct.pack("=Q", cookie)}
    elif type == uapi.BPF_LINK_TYPE_KPROBE_MULTI:
        count = struct.unpack_from("=I", link.info.ljust(28, b"\0"), 24)[0]
        addresses, cookies = Buffer(8 * count), Buffer(8 * count)
        struct.pack_into("=QI", data, 16, addresses.address, count)
        if len(link.info) >= 48:  # kernels before 6.7 do not know the field
            struct.pack_into("=Q", data, 40, cookies.address)
        info = _request(link)
        return {"info": info, "addrs": bytes(addresses.data), "cookies": bytes(cookies.data)}
    elif type == uapi.BPF_LINK_TYPE_UPROBE_MULTI:
        count = struct.unpack_from("=I", link.info.ljust(56, b"\0"), 52)[0]
        arrays = {name: Buffer(8 * count) for name in ("offsets", "ref_ctr_offsets", "cookies")}
        addresses_of = (buffer.address for buffer in arrays.values())
        struct.pack_into("=QQQQII", data, 16, _name.address, *addresses_of, _NAME_SIZE, count)
        _name.data[0] = 0
        info = _request(link)
        details = {name: bytes(buffer.data) for name, buffer in arrays.items()}
        return {"info": info, "name": _c_bytes(), **details}
    elif type == uapi.BPF_LINK_TYPE_TRACING_MULTI:
        return _tracing_multi(link)
    return {"info": link.info}


def _tracing_multi(link: BpfObject) -> dict[str, bytes]:
    count = struct.unpack_from("=I", link.info.ljust(24, b"\0"), 20)[0]
    ids, addresses, cookies = Buffer(4 * count), Buffer(8 * count), Buffer(8 * count)
    struct.pack_into("=I", _info.data, 20, count)
    struct.pack_into("=QQQ", _info.data, 32, ids.address, addresses.address, cookies.address)
    info = _request(link)
    arrays = {"ids": ids, "addrs": addresses, "cookies": cookies}
    return {"info": info, **{name: bytes(buffer.data) for name, buffer in arrays.items()}}


def _perf_event(link: BpfObject, kind: int) -> dict[str, bytes]:
    at = _COOKIE_AT[kind - 1]
    details: dict[str, bytes] = {}
    for mark in _MARKS:
        # The kernel begins with the caller's struct, so what it does not fill comes back.
        _info.data[:] = _blank
        struct.pack_into("=Q", _info.data, at, mark)
        if kind == uapi.BPF_PERF_EVENT_EVENT:
            details = {"info": _request(link)}
        else:
            details = _with_name(link, 24)
        info = details["info"]
        if len(info) < at + 8 or struct.unpack_from("=Q", info, at)[0] != mark:
            return details
    details["info"] = details["info"][:at]
    return details


def _hidden_cookie(id: int) -> int | None:
    """The cookie of a perf event link; one walk finds those of all links that there are."""
    global _hidden, _walked
    if id > _walked:
        from pybpftool.kernel.object_iter import perf_cookies

        try:
            _hidden = perf_cookies()
            _walked = max(id, *_hidden) if _hidden else id
        except KernelError:
            _hidden, _walked = {}, _NO_LINK_IS_NEWER
    return _hidden.get(id)


def _with_name(link: BpfObject, at: int) -> dict[str, bytes]:
    _NAME_FIELDS.pack_into(_info.data, at, _name.address, _NAME_SIZE)
    _name.data[0] = 0
    return {"info": _request(link), "name": _c_bytes()}


def _c_bytes() -> bytes:
    data = _name.data
    return bytes(data[: data.index(0)] if 0 in data else data)


def _request(link: BpfObject) -> bytes:
    INFO_ATTR.pack_into(_attr.data, 0, link.fd, _INFO_SIZE, _info.address)
    result = bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, _attr.address, 16)
    # ENOSPC tells of a name that was cut, as of any other name too long for a page.
    if result < 0 and result != -ENOSPC:
        raise KernelError.of(f"cannot get the details of link {link.id}", -result)
    _, length, _ = INFO_ATTR.unpack(_attr.data)
    return bytes(_info.data[:length])


def held_infos(pid: int, numbers: list[int]) -> dict[int, bytes] | None:
    """The infos, by id, of the links behind file descriptors of a process.

    The descriptors are copied for a moment, which takes a third of the time of reading
    ``/proc/PID/fdinfo``. None where it is not permitted or not known (pidfd_getfd(2)
    needs Linux 5.6); those that the process has closed meanwhile are left out.
    """
    try:
        pidfd = posix.pidfd_open(pid)
    except OSError:
        return None
    infos: dict[int, bytes] = {}
    try:
        request, arguments = repeated_call(
            uapi.BPF_OBJ_GET_INFO_BY_FD, _attr.address, INFO_ATTR.size
        )
        INFO_ATTR.pack_into(_attr.data, 0, 0, 0, _info.address)
        asked, length, id = _attr.number(0), _attr.number(4), _info.number(4)
        data, close = _info.data, posix.close
        copy = pidfd_getfd(pidfd)
        for number in numbers:
            fd = copy(number)
            if fd < 0:
                if not infos:
                    return None
                continue
            data[:] = _blank
            asked.value = fd
            length.value = _INFO_SIZE
            if not request(*arguments):
                infos[id.value] = bytes(data[: length.value])
            close(fd)
    finally:
        posix.close(pidfd)
    return infos
