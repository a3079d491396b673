"""Maps of struct_ops: kernel interfaces that BPF programs implement, such as a congestion control.

Kernel: kernel/bpf/bpf_struct_ops.c, v5.6. Such a map has one element, a struct of the kernel's
own (or of a module's) BTF, in which ids of programs stand for functions.
"""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError, FormatError, KernelError
from pybpftool.objects.map import kernel_btf_name, read, value_types
from pybpftool.records import Record
from pybpftool.uapi.bpf import MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.map import Map

VMLINUX = "/sys/kernel/btf/vmlinux"

_TYPE = MAP_TYPES.index("struct_ops")
_PREFIX = "bpf_struct_ops_"
_INFO_STRUCT = "bpf_map_info"
_BTF_KIND_STRUCT, _BTF_KIND_FUNC = 4, 12


class StructOps(Record):
    """One map of struct_ops; ``kernel_struct_ops`` is the interface that it implements."""

    id: int
    name: str
    kernel_struct_ops: str

    def text(self) -> str:
        """The line of a listing."""
        return f"{self.id}: {self.name:<15} {self.kernel_struct_ops:<32}\n"

    def json(self) -> dict[str, Any]:
        """The JSON object of a listing."""
        return self._asdict()


def require_types(kernel: Kernel) -> None:
    """Refuse a kernel without types of its own, of which these maps consist."""
    if not kernel.has_file(VMLINUX):
        raise BpfError("this kernel tells no types (CONFIG_DEBUG_INFO_BTF), which struct_ops needs")


def maps(kernel: Kernel, name: str | None = None) -> Iterator[BpfObject]:
    """All maps of struct_ops (with this name), each open until the next is asked for."""
    raw = None
    if name is not None:
        raw = name.encode("utf-8", "surrogateescape")
    for obj in kernel.objects("map"):
        if is_struct_ops(kernel, obj) and (raw is None or obj.info[24:40].split(b"\0")[0] == raw):
            yield obj


def is_struct_ops(kernel: Kernel, obj: BpfObject) -> bool:
    """Whether an open map is one of struct_ops."""
    type: int = struct.unpack_from(f"{kernel.byteorder}I", obj.info)[0]
    return type == _TYPE


def collect(kernel: Kernel, name: str | None = None) -> Iterator[StructOps]:
    """The records of :func:`maps`."""
    reader = StructOpsReader(kernel)
    for obj in maps(kernel, name):
        yield reader.read(obj)


class StructOpsReader:
    """Reads the maps of struct_ops of one kernel; its types are opened once."""

    __slots__ = ("_kernel", "_names", "_types")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._names: dict[tuple[int, int], str] = {}
        self._types: dict[int, Btf] = {}

    def read(self, obj: BpfObject) -> StructOps:
        """The record of an open map."""
        map = read(self._kernel, obj, with_fdinfo=False)
        key = map.btf_vmlinux_id, map.btf_vmlinux_value_type_id
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._struct(map)[len(_PREFIX) :]
        return StructOps(map.id, map.name, name)

    def _struct(self, map: Map) -> str:
        """The name of the kernel's struct that the map holds."""
        id = map.btf_vmlinux_id
        if not id or kernel_btf_name(self._kernel, id) == "vmlinux":
            # Looking for the one struct that it can be takes a tenth of the time that counting
            # types up to its id does. Of its members there are two since Linux 6.9
            # (612d087d4ba5), three before.
            for count in (2, 3):
                found = self._kernel.structs_of(map.value_size, _PREFIX, count)
                if len(found) == 1:
                    return found[0]
                if found:
                    break
        return self.types(map).name(map.btf_vmlinux_value_type_id)

    def types(self, map: Map) -> Btf:
        """The types of the kernel, or of the module whose interface the map implements."""
        btf = self._types.get(map.btf_vmlinux_id)
        if btf is None:
            types = value_types(self._kernel, map)
            if types is None:
                raise FormatError(f"map {map.id} of struct_ops has no type")
            btf = self._types[map.btf_vmlinux_id] = types.btf
        return btf


_STATES = ("init", "in use", "to be freed", "ready")  # enum bpf_struct_ops_state
_BTF_KIND_PTR, _BTF_KIND_FUNC_PROTO = 2, 13
_QDISC = "Qdisc_ops"  # the interface of queueing disciplines, v6.16


class Implementation(Record):
    """What a map of struct_ops implements: the member of each program, and its state.

    ``name`` is what a queueing discipline is called, empty for other interfaces.
    """

    interface: str
    state: str
    programs: tuple[tuple[str, int], ...]
    name: str = ""


def implementation(reader: StructOpsReader, kernel: Kernel, obj: BpfObject) -> Implementation:
    """The programs of an open map. Raises BpfError where its value cannot be read."""
    map = read(kernel, obj, with_fdinfo=False)
    btf = reader.types(map)
    order: Any = "little" if kernel.byteorder == "<" else "big"
    value = kernel.lookup(obj, bytes(4))  # its only key
    outer = {member.name: member for member in btf.members(map.btf_vmlinux_value_type_id)}
    # struct bpf_struct_ops_common { refcnt, state } and the interface; before v6.9
    # (612d087d4ba5) the two stood in the struct itself.
    data = outer.get("data")
    inner = None if data is None else btf.resolve(data.type_id)
    if data is None or inner is None:
        raise FormatError(f"the type of struct_ops map {map.id} has no interface")
    programs = []
    start, size = data.bit_offset // 8, btf.pointer_size
    name, interface = b"", btf.name(inner)
    for member in btf.members(inner):
        # char id[IFNAMSIZ]: include/net/sch_generic.h
        if interface == _QDISC and member.name == "id":
            at = start + member.bit_offset // 8
            name = value[at : at + 16].partition(b"\0")[0]
        type_id = btf.resolve(member.type_id)
        if type_id is None or btf.kind(type_id) != _BTF_KIND_PTR:
            continue
        target = btf.resolve(btf.type(type_id).size_or_type)
        if target is None or btf.kind(target) != _BTF_KIND_FUNC_PROTO:
            continue
        at = start + member.bit_offset // 8
        id = int.from_bytes(value[at : at + size], order)
        if id:
            programs.append((member.name, id))
    common = outer.get("common")
    at = common.bit_offset // 8 + 4 if common is not None else 4
    state = int.from_bytes(value[at : at + 4], order)
    word = _STATES[state] if state < len(_STATES) else str(state)
    told = name.decode("utf-8", "surrogateescape")
    return Implementation(interface, word, tuple(programs), told)


class Dump:
    """Writes maps of struct_ops as values of their types, in upstream's layouts.

    As JSON if ``is_json``, which is ``pretty`` or compact; the text of upstream is pretty.
    ``depth`` is how deep the values stand.
    """

    __slots__ = ("_info_structs", "_is_json", "_kernel", "_layout", "_reader")

    def __init__(self, kernel: Kernel, is_json: bool, pretty: bool, depth: int) -> None:
        self._kernel = kernel
        self._reader = StructOpsReader(kernel)
        self._info_structs: dict[Btf, int | None] = {}
        self._is_json = is_json
        self._layout = (depth, pretty)

    def parts(self, obj: BpfObject) -> list[tuple[str, str]]:
        """What the kernel says of an open map, and what it holds: (name, text of the value) each.

        Raises BpfError where the value cannot be read.
        """
        map = read(self._kernel, obj, with_fdinfo=False)
        btf = self._reader.types(map)
        try:
            value = self._kernel.lookup(obj, bytes(4))  # its only key
        except KernelError as error:
            raise KernelError.of(
                f"cannot read the struct_ops map {map.name} (id {map.id})", error.errno
            ) from None
        info = self._info_struct(btf)
        if info is None:
            raise FormatError(f"the kernel's types have no struct {_INFO_STRUCT}")
        # A kernel whose struct is longer than what it filled: the rest is zero.
        told = obj.info.ljust(btf.size_of(info) or 0, b"\0")
        id = map.btf_vmlinux_value_type_id
        return [
            (_INFO_STRUCT, self._value(btf, info, told)),
            (btf.name(id), self._value(btf, id, value)),
        ]

    def _info_struct(self, btf: Btf) -> int | None:
        from pybpftool.btf.search import first

        if btf not in self._info_structs:
            self._info_structs[btf] = first(btf, _INFO_STRUCT, _BTF_KIND_STRUCT)
        return self._info_structs[btf]

    def _value(self, btf: Btf, type_id: int, data: bytes) -> str:
        from pybpftool.btf import values

        compile = values.compile_json if self._is_json else values.compile_text
        depth, pretty = self._layout
        try:
            return compile(btf, type_id, depth, pretty, self._program)(data, 0)
        except values.BadValue as error:  # upstream writes what it could, and goes on
            return error.text

    def _program(self, id: int) -> str | None:
        """The name of a program's first function, None where there is none."""
        from pybpftool.btf.load import from_id
        from pybpftool.kernel.interface import PROG_INFO, unpack_u32

        kernel = self._kernel
        try:
            prog = kernel.open("prog", id)
        except BpfError:
            return None
        try:
            info = PROG_INFO.decode(prog.info, kernel.byteorder)
            if not info["btf_id"] or not info["nr_func_info"]:
                return None
            func_info = kernel.prog_arrays(prog, ("func_info",))["func_info"]
            if not func_info:
                return None
            # struct bpf_func_info: insn_off, type_id
            type_id = unpack_u32(func_info[4:8], kernel.byteorder)[0]
            btf = from_id(info["btf_id"], kernel)
            return btf.name(type_id) if btf.kind(type_id) == _BTF_KIND_FUNC else None
        except BpfError:
            return None
        finally:
            kernel.close(prog)
