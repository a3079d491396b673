"""Run-time statistics of programs, on for as long as somebody looks."""

from __future__ import annotations

import os
import struct
from errno import EINVAL, EPERM

from pybpftool.control import require_live
from pybpftool.errors import KernelError
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pybpftool.kernel.interface import Kernel

_BPF_STATS_RUN_TIME = 0  # v5.8, d46edd671a14


class RunTimeStats:
    """Within this context the kernel counts calls of programs and the time that they take.

    What keeps them on is a file descriptor, not the sysctl kernel.bpf_stats_enabled: however
    this process ends, they go off with it, unless others want them too. Raises KernelError.
    """

    __slots__ = ("_fd", "_kernel")

    def __init__(self, kernel: Kernel) -> None:
        require_live(kernel)
        self._kernel = kernel
        self._fd = -1

    def __enter__(self) -> RunTimeStats:
        from pybpftool.kernel.syscall import Buffer, bpf

        attr = Buffer.of(struct.pack("=I", _BPF_STATS_RUN_TIME))
        fd = bpf(uapi.BPF_ENABLE_STATS, attr.address, len(attr.data))
        if fd == -EPERM:
            raise KernelError(
                "run-time statistics cannot be turned on: this needs the capability CAP_SYS_ADMIN",
                EPERM,
            )
        if fd == -EINVAL:
            raise KernelError(
                "this kernel has no run-time statistics that go off by themselves (Linux 5.8 has)",
                EINVAL,
            )
        if fd < 0:
            raise KernelError.of("run-time statistics cannot be turned on", -fd)
        self._fd = fd
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        self._fd = -1
