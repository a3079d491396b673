"""Programs that are attached to maps of sockets, by links or without (BPF_PROG_QUERY, v5.19)."""

from __future__ import annotations

import struct
from errno import EBUSY, EINVAL, EOPNOTSUPP, EPERM

from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import ENOTSUPP, Buffer, bpf
from pybpftool.uapi import bpf as uapi

ATTACH_TYPES = tuple(
    uapi.ATTACH_TYPES.index(name)
    for name in ("sk_skb_stream_parser", "sk_skb_stream_verdict", "sk_skb_verdict",
                 "sk_msg_verdict")
)  # fmt: skip
# target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
_QUERY = struct.Struct("=IIIIQI4x")


def socket_map_programs(map_fd: int, map_id: int) -> list[tuple[int, int]]:
    """(attach type, program id) of each program of an open sockmap or sockhash.

    Kernel: sock_map_bpf_prog_query() in net/core/sock_map.c. Older kernels cannot tell: none.
    """
    found = []
    ids = Buffer(4)
    for attach_type in ATTACH_TYPES:
        attr = Buffer.of(_QUERY.pack(map_fd, attach_type, 0, 0, ids.address, 1))
        result = bpf(uapi.BPF_PROG_QUERY, attr.address, _QUERY.size)
        if result in (-EBUSY, -EINVAL, -EOPNOTSUPP, -ENOTSUPP):
            # Of the two verdicts on streams a map takes one, the other is busy then; or this
            # kernel has no such place in a map, or does not answer.
            continue
        what = f"cannot query the programs of map {map_id}"
        if result == -EPERM:
            reason = "this needs the capability CAP_NET_ADMIN (try as root)"
            raise KernelError(f"{what}: {reason}", EPERM)
        if result < 0:
            raise KernelError.of(what, -result)
        if _QUERY.unpack(attr.data)[5]:
            found.append((attach_type, ids.number(0).value))
    return found
