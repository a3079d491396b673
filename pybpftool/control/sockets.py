"""Programs on maps of sockets, and a network namespace's flow dissector.

``BPF_PROG_ATTACH`` without a link, as ``sock_map_get_from_fd()`` (v4.14) and
``netns_bpf_prog_attach()`` (v4.20) take it.
"""

from __future__ import annotations

import struct
from errno import EBADF, EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM

from pybpftool.control import require_live
from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel

# union bpf_attr: target_fd, attach_bpf_fd, attach_type, attach_flags
_ATTR = struct.Struct("=4I")


def attach(kernel: Kernel, prog: BpfObject, map: BpfObject | None, attach_type: int) -> None:
    """Attach a program to a map of sockets; to this network namespace where there is no map."""
    _change(kernel, uapi.BPF_PROG_ATTACH, prog, map, attach_type)


def detach(kernel: Kernel, prog: BpfObject, map: BpfObject | None, attach_type: int) -> None:
    """Undo :func:`attach`."""
    _change(kernel, uapi.BPF_PROG_DETACH, prog, map, attach_type)


def _change(
    kernel: Kernel, cmd: int, prog: BpfObject, map: BpfObject | None, attach_type: int
) -> None:
    require_live(kernel)
    attr = Buffer.of(_ATTR.pack(map.fd if map else 0, prog.fd, attach_type, 0))
    result = bpf(cmd, attr.address, len(attr.data))
    if result < 0:
        raise _refusal(cmd == uapi.BPF_PROG_ATTACH, prog, map, attach_type, -result)


def _refusal(
    is_attach: bool, prog: BpfObject, map: BpfObject | None, attach_type: int, errno: int
) -> KernelError:
    type = uapi.ATTACH_TYPES[attach_type]
    where = f"map {map.id}" if map else "the network namespace"
    verb, preposition = ("attach", "to") if is_attach else ("detach", "from")
    what = f"cannot {verb} program {prog.id} {preposition} {where} as {type}"
    if errno == EINVAL:
        reason = "the program or the map is of another type (EINVAL)"
        if map is None:
            reason = "the program is attached there already, or of another type (EINVAL)"
    elif errno == EOPNOTSUPP:
        reason = "the map cannot have such a program (EOPNOTSUPP)"
    elif errno == ENOENT:
        reason = "it is not attached there (ENOENT)"
    elif errno == EEXIST:
        reason = "there is one already (EEXIST)"
    elif errno == EBUSY:
        reason = "a program of the other kind of verdict, or a link, is in its place (EBUSY)"
    elif errno == EPERM:
        reason = "this needs the capability CAP_NET_ADMIN, and CAP_BPF (EPERM)"
    elif errno == EBADF:
        reason = "there is no such map (EBADF)"
    else:
        return KernelError.of(what, errno)
    return KernelError(f"{what}: {reason}", errno)
