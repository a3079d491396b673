"""Running a program on given data: ``BPF_PROG_TEST_RUN`` (v4.12)."""

from __future__ import annotations

import struct
from errno import E2BIG, EFAULT, EINVAL, ENOMEM, ENOSPC, EPERM

from pybpftool.control import require_live
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.syscall import ENOTSUPP, Buffer, bpf
from pybpftool.records import Record
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel

ROOM = 1 << 15
"""Bytes of room for what a run gives back, unless more or less is asked for (as upstream)."""

# A packet has at most MAX_SKB_FRAGS (45) pages and its head, a context 64 KiB: a larger
# output never comes, whatever room it is given.
_MOST_ROOM = 1 << 22
# union bpf_attr, test: prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat,
# duration, ctx_size_in, ctx_size_out, ctx_in, ctx_out, flags, cpu, batch_size
_ATTR = struct.Struct("=4I2Q4I2Q3I4x")
_ETH_HLEN = 14
# Types whose test run takes a context alone and refuses room for another, a number of runs and
# data: bpf_prog_test_run_raw_tp() (v5.10), bpf_prog_test_run_syscall() (v5.14).
_CONTEXT_ALONE = frozenset(
    (
        uapi.PROG_TYPES.index("raw_tracepoint"),
        uapi.PROG_TYPES.index("raw_tracepoint_writable"),
        uapi.PROG_TYPES.index("syscall"),
    )
)
_SYSCALL = uapi.PROG_TYPES.index("syscall")
# Types whose data is a packet from its Ethernet header on.
_PACKETS = frozenset(
    uapi.PROG_TYPES.index(name)
    for name in ("socket_filter", "sched_cls", "sched_act", "xdp", "cgroup_skb", "lwt_in",
                 "lwt_out", "lwt_xmit", "lwt_seg6local", "flow_dissector")
)  # fmt: skip


class Outcome(Record):
    """What a run gave.

    ``duration_ns`` is the average of the runs, 0 where the kernel does not measure it.
    ``data`` and ``ctx`` are None where none was given to the program.
    """

    retval: int
    duration_ns: int
    data: bytes | None
    ctx: bytes | None


def run_program(
    kernel: Kernel,
    prog: BpfObject,
    data: bytes | None = None,
    ctx: bytes | None = None,
    repeat: int = 1,
    room: tuple[int, int] = (0, 0),
) -> Outcome:
    """Run an open program ``repeat`` times in the kernel, always on the same input.

    :param data: a packet, for types that work on packets.
    :param ctx: the context, as the program's type has it.
    :param room: most bytes of data and of context that may come back; 0 is :data:`ROOM` for
        what is given, and nothing for what is not. The kernel hears of room for what is not
        given, too: some types ignore it, and others refuse it.

    Raises BpfError.
    """
    require_live(kernel)
    (type,) = struct.unpack_from("=I", prog.info)
    alone = type in _CONTEXT_ALONE
    if alone:
        _refuse_more(type, data, repeat)
    data_room = _room(data, room[0])
    ctx_room = 0 if alone and ctx is not None else _room(ctx, room[1])
    data_in, data_out = _pair(data, data_room)
    ctx_in, ctx_out = _pair(ctx, ctx_room)
    attr = Buffer.of(
        _ATTR.pack(
            prog.fd, 0,
            len(data or b""), data_room,
            data_in.address if data_in else 0, data_out.address if data_out else 0,
            0 if alone else repeat, 0,
            len(ctx or b""), ctx_room,
            ctx_in.address if ctx_in else 0, ctx_out.address if ctx_out else 0,
            0, 0, 0,
        )
    )  # fmt: skip
    result = bpf(uapi.BPF_PROG_TEST_RUN, attr.address, len(attr.data))
    if result < 0:
        raise _refusal(prog, type, -result, data, (data_room, ctx_room))
    answer = _ATTR.unpack(attr.data)
    given = ctx_in if alone and type == _SYSCALL else ctx_out
    return Outcome(
        retval=answer[1],
        duration_ns=answer[7],
        data=bytes(data_out.data[: answer[3]]) if data_out else None,
        ctx=bytes(given.data[: len(ctx or b"") if alone else answer[9]]) if given else None,
    )


def _room(given: bytes | None, wanted: int) -> int:
    """Bytes of room for what comes back; all that is wanted where no memory stands for it."""
    return wanted if given is None else min(wanted or ROOM, _MOST_ROOM)


def _pair(given: bytes | None, room: int) -> tuple[Buffer | None, Buffer | None]:
    """Memory with what is given, and room for what comes back; none where nothing is given."""
    if given is None:
        return None, None
    # An empty file has an address, too: the kernel tells it from none.
    return Buffer.of(given or b"\0"), Buffer(room) if room else None


def _refuse_more(type: int, data: bytes | None, repeat: int) -> None:
    name = uapi.PROG_TYPES[type]
    if data is not None:
        raise BpfError(f"programs of type {name} take no data, only a context")
    if repeat > 1:
        raise BpfError(
            f"the kernel runs programs of type {name} once at a time, not {repeat} times"
        )


def _refusal(
    prog: BpfObject, type: int, errno: int, data: bytes | None, room: tuple[int, int]
) -> KernelError:
    what = f"cannot run program {prog.id}"
    name = uapi.PROG_TYPES[type] if type < len(uapi.PROG_TYPES) else str(type)
    if errno == EINVAL and type in _PACKETS and len(data or b"") < _ETH_HLEN:
        size = len(data or b"")
        reason = (
            f"programs of type {name} need {_ETH_HLEN} bytes of data or more, an Ethernet header,"
            f" and {size or 'none'} {'is' if size < 2 else 'are'} given"
        )
    elif errno == ENOTSUPP:
        reason = f"the kernel has no test run for programs of type {name}"
    elif errno == EINVAL:
        reason = "the kernel does not take this data, context or number of runs (EINVAL)"
    elif errno == ENOSPC:
        reason = f"there is more to give back than the room for it, {room[0]} and {room[1]} bytes"
    elif errno == E2BIG:
        reason = f"the context is longer than that of programs of type {name} (E2BIG)"
    elif errno == ENOMEM:
        reason = "the data is longer than this program may be given (ENOMEM)"
    elif errno == EPERM:
        reason = "this needs the capabilities CAP_BPF and CAP_PERFMON or CAP_NET_ADMIN"
    elif errno == EFAULT:
        reason = "the kernel cannot read the data (EFAULT)"
    else:
        return KernelError.of(what, errno)
    return KernelError(f"{what}: {reason}", errno)
