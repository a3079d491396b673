"""Processes that have BPF maps in their memory, which keeps maps without a descriptor.

mmap(2) of a map (arenas, ring buffers, arrays with BPF_F_MMAPABLE) holds its file; the descriptor
may be closed then. Which map it is only a program on the iterator ``task_vma`` sees (v5.13);
``/proc/PID/maps`` tells that there is one.
"""

from __future__ import annotations

from pybpftool.kernel.holders import can_iterate
from pybpftool.kernel.own_programs import Descriptors, Programs, Refused, kernel_types
from pybpftool.kernel.task_iter import HELD, Search

_NAME = b" anon_inode:bpf-map\n"  # bpf_map_new_fd() in kernel/bpf/syscall.c


def find_mapped(use_iterators: bool = True) -> list[tuple[int, int, str]]:
    """(map id, pid, comm), once each, in the order of pids; id 0 where nothing tells which."""
    found = _by_iterator() if use_iterators else None
    return _by_proc() if found is None else found


def _by_iterator() -> list[tuple[int, int, str]] | None:
    if not can_iterate():
        return None
    types = kernel_types()
    offsets = types and types.offsets("vm_area_struct", "vm_file")
    if not types or not offsets:
        return None
    own = Descriptors()
    try:
        search = Search(types, "map", own)
        areas = Programs(types, "bpf_iter_task_vma", 3, own)
        blocks = areas.printed(search.pick(search.releases(), offsets[0]))
    except Refused:
        return None
    finally:
        own.close()
    rows = HELD.iter_unpack(b"".join(blocks))
    found = {
        (id, pid, comm.partition(b"\0")[0].decode("utf-8", "surrogateescape"))
        for pid, _, _, id, comm in rows
    }
    return sorted(found, key=lambda row: (row[1], row[0]))


def _by_proc() -> list[tuple[int, int, str]]:
    from pybpftool.kernel.tasks import comm_of, processes

    found = []
    for pid in processes():
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                is_there = any(line.endswith(_NAME) for line in file)
        except OSError:
            continue
        if is_there:
            found.append((0, pid, comm_of(f"/proc/{pid}")))
    return found
