"""Records of one host: what the kernel says of an object, and what it leads to, read on demand."""

from __future__ import annotations

from collections.abc import Mapping

from pybpftool.objects.link import Link
from pybpftool.objects.prog import Program
from pybpftool.records import readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from pybpftool.btf.python import Type
    from pybpftool.btf.types import Types
    from pybpftool.cfg.listing import Listing
    from pybpftool.host import Host
    from pybpftool.insn.instruction import Instructions
    from pybpftool.jit.instruction import MachineCode
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.btf import BtfObject
    from pybpftool.objects.map import Map
    from pybpftool.objects.open_map import Forms, OpenMap

    T = TypeVar("T")

_MOST_OPEN = 8  # maps that records of one host keep open: programs may have few descriptors


def plain(value: object) -> Any:
    """JSON data as ``-j`` writes it, read back: dict, list, str, int, float, bool, None."""
    import json

    from pybpftool.output.jsontext import compact

    return json.loads(compact(value))


def fields_of(kind: str) -> set[str]:
    """The words by which such objects can be filtered; those of links' targets are left out."""
    if kind == "prog":
        found = readable(HostProgram) | {"type", "pin"}
    elif kind == "link":
        found = readable(HostLink) | {"pin"}
    elif kind == "map":
        from pybpftool.objects.map import Map

        found = readable(Map) | {"users", "hash", "type", "pin"}
    else:
        from pybpftool.objects.btf import BtfObject

        found = readable(BtfObject)
    return found | {"pid", "comm"}


class _Pieces:
    """Takes pieces of text as an output does."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.write = self._pieces.append

    def __str__(self) -> str:
        return "".join(self._pieces)


class HostProgram(Program):
    """A program of a host: its record, its maps and its code.

    Equal to any record of the same program that says the same. The code is read when it is
    first asked for, and kept.
    """

    host: Host

    def __hash__(self) -> int:
        return hash(self.id)  # fields may be lists

    def __str__(self) -> str:
        return self.text().rstrip("\n")

    def as_json(self) -> Any:
        """What ``-j prog show`` has of it."""
        return plain(self.json())

    @property
    def maps(self) -> list[HostMap]:
        """The maps that it uses; those that are gone are left out."""
        return self.host.maps_by_ids(self.map_ids)

    @property
    def links(self) -> list[HostLink]:
        """The links that hold it at its targets."""
        return self.host.links(prog_id=self.id)

    @property
    def xlated(self) -> Instructions:
        """The instructions as the verifier left them; BpfError where they are withheld."""
        from pybpftool.insn.instruction import Instructions

        return self._kept("xlated", lambda obj: Instructions(self.host.code.xlated(obj)))

    @property
    def jited(self) -> MachineCode:
        """The machine code; BpfError where it is withheld."""
        from pybpftool.jit.instruction import MachineCode

        return self._kept("jited", lambda obj: MachineCode(self.host.code.jited(obj)))

    @property
    def calls(self) -> frozenset[str] | None:
        """The helpers and kfuncs that it calls, by name; None where the kernel hides them."""

        def read(obj: BpfObject) -> frozenset[str] | None:
            found = self.host.portable.calls(obj)
            return None if found is None else frozenset(found)

        return self._kept("calls", read)

    def cfg(self) -> Graph:
        """The control-flow graph of the instructions."""
        from pybpftool.cfg.listing import Listing

        def read(obj: BpfObject) -> Graph:
            code = self.host.code.xlated(obj)
            return Graph(Listing(code, self.host.code.jump_tables(obj, code)))

        return self._kept("cfg", read)

    def _kept(self, name: str, read: Callable[[BpfObject], T]) -> T:
        kept = self.__dict__.setdefault("kept", {})
        if name not in kept:
            kernel = self.host.kernel
            obj = kernel.open("prog", self.id)
            try:
                kept[name] = read(obj)
            finally:
                kernel.close(obj)
        found: T = kept[name]
        return found


class HostLink(Link):
    """A link of a host: its record and its program."""

    host: Host

    def __hash__(self) -> int:
        return hash(self.id)  # fields may be lists

    def __str__(self) -> str:
        return self.text().rstrip("\n")

    def as_json(self) -> Any:
        """What ``-j link show`` has of it."""
        return plain(self.json())

    @property
    def prog(self) -> HostProgram | None:
        """The program; None for a link without one, or when it is gone."""
        if not self.prog_id:
            return None
        try:
            return self.host.program(id=self.prog_id)
        except LookupError:
            return None


class Graph:
    """A program's control-flow graph. Printed, it is text for Graphviz.

    ``cfg`` has functions with blocks, edges and loops, by slots of the program; ``names``
    are the names of the functions.
    """

    __slots__ = ("_listing",)

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    @property
    def cfg(self) -> Any:
        """The graph: see :class:`pybpftool.cfg.graph.Cfg`."""
        return self._listing.cfg

    @property
    def names(self) -> list[str]:
        """The names of the functions, in the order of ``cfg.functions``."""
        return self._listing.names

    def dot(self) -> str:
        """What ``prog dump xlated PROG visual`` prints."""
        from pybpftool.cfg.dot import write_dot

        parts: list[str] = []
        write_dot(parts.append, self._listing)
        return "".join(parts)

    def as_json(self) -> Any:
        """What ``prog dump xlated PROG visual json`` prints."""
        import json

        from pybpftool.cfg.record import write_json
        from pybpftool.output.jsontext import JsonStream

        pieces = _Pieces()
        write_json(JsonStream(pieces), self._listing)  # type: ignore[arg-type]  # it only writes
        return json.loads(str(pieces))

    def __str__(self) -> str:
        return self.dot()

    def __repr__(self) -> str:
        return f"<Graph of {len(self.cfg.functions)} functions>"


class _Window:
    """What a host's map and BTF object have in common: every field of the record is theirs."""

    __slots__ = ("host", "info")

    def __init__(self, host: Host, info: Any) -> None:
        self.host = host
        self.info = info
        """The record."""

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        return getattr(self.info, name)

    def __str__(self) -> str:
        return str(self.info.text()).rstrip("\n")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.info == other.info and self.host is other.host

    def __hash__(self) -> int:
        return hash(self.info.id)

    def __bool__(self) -> bool:
        return True  # one without elements or types is one as well, and counting them is work

    def as_json(self) -> Any:
        """What ``-j … show`` has of it."""
        return plain(self.info.json())


class HostMap(_Window, Mapping["Any", "Any"]):
    """A map of a host: ``flows[{"saddr": 1}]``, ``flows.items()``, ``len(flows)``.

    Keys and values are Python values by the map's BTF, as of
    :class:`pybpftool.OpenMap`; ``raw`` is the same in bytes. What the kernel says of the map
    is in :attr:`info`, and every field of it is an attribute here: ``flows.max_entries``. The
    map is opened when an element is asked for; a host keeps the few open that were looked at
    last, until :meth:`close`, the end of ``with`` or the object's own. What is being read stays
    open until it is read.
    """

    __slots__ = ("_forms",)

    info: Map

    def __init__(self, host: Host, info: Map) -> None:
        self._forms: Forms | None = None
        super().__init__(host, info)

    def __repr__(self) -> str:
        info = self.info
        return f"<HostMap {info.id} {info.type_name or info.type} {info.name!r}>"

    @property
    def opened(self) -> OpenMap:
        """The open map; it stays open as long as somebody refers to it, or until ``close()``."""
        kept = self.host.open_maps
        map = kept.pop(id(self), None)
        if map is None:
            from pybpftool.objects.open_map import OpenMap

            # One that is in use, as by an iteration, closes when that ends.
            while len(kept) >= _MOST_OPEN:
                del kept[next(iter(kept))]
            map = OpenMap.again(self.info.id, self.host.kernel, self._forms)
            self._forms = map.forms
        kept[id(self)] = map  # as the last that was looked at
        return map

    @property
    def raw(self) -> Any:
        """The elements as bytes."""
        return self.opened.raw

    def close(self) -> None:
        """Give the map back; another look at its elements opens it again."""
        map = self.host.open_maps.pop(id(self), None)
        if map is not None:
            map.close()

    def __del__(self) -> None:
        self.host.open_maps.pop(id(self), None)

    def __enter__(self) -> HostMap:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getitem__(self, key: object) -> Any:
        """The value at ``key``; KeyError where there is none."""
        return self.opened[key]

    def __contains__(self, key: object) -> bool:
        return key in self.opened

    def __iter__(self) -> Iterator[Any]:
        return iter(self.opened)

    def __len__(self) -> int:
        """How many elements there are; all keys are read to count them."""
        return len(self.opened)

    def items(self) -> Any:
        """All (key, value) pairs, read in batches."""
        return self.opened.items()

    def values(self) -> Any:
        """All values, read in batches."""
        return self.opened.values()

    @property
    def hash(self) -> str | None:
        """The kernel's own SHA-256 of the values of a frozen array, in hexadecimal.

        None for other maps, and where the kernel tells none (it does since 6.18).
        """
        from pybpftool.errors import KernelError
        from pybpftool.objects.map import has_hash

        if not has_hash(self.info):
            return None
        kernel = self.host.kernel
        obj = kernel.open("map", self.info.id)
        try:
            return kernel.map_hash(obj).hex()
        except KernelError:
            return None
        finally:
            kernel.close(obj)

    @property
    def users(self) -> list[HostProgram]:
        """The programs that use it."""
        return self.host.programs(map_ids=self.info.id)


class HostBtf(_Window):
    """A BTF object of a host: ``btf["task_struct"].members["pid"].offset``.

    What the kernel says of the object is in :attr:`info`, and every field of it is an
    attribute here. The types are read when one is first asked for.
    """

    __slots__ = ("_types",)

    info: BtfObject

    def __init__(self, host: Host, info: BtfObject) -> None:
        self._types: Types | None = None
        super().__init__(host, info)

    def __repr__(self) -> str:
        return f"<HostBtf {self.info.id} {self.info.name!r}>"

    @property
    def types(self) -> Types:
        """All types, with ``find`` and ``select("tcp_*", kind="struct")``."""
        if self._types is None:
            from pybpftool.btf.load import vmlinux
            from pybpftool.btf.types import Types
            from pybpftool.objects.btf import load

            kernel = self.host.kernel
            if self.info.id:
                table = load(kernel, self.info.id)
            else:
                table = vmlinux(kernel)
            self._types = Types(table)
        return self._types

    def __getitem__(self, name: str | int) -> Type:
        """The type of a name (``"task_struct"``, ``"struct sock"``) or an id."""
        return self.types[name]

    def __contains__(self, name: str) -> bool:
        return name in self.types

    def __iter__(self) -> Iterator[Type]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)

    def c(self) -> str:
        """All types as C, what ``btf dump id ID format c`` prints."""
        from pybpftool.btf.c.dump import blocks

        return "".join(blocks(self.types.btf, [], True))
