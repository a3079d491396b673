"""Kernel functions that programs may call: those that BTF marks as kfuncs."""

from __future__ import annotations

from pybpftool.btf.load import vmlinux
from pybpftool.btf.proto import prototype
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError
from pybpftool.kernel.interface import BTF_INFO
from pybpftool.records import Record
from pybpftool.uapi.btf import DECL_TAG, FUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.kernel.interface import Kernel

_MARK = "bpf_kfunc"


class Kfunc(Record):
    """A kernel function that programs may call. Kernel: __bpf_kfunc, with BTF tags since v6.10.

    ``module`` is None for one of vmlinux; a ``prototype`` too long to be shown is empty.
    """

    name: str
    prototype: str
    module: str | None = None

    def text(self) -> str:
        """One line of C, with the module in a comment."""
        origin = f"  /* {self.module} */" if self.module else ""
        return f"{self.prototype or self.name};{origin}\n"

    def json(self) -> dict[str, Any]:
        """Name and prototype, and the module of a function that has one."""
        json: dict[str, Any] = {"name": self.name, "prototype": self.prototype or None}
        if self.module:
            json["module"] = self.module
        return json


def collect(kernel: Kernel) -> list[Kfunc]:
    """The kfuncs by name, those of vmlinux first, then the modules' if BTF may be listed.

    Raises BpfError where the kernel's BTF marks none.
    """
    base = vmlinux(kernel)
    found = _of(base, 1, None)
    if not found:
        raise BpfError(
            "this kernel's BTF marks no functions as kfuncs, as it does since Linux 6.10"
        )
    try:
        for module, data in _modules(kernel):
            found += _of(Btf.from_bytes(data, base), base.count, module)
    except BpfError:  # listing needs a capability that vmlinux does not
        pass
    return found


def _of(btf: Btf, start: int, module: str | None) -> list[Kfunc]:
    found = {}
    for type_id in range(start, btf.count):
        type = btf.type(type_id)
        if type.kind == DECL_TAG and type.name == _MARK:
            function = btf.type(type.size_or_type)
            if function.kind == FUNC:
                text = prototype(btf, type.size_or_type, has_tags=True)
                # bpftool's signatures leave it out; a compiler takes this line as a declaration.
                found[function.name] = f"{text[:-1]}void)" if text.endswith("()") else text
    return [Kfunc(name, found[name], module) for name in sorted(found)]


def _modules(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    """The BTF of the kernel's modules, with their names."""
    for obj in kernel.objects("btf"):
        if BTF_INFO.decode(obj.info, kernel.byteorder)["kernel_btf"]:
            name = kernel.btf_name(obj.id)
            if name != "vmlinux":
                yield name, kernel.btf_data(obj.id)
