"""Metadata of programs: the ``bpf_metadata_*`` variables of their .rodata sections."""

from __future__ import annotations

from pybpftool.errors import BpfError
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
    """Reads variables of one kernel; keeps which maps can hold them."""

    __slots__ = ("_kernel", "_maps", "_with_metadata")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._maps: dict[int, dict[str, Any] | None] = {}
        self._with_metadata: dict[int, bool] = {}

    def read(self, map_ids: Iterable[int], btf_of: Callable[[int], Btf]) -> Sequence[Variable]:
        """The variables of a program that uses these maps; ``btf_of`` reads BTF by its id.

        That is a method of our owner, which we would keep alive for good.
        """
        variables: list[Variable] = []
        try:
            id, info = self._rodata_map(map_ids)
            if info is None or not self._has_metadata(info["btf_id"]):
                return variables
            obj = self._kernel.open("map", id)
            try:
                value = self._kernel.map_value(obj, bytes(4))
            finally:
                self._kernel.close(obj)
            section = info["btf_value_type_id"]
            btf = btf_of(info["btf_id"])
            if btf.kind(section) != _BTF_KIND_DATASEC:
                return variables
            for var, offset, _ in btf.secinfos(section):
                name = btf.name(var)
                if name.startswith(PREFIX):
                    type_id = btf.type(var).size_or_type
                    variables.append(Variable(name[len(PREFIX) :], btf, type_id, value, offset))
        except BpfError:
            pass  # a map that is gone, or damaged BTF: what could be read is shown
        return variables

    def _has_metadata(self, btf_id: int) -> bool:
        """Whether names of variables can be in a BTF object; most are not worth a closer look."""
        known = self._with_metadata.get(btf_id)
        if known is None:
            known = PREFIX.encode() in self._kernel.btf_data(btf_id)
            self._with_metadata[btf_id] = known
        return known

    def _rodata_map(self, map_ids: Iterable[int]) -> tuple[int, dict[str, Any] | None]:
        """The id and info of a program's first map that can hold metadata."""
        for id in map_ids:
            info = self._rodata_info(id)
            if info is not None:
                return id, info
        return 0, None

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
