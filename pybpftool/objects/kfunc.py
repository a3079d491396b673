"""Kernel functions that programs may call: those that BTF marks as kfuncs."""

from __future__ import annotations

from pybpftool.btf.load import vmlinux
from pybpftool.btf.proto import prototype
from pybpftool.errors import BpfError
from pybpftool.records import Record
from pybpftool.uapi.btf import DECL_TAG, FUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.kernel.interface import Kernel

_MARK = "bpf_kfunc"


class Kfunc(Record):
    """A kernel function that programs may call. Kernel: __bpf_kfunc, with BTF tags since v6.10."""

    name: str
    prototype: str

    def text(self) -> str:
        """One line of C."""
        return f"{self.prototype or self.name};\n"

    def json(self) -> dict[str, Any]:
        """Name and prototype."""
        return {"name": self.name, "prototype": self.prototype or None}


def collect(kernel: Kernel) -> list[Kfunc]:
    """The kfuncs of vmlinux by name. Raises BpfError where the kernel's BTF marks none."""
    btf = vmlinux(kernel)
    found = {}
    for type_id in range(1, btf.count):
        type = btf.type(type_id)
        if type.kind == DECL_TAG and type.name == _MARK:
            function = btf.type(type.size_or_type)
            if function.kind == FUNC:
                found[function.name] = prototype(btf, type.size_or_type)
    if not found:
        raise BpfError(
            "this kernel's BTF marks no functions as kfuncs, as it does since Linux 6.10"
        )
    return [Kfunc(name, found[name]) for name in sorted(found)]
