"""What comes and goes: programs by the kernel's own records, links by their ids."""

from __future__ import annotations

import time

from pybpftool.errors import BpfError, KernelError, VanishedError
from pybpftool.inspect.owner import Owners
from pybpftool.objects.link import LinkReader
from pybpftool.objects.prog import ProgramReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.kernel.interface import Kernel

    Row = dict[str, Any]

_FRESH = 2.0  # seconds for which a process is believed to be the same
_MOST_TASKS = 4096
_UNKNOWN_PID = 0xFFFFFFFF  # of a task outside our namespace of processes


class Tasks:
    """Names and owners of tasks, which may have ended when they are asked for."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._comms: dict[int, str] = {}
        self._known: dict[int, tuple[float, str, str]] = {}

    def named(self, pid: int, comm: str) -> None:
        """A task has got a name."""
        if len(self._comms) >= _MOST_TASKS:
            del self._comms[next(iter(self._comms))]
        self._comms[pid] = comm
        self._known.pop(pid, None)

    def told(self, pid: int) -> Row:
        """``pid``, and ``comm`` and ``owner`` as far as they can be told."""
        if pid in (0, _UNKNOWN_PID):
            return {}
        now = time.monotonic()
        known = self._known.get(pid)
        if known is None or now - known[0] > _FRESH:
            if len(self._known) >= _MOST_TASKS:
                self._known.clear()
            comm = self._comm(pid) or self._comms.get(pid, "")
            owner = Owners(self._kernel).of_process(pid, comm) if comm else ""
            known = self._known[pid] = now, comm, owner
        row: Row = {"pid": pid}
        if known[1]:
            row["comm"] = known[1]
        if known[2]:
            row["owner"] = known[2]
        return row

    def _comm(self, pid: int) -> str:
        try:
            data = self._kernel.file(f"/proc/{pid}/comm")
        except BpfError:
            return ""
        return data.rstrip(b"\n").decode("utf-8", "surrogateescape")


class Programs:
    """Tells loads and unloads with what can be learnt of the program and who loads it."""

    def __init__(self, kernel: Kernel, tasks: Tasks) -> None:
        self._kernel = kernel
        self._tasks = tasks
        self._known: dict[int, tuple[str, str]] = {}
        reader = ProgramReader(kernel)
        try:
            for obj in kernel.objects("prog"):
                prog = reader.read(obj, is_brief=True)
                self._known[prog.id] = prog.type_name or f"type {prog.type}", prog.name
        except BpfError:
            pass  # names of what is there already need CAP_SYS_ADMIN

    def row(self, event: Any) -> Row:
        """The row of a ProgEvent of :mod:`pybpftool.kernel.bpf_events`."""
        if event.is_load:
            known = self._known[event.id] = self._describe(event.id)
        else:
            known = self._known.pop(event.id, ("", ""))
        kind, name = known
        row: Row = {
            "time": event.time_ns / 1e9,
            "event": "load" if event.is_load else "unload",
            "prog_id": event.id,
        }
        if kind:
            row["type"] = kind
        if name or event.symbols:
            row["name"] = name or event.symbols[0]
        row["tag"] = event.tag
        row.update(self._tasks.told(event.pid))
        return row

    def _describe(self, id: int) -> tuple[str, str]:
        """Type and name; empty for a program that is gone again, or may not be opened."""
        kernel = self._kernel
        try:
            obj = kernel.open("prog", id)
        except KernelError:
            return "", ""
        try:
            # A reader keeps the types that it has read, and programs may come for days.
            prog = ProgramReader(kernel).read(obj, is_brief=True)
        except KernelError:
            return "", ""
        finally:
            kernel.close(obj)
        return prog.type_name or f"type {prog.type}", prog.name


class Links:
    """Tells attaches and detaches of links, found by looking at the ids of all of them."""

    def __init__(self, kernel: Kernel, tasks: Tasks) -> None:
        self._kernel = kernel
        self._tasks = tasks
        self._rows: dict[int, Row] = {}
        self.refused: BpfError | None = None
        """Why links cannot be watched, if they cannot."""
        self.look(is_first=True)

    def look(self, is_first: bool = False) -> list[Row]:
        """The rows of what came and went since the last look."""
        if self.refused is not None:
            return []
        kernel = self._kernel
        now = round(time.time(), 6)
        seen = set()
        came = []
        reader: LinkReader | None = None
        try:
            for obj in kernel.objects("link"):
                seen.add(obj.id)
                if obj.id in self._rows:
                    continue
                if reader is None:
                    reader = LinkReader(kernel, resolve=True, held={})
                row = self._rows[obj.id] = self._described(reader, obj)
                came.append({"time": now, "event": "attach", **row})
        except BpfError as error:
            self.refused = error
            return []
        if is_first:
            return []
        if came:
            self._add_holders(came)
        went = []
        for id in self._rows.keys() - seen:
            went.append({"time": now, "event": "detach", **self._rows.pop(id)})
        return sorted(went, key=lambda row: int(row["link_id"])) + came

    def _described(self, reader: LinkReader, obj: Any) -> Row:
        row: Row = {"link_id": obj.id}
        try:
            link = reader.read(obj)
        except VanishedError:
            return row
        except BpfError:
            return row
        row["type"] = link.type
        row["prog_id"] = link.prog_id
        if link.prog_name:
            row["name"] = link.prog_name
        if link.target is not None:
            row["target"] = link.target.json()
            row["place"] = " ".join(link.target.text().split())
        return row

    def _add_holders(self, rows: list[Row]) -> None:
        """Who holds the links that came: who attached them, most likely."""
        try:
            held = self._kernel.holders("link")
        except BpfError:
            return
        for row in rows:
            holders = held.get(row["link_id"])
            if holders:
                pid, comm = holders[0]
                told = {"pid": pid, "comm": comm, **self._tasks.told(pid)}
                row.update(told)
                self._rows[row["link_id"]].update(told)
