"""Maps of the running kernel that a program changes: the library's way to :mod:`control`."""

from __future__ import annotations

from errno import ENOENT

from pybpftool.control.elements import BPF_ANY, MapWriter, open_writable
from pybpftool.errors import KernelError
from pybpftool.objects.open_map import OpenMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.kernel.interface import BpfObject, Kernel


class WritableMap(OpenMap):
    """An open map whose elements can be set, deleted and taken out.

    >>> with WritableMap.by_id(17, LiveKernel()) as limits:
    ...     limits[{"pid": 4711}] = {"rate": 10}
    ...     del limits[{"pid": 12}]
    """

    __slots__ = ("_elements",)

    def __init__(self, kernel: Kernel, obj: BpfObject) -> None:
        self._elements = MapWriter(kernel, obj)
        super().__init__(kernel, obj)

    @property
    def _writer(self) -> MapWriter:
        """What changes the open map, by a descriptor that is another's when the map is closed."""
        _ = self.raw.obj
        return self._elements

    @classmethod
    def by_id(cls, id: int, kernel: Kernel) -> WritableMap:
        """Open the map with this id for writing."""
        return cls._owning(kernel, open_writable(kernel, id))

    def __setitem__(self, key: object, value: object) -> None:
        """Set the value at ``key``, on all CPUs."""
        self.update(key, value)

    def update(self, key: object, value: object, flags: int = BPF_ANY) -> None:
        """Set the value at ``key``; ``flags`` (BPF_NOEXIST, BPF_EXIST) can insist on a new one."""
        self._writer.update(
            None if key is None else self._raw_key(key), self.encode_value(value), flags
        )

    def __delitem__(self, key: object) -> None:
        """Delete the element at ``key``; KeyError where there is none."""
        try:
            self._writer.delete(self._raw_key(key))
        except KernelError as error:
            if error.errno == ENOENT:
                raise KeyError(key) from None
            raise

    def push(self, value: object) -> None:
        """Put a value into a queue or stack."""
        self.update(None, value)

    def pop(self) -> Any:
        """Take the next value out of a queue or stack; IndexError where it is empty."""
        try:
            return self._decode(self._writer.pop())
        except KernelError as error:
            if error.errno == ENOENT:
                raise IndexError(f"map {self.info.id} is empty") from None
            raise

    def freeze(self) -> None:
        """Forbid all changes from user space, for good."""
        self._writer.freeze()
