"""Perf events and raw tracepoints with programs, by the tasks that hold them."""

from __future__ import annotations

from pybpftool.uapi.bpf import TASK_FD_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.kernel.interface import Kernel

RAW_TRACEPOINT, TRACEPOINT, KPROBE, KRETPROBE, UPROBE, URETPROBE = range(6)
"""The numbers of enum bpf_task_fd_type."""


class TaskEvent:
    """A file descriptor with a program.

    ``name`` is the tracepoint, kernel function or file; a kprobe without a function
    is at ``address``. ``offset`` counts from the function or the beginning of the
    file. ``type_name`` is None for a type that this version does not know.
    """

    __slots__ = ("address", "fd", "name", "offset", "pid", "prog_id", "type")

    def __init__(
        self,
        pid: int,
        fd: int,
        prog_id: int,
        type: int,
        name: bytes,
        offset: int,
        address: int,
    ) -> None:
        self.pid = pid
        self.fd = fd
        self.prog_id = prog_id
        self.type = type
        self.name = name.decode("utf-8", "surrogateescape")
        self.offset = offset
        self.address = address

    @property
    def type_name(self) -> str | None:
        """The name of the type."""
        return TASK_FD_TYPES[self.type] if self.type < len(TASK_FD_TYPES) else None


def task_events(kernel: Kernel) -> Iterator[TaskEvent]:
    """The events of all tasks in the order of pids; raises KernelError when not permitted."""
    for row in kernel.task_fds():
        yield TaskEvent(*row)
