"""Programs on cgroups, attached without a link (``cgroup_bpf_prog_attach()``, v4.10)."""

from __future__ import annotations

import os
import struct

from pybpftool.control import require_live
from pybpftool.errors import KernelError
from pybpftool.kernel.cgroups import open_cgroup
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel


def attach(kernel: Kernel, path: str, prog: BpfObject, attach_type: int, flags: int = 0) -> None:
    """Attach an open program to a cgroup; ``flags`` are BPF_F_ALLOW_MULTI and _OVERRIDE."""
    _change(kernel, uapi.BPF_PROG_ATTACH, path, prog, attach_type, flags)


def detach(kernel: Kernel, path: str, prog: BpfObject, attach_type: int) -> None:
    """Undo :func:`attach`."""
    _change(kernel, uapi.BPF_PROG_DETACH, path, prog, attach_type, 0)


def _change(
    kernel: Kernel, cmd: int, path: str, prog: BpfObject, attach_type: int, flags: int
) -> None:
    require_live(kernel)
    fd = open_cgroup(path)
    try:
        # union bpf_attr: target_fd, attach_bpf_fd, attach_type, attach_flags
        attr = Buffer.of(struct.pack("=IIII", fd, prog.fd, attach_type, flags))
        result = bpf(cmd, attr.address, 16)
    finally:
        os.close(fd)
    if result < 0:
        verb, where = ("attach", "to") if cmd == uapi.BPF_PROG_ATTACH else ("detach", "from")
        raise KernelError.of(f"cannot {verb} program {prog.id} {where} '{path}'", -result)
