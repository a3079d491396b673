"""One graph of what keeps what alive: programs, maps, links, BTF, pins, processes, places.

A node is (kind, id): ``prog``, ``map``, ``link`` and ``btf`` with their ids, ``pin`` with a
path, ``pid`` with a number, ``dev``, ``cgroup`` and ``netns`` with a name, ``kernel`` with
what the kernel itself keeps. An edge leads from what holds to what is held; what nothing
holds is gone, so each object hangs by edges on pins, processes or places.
"""

from __future__ import annotations

import struct
from errno import ENOENT

from pybpftool.errors import BpfError, KernelError, NotFoundError
from pybpftool.inspect import guesses
from pybpftool.inspect.attachment import Attachment
from pybpftool.inspect.attachments import REGISTERED, Attachments
from pybpftool.inspect.edge import ELEMENT, SLOT, Edge
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.items import KINDS
from pybpftool.inspect.roots import Roots
from pybpftool.inspect.unseen import Unseen
from pybpftool.inspect.wording import counted
from pybpftool.objects.cgroup import SHOWN_TYPES, below
from pybpftool.uapi.bpf import ATTACH_TYPES, BPF_F_QUERY_EFFECTIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.inspect.edge import Key
    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owner import Process
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.map import Map


# Values of these hold a program behind a number: struct bpf_devmap_val { ifindex, prog id },
# struct bpf_cpumap_val { queue size, prog id } (v5.8 and v5.9).
_WITH_PROGRAMS = ("devmap", "devmap_hash", "cpumap")
_SHOWN = 8  # processes that a sentence names
# include/uapi/linux/capability.h
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_SYS_PTRACE = 1, 2, 19


class Graph:
    """The graph of one kernel, made in one pass over what the inventory collects.

    ``up`` and ``down`` are the edges by what is held and by what holds. ``missing`` collects
    what could not be looked at.
    """

    __slots__ = (
        *("_edges", "_owners", "_pinners", "_roots", "at", "attachments", "btfs", "down"),
        *("hides_holders",),
        *("inventory", "missing", "owned", "processes", "slots", "up"),
    )

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.up: dict[Key, list[Edge]] = {}
        self.down: dict[Key, list[Edge]] = {}
        self._edges: set[Edge] = set()
        self._roots: Roots | None = None
        self._owners: Roots | None = None
        # Pin of another mount namespace -> a process that is in there.
        self._pinners: dict[str, tuple[int, str]] = {}
        self.processes: dict[int, Process] = {}
        self.btfs: dict[int, str] = {}
        """The names of BTF objects; empty for those of programs and maps."""
        self.slots: dict[int, list[tuple[str, int]]] = {}
        """Map of programs or maps -> (key, id) of each that it holds."""
        self.attachments = Attachments(inventory)
        self.missing = Unseen(self.attachments.unseen)
        self.owned: dict[tuple[str, int], tuple[str, ...]] = {}
        """Whose objects are, as far as :mod:`pybpftool.inspect.ownership` was asked."""
        self.at: dict[int, list[Attachment]] = {}
        """Program -> where it hangs."""
        parts: tuple[Callable[[], None], ...] = (
            self._progs, self._maps, self._links, self._btf
        )  # fmt: skip
        for part in parts:
            self._tried(part)
        for kind in (*KINDS, "btf"):
            self._tried(lambda kind=kind: self._held(kind))  # type: ignore[misc]
        self._attached()
        for kind in KINDS:
            self._tried(lambda kind=kind: self._pinned(kind))  # type: ignore[misc]
        hidden = processes_hidden(inventory.kernel)
        self.hides_holders = bool(hidden)
        """Whether descriptors of all processes but some cannot be seen."""
        if hidden:
            self.missing.add(hidden)
        elif told := closed(inventory.kernel):
            self.missing.remarks.append(told)
        self._tried(lambda: self._pinned_elsewhere(bool(hidden)))
        self._tried(self._guessed)

    # --- what is asked of it ---

    @property
    def unseen(self) -> list[str]:
        """A sentence for each part that could not be looked at."""
        return self.missing.sentences()

    def items(self, kind: str) -> dict[int, Item]:
        """The objects of a kind by id, none where they may not be listed."""
        try:
            return self.inventory.items(kind)
        except BpfError:
            return {}

    def counts(self) -> str:
        """``3 programs, 2 maps, 1 link``: what may be listed."""
        kinds = (("prog", "program"), ("map", "map"), ("link", "link"))
        return ", ".join([counted(len(self.items(kind)), what) for kind, what in kinds])

    def roots(self, key: Key) -> frozenset[Key]:
        """What an object hangs by in the end: pins, processes, places, the kernel.

        Two of these, where there are more.
        """
        if self._roots is None:
            self._roots = Roots(self.up, lambda end: end, 2)
        return self._roots.of(key)

    def owners(self, key: Key) -> frozenset[str]:
        """Whose all is that an object hangs by: processes, directories of pins, places."""
        if self._owners is None:
            self._owners = Roots(self.up, self._owner)
        return self._owners.of(key)

    def _owner(self, end: Key) -> str:
        kind, id = end
        if kind == "pid":
            return self.processes[int(id)].owner
        word = f"{kind}:{id}"
        if kind != "pin":
            return word
        pinner = self._pinners.get(str(id))
        if pinner is not None:
            word = self.inventory.owner_elsewhere(*pinner, word)
        return directory(word) if word.startswith("pin:") else word

    def effective(self, path: str) -> list[Attachment]:
        """The programs that run for a cgroup, in the order of execution, inherited ones too."""
        rows = [row for row in self.attachments.rows if row.key == "cgroup"]
        above = _with_parents(path)
        kernel = self.inventory.kernel
        root = kernel.cgroup_root()
        assert root is not None
        try:
            found = kernel.cgroup_programs(
                root.rstrip("/") + path, SHOWN_TYPES, BPF_F_QUERY_EFFECTIVE
            )
        except BpfError:
            return [row for each in above for row in rows if row.target == each]
        near = [row for each in above for row in rows if row.target == each]
        chosen: list[Attachment] = []
        for type, prog_id, _ in found:
            hook = ATTACH_TYPES[type] if type < len(ATTACH_TYPES) else str(type)
            row = next((r for r in near if r.hook == hook and r.prog_id == prog_id), None)
            if row is not None:  # else it came meanwhile, or hangs above what can be seen
                near.remove(row)
            else:
                row = Attachment(hook, "cgroup", "?", prog_id)
            chosen.append(row)
        return chosen

    def cgroup(self, path: str) -> str:
        """The path below the root of a cgroup named by it, or by its directory.

        Raises BpfError where there is none.
        """
        kernel = self.inventory.kernel
        root = kernel.cgroup_root()
        if root is None:
            raise NotFoundError("no cgroup2 hierarchy is mounted")
        name = "/" + below(path.rstrip("/") or "/", root).strip("/")
        try:
            known = {below(each, root) for each in kernel.cgroup_paths(root)}
        except BpfError:  # a recording that is older than the question
            known = {row.target for row in self.attachments.rows if row.key == "cgroup"}
        if name not in known:
            raise NotFoundError(f"there is no cgroup '{path}'")
        return name

    def add_pin(self, path: str, kind: str, id: int) -> None:
        """Add a path that leads to an object."""
        self._edge(("pin", path), (kind, id))

    def add_process(self, pid: int) -> None:
        """Add a process that holds nothing; raises BpfError where there is none."""
        text = self.inventory.kernel.file(f"/proc/{pid}/comm")
        self._process(pid, text.decode("utf-8", "surrogateescape").removesuffix("\n"))

    # --- how it is made ---

    def _tried(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except BpfError as error:
            self.missing.add(error)

    def _edge(self, holder: Key, held: Key, how: str = "") -> None:
        edge = Edge(holder, held, how)
        if edge not in self._edges:
            self._edges.add(edge)
            self._roots = self._owners = None
            self.down.setdefault(holder, []).append(edge)
            self.up.setdefault(held, []).append(edge)

    def _process(self, pid: int, comm: str) -> Key:
        if pid not in self.processes:
            self.processes[pid] = self.inventory.owners.process(pid, comm)
        return "pid", pid

    def _progs(self) -> None:
        for id, item in self.inventory.items("prog").items():
            for map_id in item.record.map_ids:
                self._edge(("prog", id), ("map", map_id), "uses it")
            if item.record.btf_id:
                self._edge(("prog", id), ("btf", item.record.btf_id), "its types")

    def _maps(self) -> None:
        for id, item in self.inventory.items("map").items():
            map: Map = item.record
            if map.btf_id:
                self._edge(("map", id), ("btf", map.btf_id), "its types")
            if item.type == "struct_ops":
                self._struct_ops(item)
            elif map.traits.holds or (item.type in _WITH_PROGRAMS and map.value_size >= 8):
                self._tried(lambda item=item: self._slots(item))  # type: ignore[misc]

    def _slots(self, item: Item) -> None:
        map: Map = item.record
        kernel = self.inventory.kernel
        at = 4 if item.type in _WITH_PROGRAMS else 0
        kind = map.traits.holds or "prog"
        is_index = map.key_size == 4 and "hash" not in item.type
        number = struct.Struct(kernel.byteorder + "I").unpack_from
        found: list[tuple[str, int]] = []

        def read(obj: BpfObject) -> None:
            for batch in kernel.elements(obj):
                if batch.values is None:
                    continue
                keys, values = map.key_size, len(batch.values) // batch.count
                for index in range(batch.count):
                    id: int = number(batch.values, index * values + at)[0]
                    if id:
                        key = batch.keys[index * keys : (index + 1) * keys]
                        found.append((str(number(key)[0]) if is_index else key.hex(" "), id))

        item.asked(read)
        self.slots[item.id] = found
        for key, id in found:
            self._edge(("map", item.id), (kind, id), f"{SLOT if is_index else ELEMENT}{key}")

    def _struct_ops(self, item: Item) -> None:
        found = self.attachments.implementations.get(item.id)
        if found is None:
            return  # said there
        for member, prog_id in found.programs:
            self._edge(("map", item.id), ("prog", prog_id), f"{found.interface}.{member}")
        if found.state == REGISTERED:  # until somebody deletes its element
            self._edge(("kernel", f"struct_ops {found.interface}"), ("map", item.id), "registered")

    def _links(self) -> None:
        from pybpftool.objects.links.tracing import Tracing

        for id, item in self.inventory.items("link").items():
            link = item.record
            if link.prog_id:
                self._edge(("link", id), ("prog", link.prog_id))
            map_id = getattr(link.target, "map_id", None)
            if map_id:
                self._edge(("link", id), ("map", map_id))
            target: Any = link.target
            if isinstance(target, Tracing) and target.target_obj_id and (
                target.prog_type == "ext" or self.attachments.is_for_program(link.prog_id)
            ):  # fmt: skip
                self._edge(("link", id), ("prog", target.target_obj_id), "attached to it")

    def _btf(self) -> None:
        from pybpftool.objects.btf import collect

        for btf in collect(self.inventory.kernel):
            self.btfs[btf.id] = btf.name
            for pid, comm in btf.pids:
                self._edge(self._process(pid, comm), ("btf", btf.id))

    def _held(self, kind: str) -> None:
        for id, holders in self.inventory.held(kind).items():
            for pid, comm in holders:
                self._edge(self._process(pid, comm), (kind, id))

    def _pinned(self, kind: str) -> None:
        for id, paths in self.inventory.pins(kind).items():
            for path in paths:
                self._edge(("pin", path), (kind, id))

    def _pinned_elsewhere(self, lacks_rights: bool) -> None:
        found, is_refused = self.inventory.elsewhere()
        for key, pins in found.items():
            for path, pid, comm in pins:
                self._pinners[path] = pid, comm
                how = f"in the mount namespace of process {pid}{f' ({comm})' if comm else ''}"
                self._edge(("pin", path), key, how)
        # With all rights it is some process that is out of reach, and has been said.
        if is_refused and lacks_rights:
            self.missing.add(
                "cannot look for pins in all mount namespaces of other processes: this needs the"
                " capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (try as root)"
            )

    def _guessed(self) -> None:
        known: dict[int, bool] = {}
        for id, pid, comm, how in list(guesses.in_memory(self.inventory, self.up)):
            self._edge(self._process(pid, comm), ("map", id), how)
        iterators: list[tuple[int, str]] | None = None  # all of /proc is looked at for them
        for kind, word in (("map", "over"), ("prog", "of")):
            for id, item in self.inventory.items(kind).items():
                key = kind, id
                if self.up.get(key):
                    continue
                if guesses.may_be_iterated(self.inventory, item):
                    if iterators is None:
                        iterators = guesses.iterators(self.inventory.kernel)
                    how = f"it has an iterator open, maybe {word} it"
                    for pid, comm in iterators:
                        self._edge(self._process(pid, comm), key, how)
                if kind == "map":
                    continue
                for map_id in list(guesses.maps_that_call(self.inventory, item, self.up, known)):
                    self._edge(("map", map_id), key, "a timer or the like in it may call it")

    def _attached(self) -> None:
        for row in self.attachments.rows:
            prog = row.prog_id
            if row.hook == "qdisc":
                name = f"{row.target} netns {row.netns}" if row.netns else row.target
                self._edge(("dev", name), ("map", row.map_id), f"qdisc {row.detail}")
                continue
            if not row.is_detached:
                self.at.setdefault(prog, []).append(row)
            if not prog or row.link_id:
                continue
            how = " ".join([word for word in (row.hook, row.detail) if word])
            if row.holders:
                for pid, fd in row.holders:
                    self._edge(self._task(pid), ("prog", prog), f"{row.text()}, descriptor {fd}")
            elif row.key == "map" and row.map_id:
                self._edge(("map", row.map_id), ("prog", prog), row.hook)
            elif row.key in ("dev", "cgroup"):
                name = f"{row.target} netns {row.netns}" if row.netns else row.target
                self._edge((row.key, name), ("prog", prog), how)
            elif row.hook == "flow_dissector":
                self._edge(("netns", row.netns or "own"), ("prog", prog), how)

    def _task(self, pid: int) -> Key:
        if pid in self.processes:
            return "pid", pid
        return self._process(pid, self.inventory.comm(pid))


def directory(word: str) -> str:
    """The owner ``pin:DIRECTORY`` for a pin: those of one directory are of one hand."""
    return word.rpartition("/")[0]


def _with_parents(path: str) -> list[str]:
    """A cgroup's path and those of the cgroups that it is in, innermost first."""
    found = [path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return found


def closed(kernel: Kernel) -> str:
    """Which processes Linux lets nobody look into, in a sentence; empty where there are none."""
    try:
        found = kernel.closed_processes()
    except BpfError:
        return ""  # no /proc, or a recording that is older than the question
    if not found:
        return ""
    some = ", ".join([f"{pid} ({comm})" for pid, comm in found[:_SHOWN]])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"cannot see what {counted(len(found), 'process', 'processes')} may hold, which Linux lets"
        f" nobody look into here: {some}{more}"
    )


def processes_hidden(kernel: Kernel) -> str:
    """Why the descriptors of others cannot be seen; empty where they can.

    proc_fd_permission() in fs/proc/fd.c and ptrace_may_access(); with both of these rights
    hidepid= of a /proc hides nothing either (has_pid_permissions() in fs/proc/base.c).
    """
    if not kernel.is_live:
        return ""
    try:
        _, _, rest = kernel.file("/proc/self/status").partition(b"\nCapEff:")
        rights = int(rest.split()[0], 16)
    except (BpfError, ValueError, IndexError) as error:
        if isinstance(error, KernelError) and error.errno == ENOENT:
            return "cannot see processes: /proc is not mounted"
        return "cannot tell whose descriptors may be seen: /proc/self/status tells nothing"
    missing = [
        name
        for name, bits in (
            ("CAP_SYS_PTRACE", 1 << _CAP_SYS_PTRACE),
            ("CAP_DAC_READ_SEARCH", 1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH),
        )
        if not rights & bits
    ]
    if missing:
        noun = "capability" if len(missing) == 1 else "capabilities"
        return (
            "cannot see the descriptors of other users' processes:"
            f" this needs the {noun} {' and '.join(missing)} (try as root)"
        )
    try:
        # Threads of the kernel are in the first pid namespace alone, and this is its second.
        if kernel.file("/proc/2/comm") == b"kthreadd\n":
            return ""
    except BpfError:
        pass
    return "cannot see processes outside of this pid namespace, or those that this /proc leaves out"
