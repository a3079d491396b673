"""Taking kernel interfaces that BPF programs implement out of use again."""

from __future__ import annotations

from errno import EOPNOTSUPP

from pybpftool.control.elements import MapWriter
from pybpftool.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel

_KEY = bytes(4)  # that of the only element


def unregister(kernel: Kernel, map: BpfObject) -> None:
    """Unregister what a map of struct_ops, open for writing, has registered.

    Kernel: bpf_struct_ops_map_delete_elem(), v5.6; a map that is attached by a link
    (BPF_F_LINK, v6.4) is refused.
    """
    try:
        MapWriter(kernel, map).delete(_KEY)
    except KernelError as error:
        if error.errno == EOPNOTSUPP:
            raise KernelError("it is attached by a link; detach that", error.errno) from None
        raise
