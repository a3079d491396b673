"""The library's front door: one kernel, running or recorded, and the BPF objects in it.

>>> import pybpftool as bpf
>>> host = bpf.live()                        # or bpf.load("host.zip"): the same
>>> for prog in host.programs(type="xdp", name="cali_*"):
...     print(prog.id, prog.name, [map.name for map in prog.maps])
"""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError, NotFoundError, VanishedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    from pybpftool.hosted import HostBtf, HostLink, HostMap, HostProgram
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.cgroup import Cgroup
    from pybpftool.objects.net import Network
    from pybpftool.objects.open_map import OpenMap
    from pybpftool.objects.perf import TaskEvent
    from pybpftool.objects.portable_code import PortableReader
    from pybpftool.objects.prog_code import CodeReader

    T = TypeVar("T")

_WORDS = {"prog": "program", "map": "map", "link": "link", "btf": "BTF object"}


class Host:
    """The BPF objects of one kernel.

    Each list is asked for anew and in the order of ids. A filter is a field of the records
    and what it shall be:

    - a text is a pattern of the shell: ``name="cali_*"``,
    - a tuple, list or set has the values that fit: ``id=(3, 17)``,
    - a function is asked: ``run_cnt=lambda count: count > 1000``,
    - all else is compared; of a field with several values one has to be equal:
      ``map_ids=17``.

    Beside the fields there are ``type`` (its name), ``pin`` (a path that it is pinned at),
    ``pid`` and ``comm`` (of a process that holds it); another word is a TypeError, which names
    the nearest right one. Singular forms give the only object that fits, or raise
    NotFoundError, a LookupError, with the candidates. All raise
    :class:`pybpftool.BpfError` where the kernel refuses; objects that vanish meanwhile are
    left out.

    :param pins: fill the field ``pinned`` of records, for which bpf file systems are walked.
    :param resolve: add names that bpftool does not show, as ``--resolve``.
    """

    def __init__(self, kernel: Kernel, pins: bool = False, resolve: bool = False) -> None:
        self.kernel = kernel
        """What answers all questions."""
        self._pins = pins
        self._resolve = resolve
        self._code: CodeReader | None = None
        self._portable: PortableReader | None = None
        self.open_maps: dict[int, OpenMap] = {}
        """The maps that records keep open, by the ids of these Python objects: oldest use first."""

    def close(self) -> None:
        """Give back what is open: maps of which elements were read, the file of a recording.

        Closing twice is harmless. The running kernel answers afterwards as well; what a recording
        has read by then stays, the rest raises BpfError.
        """
        while self.open_maps:
            self.open_maps.popitem()[1].close()
        self.kernel.release_files()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "live" if self.kernel.is_live else "recorded"
        return f"<Host Linux {self.kernel.release} {self.kernel.machine}, {what}>"

    # --- programs ---

    def programs(self, **filters: Any) -> list[HostProgram]:
        """The programs that fit; see the class."""
        return self._list("prog", filters)

    def program(self, name: str | None = None, **filters: Any) -> HostProgram:
        """The only program that fits: ``host.program(id=17)``, ``host.program("drop_bogons")``."""
        found: HostProgram = self._one("prog", name, filters)
        return found

    # --- maps ---

    def maps(self, **filters: Any) -> list[HostMap]:
        """The maps that fit; see the class."""
        return self._list("map", filters)

    def map(self, name: str | None = None, **filters: Any) -> HostMap:
        """The only map that fits, as a mapping of its elements."""
        found: HostMap = self._one("map", name, filters)
        return found

    def maps_by_ids(self, ids: Iterable[int]) -> list[HostMap]:
        """The maps with these ids; those that are gone are left out."""
        objects = (obj for id in ids for obj in self._opened("map", id))
        pins = self.kernel.pinned("map") if self._pins else None
        return list(self._read("map", objects, pins))

    # --- links ---

    def links(self, **filters: Any) -> list[HostLink]:
        """The links that fit; fields of what they are attached to can be asked for as well."""
        return self._list("link", filters)

    def link(self, **filters: Any) -> HostLink:
        """The only link that fits."""
        found: HostLink = self._one("link", None, filters)
        return found

    # --- BTF ---

    def btfs(self, **filters: Any) -> list[HostBtf]:
        """The BTF objects that fit; see the class."""
        return self._list("btf", filters)

    def btf(self, name: str | None = None, **filters: Any) -> HostBtf:
        """The only BTF object that fits: ``host.btf("vmlinux")["task_struct"]``.

        The kernel's own types need no capability.
        """
        try:
            found: HostBtf = self._one("btf", name, filters)
        except BpfError:
            if name != "vmlinux" or filters:
                raise
            from pybpftool.hosted import HostBtf
            from pybpftool.objects.btf import BtfObject

            data = self.kernel.file("/sys/kernel/btf/vmlinux")
            return HostBtf(self, BtfObject(0, len(data), True, name, (), (), ()))
        return found

    # --- what has no ids ---

    def cgroups(self, effective: bool = False) -> list[Cgroup]:
        """The cgroups with programs; none where no cgroup2 hierarchy is mounted."""
        from pybpftool.objects.cgroup import collect

        return list(collect(self.kernel, effective))

    def networks(self) -> dict[str, Network]:
        """What is attached in each network namespace, by its path; our own is ``""``.

        A namespace that may not be entered is left out.
        """
        from pybpftool.objects.net import NetworkReader, namespaces

        reader = NetworkReader(self.kernel, self._resolve)
        found = {"": reader.read()}
        for namespace in namespaces(self.kernel):
            if namespace.path:
                try:
                    found[namespace.path] = reader.read(namespace.path)
                except KernelError:
                    continue
        return found

    def perf_events(self) -> list[TaskEvent]:
        """The perf events, kprobes, uprobes and tracepoints of tasks that have programs."""
        from pybpftool.objects.perf import collect

        return list(collect(self.kernel, self._resolve))

    # --- code, for records ---

    @property
    def code(self) -> CodeReader:
        """Reads instructions and machine code; the kernel's symbols are read once."""
        if self._code is None:
            from pybpftool.objects.prog import ProgramReader
            from pybpftool.objects.prog_code import CodeReader

            self._code = CodeReader(self.kernel, ProgramReader(self.kernel))
        return self._code

    @property
    def portable(self) -> PortableReader:
        """Reads instructions without what differs from load to load."""
        if self._portable is None:
            from pybpftool.objects.portable_code import PortableReader
            from pybpftool.objects.prog import ProgramReader

            reader = ProgramReader(self.kernel)
            self._portable = PortableReader(self.kernel, reader, self.code.symbols)
        return self._portable

    # --- finding ---

    def _list(self, kind: str, filters: dict[str, Any]) -> list[Any]:
        _check_names(kind, filters)
        rest = dict(filters)
        id, pin = rest.get("id"), rest.pop("pin", None)
        objects: Iterator[BpfObject] | None = None
        if type(id) is int:
            del rest["id"]
            objects = self._opened(kind, id)
        pins = self.kernel.pinned(kind) if self._pins or pin is not None else {}
        found = []
        wants_holders = "pid" in rest or "comm" in rest
        for record in self._read(kind, objects, pins if self._pins else None, wants_holders):
            if pin is not None and not any(_fits(path, pin) for path in pins.get(record.id, ())):
                continue
            if all(_has(record, name, wanted) for name, wanted in rest.items()):
                found.append(record)
        return found

    def _opened(self, kind: str, id: int) -> Iterator[BpfObject]:
        """An object by its id, if there is one."""
        try:
            obj = self.kernel.open(kind, id)
        except KernelError as error:
            from errno import ENOENT

            if error.errno != ENOENT:
                raise
            return
        try:
            yield obj
        finally:
            self.kernel.close(obj)

    def _read(
        self,
        kind: str,
        objects: Iterator[BpfObject] | None,
        pins: dict[int, list[str]] | None,
        wants_holders: bool = False,
    ) -> Iterator[Any]:
        kernel = self.kernel
        if kind == "btf":
            from pybpftool.hosted import HostBtf
            from pybpftool.objects.btf import BtfReader

            read_btf = BtfReader(kernel).read
            for obj in objects or kernel.objects(kind):
                yield HostBtf(self, read_btf(obj))
            return
        try:
            listing = kernel.listing(kind)
        except KernelError:  # nobody can tell who holds what
            if wants_holders:
                raise
            read = self._reader(kind, pins, {})
            objects = objects or kernel.objects(kind)
        else:
            read = self._reader(kind, pins, listing.held)
            objects = objects or listing.objects()
        for obj in objects:
            try:
                yield read(obj)
            except VanishedError:
                continue

    def _reader(
        self, kind: str, pins: dict[int, list[str]] | None, held: dict[int, list[tuple[int, str]]]
    ) -> Any:
        from pybpftool import hosted

        kernel = self.kernel
        if kind == "map":
            from pybpftool.objects.map import MapReader

            maps = MapReader(kernel, pins, held)
            return lambda obj: hosted.HostMap(self, maps.read(obj))
        if kind == "prog":
            from pybpftool.objects.prog import ProgramReader

            programs = ProgramReader(kernel, pins, held, with_metadata=True)
            return lambda obj: self._mine(hosted.HostProgram._make(programs.read(obj)))
        from pybpftool.objects.link import LinkReader

        links = LinkReader(kernel, pins is not None, self._resolve, held)
        return lambda obj: self._mine(hosted.HostLink._make(links.read(obj)))

    def _mine(self, record: Any) -> Any:
        record.host = self
        return record

    def _one(self, kind: str, name: str | None, filters: dict[str, Any]) -> Any:
        if name is not None:
            filters = {"name": name, **filters}
        if not filters:
            raise TypeError("say which one: name, id, pin or another field")
        found = self._list(kind, filters)
        if len(found) == 1:
            return found[0]
        asked = ", ".join([f"{field}={value!r}" for field, value in filters.items()])
        if found:
            what = f"{len(found)} {_WORDS[kind]}s have {asked}"
            raise NotFoundError(what, [_label(record) for record in found])
        raise NotFoundError(
            f"there is no {_WORDS[kind]} with {asked}", self._close_to(kind, filters)
        )

    def _close_to(self, kind: str, filters: dict[str, Any]) -> Sequence[str]:
        """Names that may have been meant."""
        name = filters.get("name")
        if not isinstance(name, str) or kind == "link":
            return ()
        from pybpftool.btf.python import close_to

        try:
            return close_to(name, [record.name for record in self._list(kind, {})])
        except BpfError:
            return ()


def live(pins: bool = False, resolve: bool = False) -> Host:
    """The running kernel; the parameters are those of :class:`Host`."""
    from pybpftool.kernel.live import LiveKernel

    return Host(LiveKernel(), pins, resolve)


def load(path: str, pins: bool = False, resolve: bool = False) -> Host:
    """The kernel that ``pybpftool snapshot save PATH`` recorded, as if it were there."""
    from pybpftool.kernel.snapshot import SnapshotKernel

    return Host(SnapshotKernel.load(path), pins, resolve)


def _check_names(kind: str, filters: dict[str, Any]) -> None:
    """Refuse what is not a field of any such object, which else no object would have."""
    from pybpftool.hosted import fields_of

    if filters.keys() <= fields_of(kind):
        return
    if kind == "link":
        from pybpftool.objects.link import target_fields

        known = fields_of(kind) | target_fields()
    else:
        known = fields_of(kind)
    for name in filters:
        if name not in known:
            from pybpftool.btf.python import close_to

            meant = "".join([f"; did you mean '{word}'?" for word in close_to(name, known)[:1]])
            raise TypeError(f"a {_WORDS[kind]} has no field '{name}'{meant}")


def _label(record: Any) -> str:
    type = _field(record, "type") if hasattr(record, "type") else ""
    name = getattr(record, "name", "")
    return " ".join(str(word) for word in (record.id, type, name) if word != "")


def _has(record: Any, name: str, wanted: Any) -> bool:
    """Whether a field of a record, or of a link's target, is as wanted."""
    if name in ("pid", "comm"):
        holders = record.holders if hasattr(record, "holders") else record.pids
        return any(_fits(holder[name == "comm"], wanted) for holder in holders)
    return _fits(_field(record, name), wanted)


def _field(record: Any, name: str) -> Any:
    """A field's value; None for one that this link's target does not have."""
    if name == "type" and hasattr(record, "type_name"):
        return record.type_name or record.type
    try:
        return getattr(record, name)
    except AttributeError:
        if not hasattr(record, "target"):
            raise TypeError(f"{type(record).__name__} has no field '{name}'") from None
        return getattr(record.target, name, None)


def _fits(found: Any, wanted: Any) -> bool:
    if callable(wanted):
        return bool(wanted(found))
    if isinstance(wanted, (tuple, list, set, frozenset)):
        return any(_fits(found, each) for each in wanted)
    if isinstance(found, (tuple, list)):
        return any(_fits(each, wanted) for each in found)
    if isinstance(found, str) and isinstance(wanted, str):
        from fnmatch import fnmatchcase

        return fnmatchcase(found, wanted)
    return bool(found == wanted)
