"""What libbpf is to open in place of an object file; most files are opened as they are.

Only what shows that is here: the rest (:mod:`struct_ops_copy`) takes longer to load than a small
object.
"""

from __future__ import annotations

from pybpftool.elf.relocatable import read_file
from pybpftool.elf.struct_ops import SECTION
from pybpftool.errors import BpfError, FormatError
from pybpftool.uapi.btf import STRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.btf.load import BtfSource
    from pybpftool.elf.struct_ops import Copy


def for_file(path: str, kernel: BtfSource, version: Callable[[], tuple[int, ...]]) -> Copy | None:
    """A copy of an object file that libbpf of this version takes; None where there is no need.

    None as well where the file is not one to be copied: what loads it says why not. The version
    is asked for if the file has maps of struct_ops.
    """
    try:
        data = read_file(path)
    except BpfError:
        return None
    if SECTION.encode() not in data or not kernel.is_live:
        return None
    from pybpftool.gen.struct_ops_copy import for_libbpf

    try:
        return for_libbpf(data, version(), kernel_members(kernel))
    except FormatError:
        return None


def kernel_members(kernel: BtfSource) -> Callable[[str], set[str] | None]:
    """What tells the members of a struct of this kernel by the struct's name."""

    def members_of(name: str) -> set[str] | None:
        from pybpftool.btf.load import vmlinux
        from pybpftool.btf.search import first

        try:
            btf = vmlinux(kernel)
        except BpfError:
            return None
        type_id = first(btf, name, STRUCT)  # two names of 70,000: no index of them all
        return None if type_id is None else {one.name for one in btf.members(type_id)}

    return members_of
