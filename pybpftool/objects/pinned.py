"""What is pinned in a bpf file system, as an object of the kind that is asked for."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel


def open_pinned(kernel: Kernel, kind: str, path: str) -> BpfObject:
    """Open the program, map or link at ``path``, which the caller closes.

    ``kind`` is one of :data:`pybpftool.kernel.interface.KINDS`. Raises BpfError where there is
    something of another kind.
    """
    obj = kernel.open_pinned(path)
    if obj.kind != kind:
        kernel.close(obj)
        wanted = "program" if kind == "prog" else kind
        raise BpfError(f"'{path}' is a {obj.kind}, not a {wanted}")
    return obj
