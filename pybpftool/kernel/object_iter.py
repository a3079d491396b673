"""Walks of the kernel's own iterators over all programs, maps or links.

They find the ids, and what bpf(2) of an old kernel does not tell of links.

Kernel: kernel/bpf/prog_iter.c, map_iter.c (v5.9, v5.8), link_iter.c (v5.19). What hides an
object from bpf(2) or /proc has to hide it here as well.
"""

from __future__ import annotations

from errno import EOPNOTSUPP

from pybpftool.errors import KernelError
from pybpftool.kernel.own_programs import Descriptors, Programs, Refused, kernel_types
from pybpftool.kernel.task_iter import ID_PATHS
from pybpftool.uapi.bpf import BPF_LINK_TYPE_PERF_EVENT

_FDINFO = {"prog": b"prog_type:", "map": b"map_type:", "link": b"link_type:"}


def iterated(kind: str) -> list[int]:
    """The ids of all objects of a kind, without those that the walk itself is made of.

    Raises KernelError where the kernel has no such iterator, or does not let us use it.
    """
    types = kernel_types()
    own = Descriptors()
    try:
        if types is None:
            raise Refused
        path = []
        for step in ID_PATHS[kind]:
            offsets = types.offsets(*step)
            if offsets is None:
                raise Refused
            path.append(offsets[0])
        found = Programs(types, f"bpf_iter_bpf_{kind}", 2, own).numbers((path, 4))
        return sorted({id for (id,) in found} - _ids(own, kind))
    except (Refused, OSError):
        raise KernelError(f"no iterator walks over {kind}s here", EOPNOTSUPP) from None
    finally:
        own.close()


def perf_cookies() -> dict[int, int]:
    """The cookies of all perf event links, by the ids of the links.

    Their infos have them from v6.9 on (d5c16492c66f), the events themselves from v5.15
    (82e6b1eee6a8). Raises KernelError where the kernel has no such iterator, or does not let us
    use it.
    """
    types = kernel_types()
    own = Descriptors()
    try:
        if types is None:
            raise Refused
        link = types.offsets("bpf_link", "type", "id")
        perf_link = types.offsets("bpf_perf_link", "link", "perf_file")
        file = types.offsets("file", "private_data")
        event = types.offsets("perf_event", "bpf_cookie")
        if link is None or perf_link is None or file is None or event is None:
            raise Refused
        # Of other links the path leads nowhere, or to what happens to stand behind them.
        path = [perf_link[1] - perf_link[0], file[0], event[0]]
        programs = Programs(types, "bpf_iter_bpf_link", 2, own)
        found = programs.numbers(([link[0]], 4), ([link[1]], 4), (path, 8))
        return {id: cookie for type, id, cookie in found if type == BPF_LINK_TYPE_PERF_EVENT}
    except (Refused, OSError):
        raise KernelError("no iterator walks over links here", EOPNOTSUPP) from None
    finally:
        own.close()


def _ids(own: Descriptors, kind: str) -> set[int]:
    """The ids of our own objects of a kind."""
    found = set()
    for fd in own.numbers:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            text = file.read() or b""  # None: EAGAIN
        if _FDINFO[kind] in text:
            digits = text.partition(f"{kind}_id:\t".encode())[2].split(None, 1)
            if digits and digits[0].isdigit():
                found.add(int(digits[0]))
    return found
