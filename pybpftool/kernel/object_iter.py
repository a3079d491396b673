"""The ids of all programs, maps and links, as the kernel's own iterators walk over them.

Kernel: kernel/bpf/prog_iter.c, map_iter.c (v5.9, v5.8), link_iter.c (v5.19). What hides an
object from bpf(2) or /proc has to hide it here as well.
"""

from __future__ import annotations

import sys
from errno import EOPNOTSUPP

from pybpftool.errors import KernelError
from pybpftool.kernel.task_iter import ID_PATHS, Descriptors, Programs, Refused, copied_types
from pybpftool.kernel.typefind import mapped

_FDINFO = {"prog": b"prog_type:", "map": b"map_type:", "link": b"link_type:"}


def iterated(kind: str) -> list[int]:
    """The ids of all objects of a kind, without those that the walk itself is made of.

    Raises KernelError where the kernel has no such iterator, or does not let us use it.
    """
    types = (mapped() or copied_types()) if sys.byteorder == "little" else None
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
        found = Programs(types, f"bpf_iter_bpf_{kind}", 2, own).ids(path)
        return sorted(set(found) - _ids(own, kind))
    except (Refused, OSError):
        raise KernelError(f"no iterator walks over {kind}s here", EOPNOTSUPP) from None
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
