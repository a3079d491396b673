"""Perf events and raw tracepoints with programs, by the tasks that hold them."""

from __future__ import annotations

from pybpftool.records import Record
from pybpftool.uapi.bpf import TASK_FD_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.symbols import Place, Resolver

    TaskFd = tuple[int, int, int, int, bytes, int, int]

_TRACEPOINTS = ("raw_tracepoint", "tracepoint")
_KPROBES = ("kprobe", "kretprobe")
_UPROBES = ("uprobe", "uretprobe")


class TaskEvent(Record):
    """A file descriptor with a program, as BPF_TASK_FD_QUERY tells of it (v4.18).

    ``fd_type`` is a number where it is newer than our tables. ``name`` is the tracepoint,
    kernel function or file; a kprobe without a function is at ``probe_addr``.
    ``probe_offset`` counts from the function or the beginning of the file. ``prog_name``
    and ``place`` are None unless names are asked for.
    """

    pid: int
    fd: int
    prog_id: int
    fd_type: str | int
    name: str
    probe_offset: int
    probe_addr: int
    prog_name: str | None = None
    place: Place | None = None

    def text(self) -> str:
        """The line of the descriptor."""
        shown = f" ({self.prog_name})" if self.prog_name else ""
        head = f"pid {self.pid}  fd {self.fd}: prog_id {self.prog_id}{shown}  "
        kind = self.fd_type
        if kind in _TRACEPOINTS:
            return f"{head}{kind}  {self.name}\n"
        if kind in _KPROBES:
            if self.name:
                return f"{head}{kind}  func {self.name}  offset {self.probe_offset}\n"
            return f"{head}{kind}  addr {self.probe_addr}\n"
        if kind in _UPROBES:
            text = f"{head}{kind}  filename {self.name}  offset {self.probe_offset}"
            place = self.place
            if place is not None:
                text += f"  symbol {place.symbol_text}" if place.symbol else ""
                text += f"  usdt {', '.join(place.usdt)}" if place.usdt else ""
            return text + "\n"
        return head + "\n"  # Upstream quirk: the number of an unknown type is not shown.

    def json(self) -> dict[str, Any]:
        """The JSON properties of the descriptor."""
        json: dict[str, Any] = {"pid": self.pid, "fd": self.fd, "prog_id": self.prog_id}
        if self.prog_name:
            json["prog_name"] = self.prog_name
        kind = self.fd_type
        if isinstance(kind, str):
            json["fd_type"] = kind
        if kind in _TRACEPOINTS:
            json["tracepoint"] = self.name
        elif kind in _KPROBES:
            if self.name:
                json["func"] = self.name
                json["offset"] = self.probe_offset
            else:
                json["addr"] = self.probe_addr
        elif kind in _UPROBES:
            json["filename"] = self.name
            json["offset"] = self.probe_offset
            if self.place is not None:
                json.update(self.place.json())
        return json


def collect(kernel: Kernel, resolve: bool = False) -> Iterator[TaskEvent]:
    """The events of all tasks in the order of pids; raises KernelError when not permitted."""
    # Asked before the first is wanted: a refusal comes before any of the output.
    return _records(kernel, kernel.task_fds(), resolve)


def _records(kernel: Kernel, rows: list[TaskFd], resolve: bool) -> Iterator[TaskEvent]:
    resolver: Resolver | None = None
    if resolve:
        from pybpftool.objects.symbols import Resolver

        resolver = Resolver(kernel)
    for pid, fd, prog_id, number, name, offset, address in rows:
        kind = TASK_FD_TYPES[number] if number < len(TASK_FD_TYPES) else number
        path = name.decode("utf-8", "surrogateescape")
        prog_name = place = None
        if resolver is not None:
            prog_name = resolver.prog_name(prog_id) or None
            place = resolver.place(path, offset) if kind in _UPROBES else None
        yield TaskEvent(pid, fd, prog_id, kind, path, offset, address, prog_name, place)
