"""Changing the elements of maps: update, delete, pop, freeze."""

from __future__ import annotations

import struct
from errno import E2BIG, EEXIST, ENOENT

from pybpftool.control import require_live
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.elements import MapElements
from pybpftool.kernel.syscall import bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2
"""Flags of an update: in any case, only a new key, only an existing one."""

_U32 = struct.Struct("=I")
_NO_KEY = "there is no element with this key (ENOENT)"
_REASONS = {
    ("update", E2BIG): "the map is full (E2BIG)",
    ("update", EEXIST): "there is an element with this key already (EEXIST)",
    ("update", ENOENT): _NO_KEY,
    ("delete an element of", ENOENT): _NO_KEY,
}


def open_writable(kernel: Kernel, id: int) -> BpfObject:
    """Open a map by id to change it."""
    require_live(kernel)
    return kernel.open_writable(id)


class MapWriter(MapElements):
    """The elements of one map that is open for writing."""

    __slots__ = ()

    def __init__(self, kernel: Kernel, obj: BpfObject) -> None:
        require_live(kernel)
        super().__init__(kernel, obj)

    def _error(self, what: str, errno: int) -> KernelError:
        reason = _REASONS.get((what, errno))
        if errno == E2BIG and self.traits.lists_all_slots:
            reason = f"its indexes end at {self.max_entries - 1} (E2BIG)"
        if reason is None:
            return super()._error(what, errno)
        return KernelError(f"cannot {what} map {self.id}: {reason}", errno)

    def update(self, key: bytes | None, value: bytes, flags: int = BPF_ANY) -> None:
        """Set the value at ``key``; one CPU's value is set on all CPUs."""
        if len(value) == self.one_value_size and self.traits.is_per_cpu:
            value = value.ljust(self.cpu_stride, b"\0") * self.cpus
        if len(value) != self.value_size:
            raise BpfError(
                f"a value of map {self.id} has {self.one_value_size} bytes, not {len(value)}"
            )
        self._value.data[:] = value
        result = self._elem(uapi.BPF_MAP_UPDATE_ELEM, self._checked_key(key), self._value, flags)
        if result < 0:
            raise self._error("update", -result)

    def delete(self, key: bytes | None) -> None:
        """Delete the element at ``key``."""
        result = self._elem(uapi.BPF_MAP_DELETE_ELEM, self._checked_key(key), None, 0)
        if result < 0:
            raise self._error("delete an element of", -result)

    def pop(self, key: bytes | None = None) -> bytes:
        """Remove an element and return its value (``BPF_MAP_LOOKUP_AND_DELETE_ELEM``)."""
        self._value.data[:] = bytes(self.value_size)
        result = self._elem(
            uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM, self._checked_key(key), self._value, 0
        )
        if result < 0:
            raise self._error("take an element from", -result)
        return bytes(self._value.data)

    def freeze(self) -> None:
        """Forbid all changes from user space (``BPF_MAP_FREEZE``)."""
        _U32.pack_into(self._attr.data, 0, self._fd)
        result = bpf(uapi.BPF_MAP_FREEZE, self._attr.address, 4)
        if result < 0:
            raise self._error("freeze", -result)
