"""Programs on network devices: XDP by netlink, tcx by ``BPF_PROG_ATTACH``."""

from __future__ import annotations

import struct
from errno import EPROTO

from pybpftool.control import require_live
from pybpftool.errors import KernelError
from pybpftool.kernel.net import NETLINK_ROUTE, NLMSG_ERROR, answers, check, opened
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel

XDP_FLAGS = {"xdp": 0, "xdpgeneric": 2, "xdpdrv": 4, "xdpoffload": 8}
"""Words for XDP and their XDP_FLAGS_*_MODE (linux/if_link.h)."""
TCX = ("tcx_ingress", "tcx_egress")
"""Words for tcx (v6.6), which are those of the attach types."""

_XDP_UPDATE_IF_NOEXIST = 1  # linux/if_link.h: XDP_FLAGS_UPDATE_IF_NOEXIST


def attach(
    kernel: Kernel,
    kind: str,
    prog: BpfObject,
    ifindex: int,
    overwrite: bool = False,
    is_first: bool = False,
) -> None:
    """Attach a program: ``overwrite`` is for XDP, ``is_first`` for tcx (BPF_F_BEFORE)."""
    require_live(kernel)
    if kind in XDP_FLAGS:
        flags = XDP_FLAGS[kind] | (0 if overwrite else _XDP_UPDATE_IF_NOEXIST)
        _set_xdp(ifindex, prog.fd, flags, "cannot attach the program to the device")
        return
    # union bpf_attr: target_ifindex, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd,
    # relative_fd, expected_revision
    number = uapi.ATTACH_TYPES.index(kind)
    flags = 1 << 3 if is_first else 0
    attr = Buffer.of(struct.pack("=IIIIIIQ", ifindex, prog.fd, number, flags, 0, 0, 0))
    result = bpf(uapi.BPF_PROG_ATTACH, attr.address, 32 if is_first else 20)
    if result < 0:
        raise KernelError.of("cannot attach the program to the device", -result)


def detach(kernel: Kernel, kind: str, ifindex: int) -> None:
    """Take a device's XDP program off it, or its last program of a tcx type."""
    require_live(kernel)
    if kind in XDP_FLAGS:
        flags = XDP_FLAGS[kind] | _XDP_UPDATE_IF_NOEXIST
        _set_xdp(ifindex, -1, flags, "cannot detach the program from the device")
        return
    number = uapi.ATTACH_TYPES.index(kind)
    attr = Buffer.of(struct.pack("=IIIII", ifindex, 0, number, 0, 0))
    result = bpf(uapi.BPF_PROG_DETACH, attr.address, 20)
    if result < 0:
        raise KernelError.of("cannot detach a program from the device", -result)


def _set_xdp(ifindex: int, fd: int, flags: int, what: str) -> None:
    from pybpftool.adapters.netlink import request_set_xdp

    _acknowledged(request_set_xdp(ifindex, fd, flags), what)


def _acknowledged(request: bytes, what: str) -> None:
    """Send a request of rtnetlink and wait until it is done; ``what`` begins a refusal."""
    sock = opened("", NETLINK_ROUTE)
    try:
        for type, _, message in answers(sock, request):
            if type == NLMSG_ERROR:
                check(message, what)
                return
        raise KernelError(f"{what}: the kernel does not say whether it did", EPROTO)
    except OSError as error:
        raise KernelError.of(what, error.errno or 0) from None
    finally:
        sock.close()
