"""File descriptors of all tasks that are BPF objects or perf events, by a BPF iterator.

Listing ``/proc/PID/fd`` costs about 9 microseconds for each descriptor that is one; a program on
the iterator ``task_file`` (include/linux/bpf.h: DEFINE_BPF_ITER_FUNC(task_file), v5.8) one.
What a descriptor is shows in ``file->f_op->release``; which function that is for each kind we
learn from descriptors of our own.

Whatever the kernel refuses, the answer is None, and the caller looks into /proc.
"""

from __future__ import annotations

import posix
from struct import Struct

from pybpftool.kernel.holders import can_iterate
from pybpftool.kernel.own_programs import (
    ADD_K,
    CALL,
    EXIT_0,
    JA,
    JEQ,
    JEQ_K,
    JNE_K,
    LD_IMM64,
    LDX_DW,
    LDX_W,
    MOV,
    MOV_K,
    PROBE_READ_KERNEL_STR,
    ST_DW,
    ST_W,
    STX_DW,
    STX_W,
    Descriptors,
    Programs,
    Refused,
    array_of_one,
    assembled,
    call,
    followed,
    kernel_types,
    printing,
)
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.kernel.typefind import KernelTypes
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# struct bpf_iter__task_file: meta, task, fd, file (kernel/bpf/task_iter.c); __task_vma.
_TASK, _FD, _FILE = 8, 16, 24
_VMA = 16

HELD = Struct("=IIII16s")
"""A descriptor: process id, thread id, number, id of the object (0 for events), comm."""

# How the object's id is reached from file->private_data: (struct, member) after member.
ID_PATHS = {
    "prog": (("bpf_prog", "aux"), ("bpf_prog_aux", "id")),
    "map": (("bpf_map", "id"),),
    "link": (("bpf_link", "id"),),
    "btf": (("btf", "id"),),
    "event": (),
}
# struct perf_event_attr of 64 bytes: PERF_TYPE_SOFTWARE, its size, PERF_COUNT_SW_DUMMY
_DUMMY_EVENT = Struct("=IIQ").pack(1, 64, 9).ljust(64, b"\0")


def held(
    kind: str, without: Iterable[int] = (), types: KernelTypes | None = None
) -> list[bytes] | None:
    """Descriptors of all tasks that are objects of a kind, as blocks of :data:`HELD`.

    :param without: descriptors of this process that do not count.
    :param kind: prog, map, link, btf, or ``event``: perf events and links, those that
        ``BPF_TASK_FD_QUERY`` may know.
    :return: None where the kernel has no such iterator or does not let us use it. In the
        order of thread ids. Threads that share the descriptors of their process are left
        out; the comm is that of the process. Descriptors that this module needs itself
        are left out as well.
    """
    if not can_iterate() or (types := types or kernel_types()) is None:
        return None
    own = Descriptors()
    try:
        return Search(types, kind, own).blocks(without)
    except Refused:
        return None
    finally:
        own.close()


class Search(Programs):
    """One search: loads the programs, learns what descriptors of the kind look like, looks."""

    def __init__(self, types: KernelTypes, kind: str, own: Descriptors) -> None:
        super().__init__(types, "bpf_iter_task_file", 4, own)
        self._kind = kind
        file = types.offsets("file", "f_op", "private_data")
        release = types.offsets("file_operations", "release")
        task = types.offsets("task_struct", "tgid", "pid", "group_leader", "comm")
        path = [types.offsets(struct, member) for struct, member in ID_PATHS[kind]]
        if file is None or release is None or task is None or None in path:
            raise Refused
        self._file, self._release, self._task = file, release[0], task
        self._path = [offsets[0] for offsets in path if offsets is not None]

    def blocks(self, without: Iterable[int]) -> list[bytes]:
        """The blocks of :func:`held`."""
        found = self.printed(self.pick(self.releases()))
        own = frozenset((*self._own.numbers, *without))
        return [_without(block, posix.getpid(), own) for block in found]

    def releases(self) -> list[int]:
        """The functions that release files of the kind."""
        looking = self._load(self._look_at_ours())
        ours = self._samples(looking)
        releases = dict(Struct("=QQ").iter_unpack(b"".join(self._run(looking, posix.getpid()))))
        # The link of this run itself is among the samples only if it was there before.
        wanted = [releases[fd] for fd in ours if fd in releases]
        if len(wanted) != len(ours) or not all(wanted):
            raise Refused
        return sorted(set(wanted))

    def _samples(self, prog: int) -> list[int]:
        """Descriptors of ours of the kind that is looked for."""
        own, kind = self._own, self._kind
        if kind == "prog":
            return [prog]
        if kind == "map":
            return [array_of_one(4, 0, own)]
        if kind == "btf":
            following = Buffer(8)
            if bpf(uapi.BPF_BTF_GET_NEXT_ID, following.address, 8) < 0:
                raise Refused
            return [own.keep(call(uapi.BPF_BTF_GET_FD_BY_ID, bytes(following.data[4:8])))]
        link = self._link(prog, 0)
        if kind == "link":
            return [link]
        from pybpftool.kernel.syscall import perf_event_open

        event = perf_event_open(Buffer.of(_DUMMY_EVENT), 0, -1)
        if event < 0:
            raise Refused
        return [link, own.keep(event)]

    def _look_at_ours(self) -> bytes:
        """A program that prints (number, release function) of each descriptor of our process."""
        tgid = self._task[0]
        return (
            assembled(
                (MOV, 6, 1),
                (LDX_DW, 7, 6, _TASK),
                (JEQ_K, 7, 0, "end", 0),
                (LDX_DW, 8, 6, _FILE),
                (JEQ_K, 8, 0, "end", 0),
                (LDX_W, 1, 7, tgid),
                (JNE_K, 1, 0, "end", posix.getpid()),
                *self._release_of(8, 1),
                (STX_DW, 10, 1, -8),
                (LDX_W, 1, 6, _FD),
                (STX_DW, 10, 1, -16),
                *printing(-16, 16),
            )
            + EXIT_0
        )

    def _release_of(self, file: int, into: int) -> tuple[tuple[object, ...], ...]:
        return (
            (LDX_DW, into, file, self._file[0]),
            (JEQ_K, into, 0, "end", 0),
            (LDX_DW, into, into, self._release),
        )

    def pick(self, releases: list[int], vm_file: int | None = None) -> bytes:
        """A program that prints a :data:`HELD` for each descriptor released by ``releases``.

        With ``vm_file``, a place in vm_area_struct, for each area of memory of such a file.
        """
        tgid, pid, leader, comm = self._task
        code: list[object] = [
            (MOV, 6, 1),
            (LDX_DW, 7, 6, _TASK),
            (JEQ_K, 7, 0, "end", 0),
            (LDX_DW, 8, 6, _FILE if vm_file is None else _VMA),
            (JEQ_K, 8, 0, "end", 0),
        ]
        if vm_file is not None:
            code += [(LDX_DW, 8, 8, vm_file), (JEQ_K, 8, 0, "end", 0)]
        code += self._release_of(8, 1)
        for release in releases:
            code += [(LD_IMM64, 2, release), (JEQ, 1, 2, "found")]
        code += [(JA, 0, 0, "end"), "found", (ST_W, 10, 0, -20, 0)]
        if self._path:
            code.append((LDX_DW, 3, 8, self._file[1]))
        code += [
            *followed(self._path),
            (LDX_W, 1, 7, tgid),
            (STX_W, 10, 1, -32),
            (LDX_W, 1, 7, pid),
            (STX_W, 10, 1, -28),
            (LDX_W, 1, 6, _FD) if vm_file is None else (MOV_K, 1, 0),
            (STX_W, 10, 1, -24),
            (ST_DW, 10, 0, -16, 0),
            (ST_DW, 10, 0, -8, 0),
            (LDX_DW, 3, 7, leader),
            (ADD_K, 3, 0, 0, comm),
            (MOV, 1, 10),
            (ADD_K, 1, 0, 0, -16),
            (MOV_K, 2, 0, 0, 16),
            (CALL, 0, 0, 0, PROBE_READ_KERNEL_STR),
            *printing(-32, HELD.size),
        ]
        return assembled(*code) + EXIT_0


def _without(block: bytes, pid: int, numbers: frozenset[int]) -> bytes:
    """A block of :data:`HELD` without the rows of some descriptors of a process."""
    # Such rows are few: a look at each row would cost more than all else.
    begin = HELD.pack(pid, pid, 0, 0, b"")[: 2 * 4]
    at = block.find(begin)
    while at >= 0:
        if at % HELD.size == 0 and HELD.unpack_from(block, at)[2] in numbers:
            block = block[:at] + block[at + HELD.size :]
        else:
            at += 1
        at = block.find(begin, at)
    return block
