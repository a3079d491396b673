"""What a program of tracing, LSM or extension is made for: a function, by its name."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import Kernel

_TYPEDEF_PREFIX = "btf_trace_"  # how the kernel's BTF names the types of tracepoints


class AttachTargets:
    """The names of attach targets of one kernel; each BTF object is read once."""

    __slots__ = ("_kernel", "_read")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._read: dict[int, Btf | None] = {}

    def name(self, object_id: int, type_id: int) -> str | None:
        """The name of the function or tracepoint ``type_id`` of a BTF object.

        ``object_id`` 0 is the kernel's own BTF. None where it cannot be told.
        """
        btf = self._btf(object_id) if type_id else None
        if btf is None or not 0 < type_id < btf.count:
            return None
        return btf.name(type_id).removeprefix(_TYPEDEF_PREFIX) or None

    def function(self, prog_id: int, type_id: int) -> str:
        """The name of the function ``type_id`` of a program's BTF; empty where none tells it."""
        from pybpftool.kernel.interface import PROG_INFO

        kernel = self._kernel
        if not type_id:
            return ""
        try:
            prog = kernel.open("prog", prog_id)
        except BpfError:
            return ""
        btf_id = PROG_INFO.decode(prog.info, kernel.byteorder)["btf_id"]
        kernel.close(prog)
        return self.name(btf_id, type_id) or "" if btf_id else ""

    def _btf(self, object_id: int) -> Btf | None:
        from pybpftool.btf import load

        if object_id not in self._read:
            kernel = self._kernel
            try:
                if not object_id or (kernel.is_live and kernel.btf_name(object_id) == "vmlinux"):
                    self._read[object_id] = load.vmlinux(kernel)
                else:
                    self._read[object_id] = load.from_id(object_id, kernel)
            except BpfError:
                self._read[object_id] = None
        return self._read[object_id]
