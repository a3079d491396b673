"""Links that lose their target."""

from __future__ import annotations

import struct

from pybpftool.control import require_live
from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel


def detach(kernel: Kernel, link: BpfObject) -> None:
    """``BPF_LINK_DETACH`` (v5.9): the link stays, attached to nothing."""
    require_live(kernel)
    attr = Buffer.of(struct.pack("=I", link.fd))
    result = bpf(uapi.BPF_LINK_DETACH, attr.address, 4)
    if result < 0:
        raise KernelError.of(f"cannot detach link {link.id}", -result)
