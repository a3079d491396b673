"""Metadata of programs: the ``bpf_metadata_*`` variables of their .rodata sections."""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import MAP_INFO
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import Kernel

PREFIX = "bpf_metadata_"

_MAP_TYPE_ARRAY = 2
_BTF_KIND_DATASEC = 15


class Variable(Record):
    """A variable: its ``name`` without the prefix, and where its value stands in ``data``."""

    name: str
    btf: Btf
    type_id: int
    data: bytes
    offset: int

    def text(self) -> str:
        """The value as text; raises BpfError where the BTF is damaged."""
        from pybpftool.btf import values

        try:
            return values.text(self.btf, self.type_id, self.data, self.offset)
        except values.BadValue as bad:
            return bad.text  # upstream's mark for the part that has no text form

    def json(self) -> object:
        """The value for JSON; raises BpfError where the BTF is damaged."""
        from pybpftool.btf.builders import python_value

        return python_value(self.btf, self.type_id, self.data, self.offset)


def texts(variables: Iterable[Variable]) -> Iterator[tuple[str, str]]:
    """Names and values as text, up to the first one that cannot be read."""
    for variable in variables:
        try:
            yield variable.name, variable.text()
        except BpfError:
            return


def values(variables: Iterable[Variable]) -> dict[str, object]:
    """Values for JSON by name, up to the first one that cannot be read."""
    found: dict[str, object] = {}
    for variable in variables:
        try:
            found[variable.name] = variable.json()
        except BpfError:
            break
    return found


class MetadataReader:
    """Reads variables of one kernel; keeps which maps can hold them. ``btf`` reads BTF by id."""

    __slots__ = ("_btf", "_kernel", "_maps")

    def __init__(self, kernel: Kernel, btf: Callable[[int], Btf]) -> None:
        self._kernel = kernel
        self._btf = btf
        self._maps: dict[int, dict[str, Any] | None] = {}

    def read(self, map_ids: Iterable[int]) -> Sequence[Variable]:
        """The variables of a program that uses these maps."""
        variables: list[Variable] = []
        found = self._map(map_ids)
        if found is None:
            return variables
        info, value = found
        section = info["btf_value_type_id"]
        try:
            btf = self._btf(info["btf_id"])
            if btf.kind(section) != _BTF_KIND_DATASEC:
                return variables
            for var, offset, _ in btf.secinfos(section):
                name = btf.name(var)
                if name.startswith(PREFIX):
                    type_id = btf.type(var).size_or_type
                    variables.append(Variable(name[len(PREFIX) :], btf, type_id, value, offset))
        except BpfError:
            pass  # damaged BTF: what could be read is shown
        return variables

    def _map(self, map_ids: Iterable[int]) -> tuple[dict[str, Any], bytes] | None:
        """The program's first map that can hold metadata, and its only value."""
        for id in map_ids:
            try:
                info = self._rodata_info(id)
                if info is None:
                    continue
                obj = self._kernel.open("map", id)
                try:
                    return info, self._kernel.map_value(obj, bytes(4))
                finally:
                    self._kernel.close(obj)
            except KernelError:
                return None
        return None

    def _rodata_info(self, id: int) -> dict[str, Any] | None:
        """The info of map ``id`` if it is a .rodata section with BTF, else None."""
        if id in self._maps:
            return self._maps[id]
        obj = self._kernel.open("map", id)
        self._kernel.close(obj)
        info: dict[str, Any] | None = MAP_INFO.decode(obj.info, self._kernel.byteorder)
        if info is None or not (
            info["type"] == _MAP_TYPE_ARRAY
            and info["key_size"] == 4
            and info["max_entries"] == 1
            and info["btf_value_type_id"]
            and b".rodata" in info["name"]
        ):
            info = None
        self._maps[id] = info
        return info
