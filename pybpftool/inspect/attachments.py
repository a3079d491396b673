"""Every place of a machine where a program hangs, each once, in the order of execution.

Devices, cgroups, links and perf events each tell of a part, and of some places several do:
a link of XDP is seen at its device as well, and the descriptor of a tracepoint in each of
its holders. Here they meet.
"""

from __future__ import annotations

from pybpftool.errors import BpfError, VanishedError
from pybpftool.inspect.attachment import Attachment, order
from pybpftool.inspect.file_symbols import FileSymbols
from pybpftool.inspect.items import ShownNames
from pybpftool.inspect.namespaces import kept_namespaces, place_netfilter
from pybpftool.inspect.places import Place, device_hook, of_link
from pybpftool.uapi.bpf import ATTACH_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pybpftool.inspect.items import Item, Items
    from pybpftool.objects.link import Link
    from pybpftool.objects.net import Namespace, Network, NetworkReader
    from pybpftool.objects.struct_ops import Implementation

_ECHOES = ("root", "clsact/ingress", "clsact/egress")
SOCKET_MAPS = ("sockmap", "sockhash")
_NO_PLACE = Place(0, "")
# What hangs at devices and namespaces, and is told by these alone where it has no link, or where
# its link does not name them.
_OF_NETWORKS = ("xdp", "sched_cls", "sched_act", "flow_dissector", "netfilter", "sk_lookup")
_OF_EVENTS = (
    *("kprobe", "tracepoint", "perf_event", "raw_tracepoint", "raw_tracepoint_writable"),
    "tracing",
)
REGISTERED = "in use"  # the state of a map of struct_ops that is registered without a link


class Attachments(ShownNames):
    """All attachments of the kernel of an inventory: ``rows``, sorted.

    ``unseen`` holds a sentence for each part that could not be asked for. ``of_loaded``: ask
    only where programs of the types may hang that the kernel lists, which costs thousands of
    cgroups a third, and misses programs that something hides from listings. ``names``: find those
    of programs, and of what stands at the places in files, which reads these files.
    """

    __slots__ = (
        *("_cgroups", "_has_own_devices", "_netns", "_open", "_others"),
        *(
            "_portable",
            "_qdiscs",
            "_symbols",
            "_types",
            "by_link",
            "implementations",
            "rows",
            "unseen",
        ),
    )

    def __init__(self, inventory: Items, of_loaded: bool = False, names: bool = True) -> None:
        super().__init__(inventory)
        # A recording is asked for all that it has.
        self._types = self._loaded_types() if of_loaded and inventory.kernel.is_live else None
        self._symbols = FileSymbols(inventory.kernel) if names else None
        self.unseen: list[str] = []
        self.rows: list[Attachment] = []
        self.implementations: dict[int, Implementation] = {}
        """Map of struct_ops -> what it implements."""
        self._netns: dict[int, str] = {}
        self._portable = {"": ""}
        self._others: list[tuple[str, str]] = []  # other network namespaces: path, name
        self._qdiscs: dict[str, list[tuple[str, str]]] = {}  # kind -> device, namespace
        self._has_own_devices = False
        self._cgroups: dict[int, str] | None = None
        # What has no link yet: key -> indexes in rows.
        self._open: dict[tuple[object, ...], list[int]] = {}
        parts: tuple[tuple[Callable[[], None], tuple[str, ...]], ...] = (
            (self._networks, (*_OF_NETWORKS, "struct_ops")),  # which are qdiscs as well
            (self._in_cgroups, ()),
            (self._events, _OF_EVENTS),
            (self._struct_ops, ("struct_ops",)),
            (self._socket_maps, ("sk_skb", "sk_msg")),
            (self._links, ()),
        )
        for ask, types in parts:
            if not types or self._types is None or not self._types.isdisjoint(types):
                self._tried(ask)
        place_netfilter(self.rows, self._inventory.kernel, self._others)
        self.rows.sort(key=order)
        self.by_link: dict[int, list[Attachment]] = {}
        """The rows of each link, those where it is detached as well."""
        for row in self.rows:
            if row.link_id:
                self.by_link.setdefault(row.link_id, []).append(row)

    def netns_name(self, inode: int) -> str:
        """How a network namespace is called here; empty for our own."""
        return self._netns.get(inode, str(inode))

    def portable_netns(self, name: str) -> str:
        """What a network namespace that a row names is called without numbers of this boot."""
        return self._portable.get(name, "?") if self._netns else ""

    def of_struct_ops(self, map_id: int) -> list[Attachment]:
        """The places of the programs of a map of struct_ops that is in use."""
        if map_id not in self.implementations:
            return []
        hooks = ("struct_ops", "qdisc")
        return [row for row in self.rows if row.map_id == map_id and row.hook in hooks]

    def _loaded_types(self) -> set[str] | None:
        try:
            return set(self._inventory.prog_types().values())
        except BpfError:
            return None

    def _tried(self, ask: Callable[[], None], part: str = "") -> None:
        try:
            ask()
        except VanishedError:
            pass  # it hangs nowhere any more
        except BpfError as error:
            sentence = f"{part}: {error}" if part else str(error)
            if sentence not in self.unseen:
                self.unseen.append(sentence)

    def _add(self, row: Attachment, *keys: tuple[object, ...]) -> None:
        for key in keys:
            self._open.setdefault(key, []).append(len(self.rows))
        if not row.prog_name and self._symbols is not None:
            row = row._replace(prog_name=self.name(row.prog_id))
        self.rows.append(row)

    def _take(self, keys: Iterable[tuple[object, ...]]) -> int | None:
        """The first row under one of these keys that no link has claimed yet."""
        for key in keys:
            waiting = self._open.get(key, [])
            # What is claimed goes, so that many links of one program are not counted out each time.
            while waiting and key[0] != "link" and self.rows[waiting[0]].link_id:
                del waiting[0]
            if waiting:
                return waiting[0]
        return None

    # --- networks ---

    def _networks(self) -> None:
        from pybpftool.objects.net import NetworkReader, namespaces

        reader = NetworkReader(self._inventory.kernel)

        def others() -> None:
            found.extend(namespaces(self._inventory.kernel))

        found: list[Namespace] = []
        self._tried(others)
        own = next((each for each in found if not each.path), None)
        if own is not None:
            self._netns[own.inode] = ""
        self._tried(lambda: self._own(reader), "network devices")
        for each in found:
            if each.path:
                self._named(reader, each, "of")
        self._tried(lambda: self._kept(reader))

    def _own(self, reader: NetworkReader) -> None:
        network = reader.read()
        self._network(network, "")
        self._has_own_devices = bool(network.devices)

    def _kept(self, reader: NetworkReader) -> None:
        """Namespaces that a mount or a descriptor keeps, where a program may hang in one."""
        there = {row.prog_id for row in self.rows}
        try:
            types = self._inventory.prog_types()
        except BpfError:
            return  # nothing tells that one is missing
        if all(type not in _OF_NETWORKS or id in there for id, type in types.items()):
            return
        for each in kept_namespaces(self._inventory.kernel):
            self._named(reader, each, "kept by")

    def _named(self, reader: NetworkReader, each: Namespace, whose: str) -> None:
        name = each.name or (f"{whose} {each.comm}({each.pid})" if each.pid else f"{each.inode}")
        self._netns[each.inode] = name
        self._portable[name] = each.name or each.comm or "?"
        self._others.append((each.path, name))
        self._tried(lambda: self._other(reader, each, name), f"network namespace {name}")

    def _other(self, reader: NetworkReader, namespace: Namespace, name: str) -> None:
        kernel = self._inventory.kernel
        try:
            network = reader.read(namespace.path)
        except BpfError:
            if kernel.is_live and not kernel.has_file(namespace.path):
                return  # its last task has ended meanwhile
            raise
        self._network(network, name)

    def _network(self, network: Network, netns: str) -> None:
        from pybpftool.objects.net import DeviceProgram

        for device in network.xdp:
            for mode, prog in device.programs:
                row = Attachment("xdp", "dev", device.devname, prog.id, netns=netns, detail=mode)
                self._add(row, ("xdp", device.ifindex, prog.id))
        for devname, kind in network.qdiscs:
            self._qdiscs.setdefault(kind, []).append((devname, netns))
        counts: dict[tuple[str, str], int] = {}
        # A qdisc `ingress` answers with its filters whichever of its hooks is asked for.
        echoing = {found.devname for found in network.all_tc if found.kind == "ingress"}
        for found in network.all_tc:
            at = found.devname, found.kind
            if found.devname in echoing and found.kind in _ECHOES:
                continue
            where: dict[str, Any] = {"netns": netns}
            if isinstance(found, DeviceProgram):
                where["position"] = counts[at] = counts.get(at, 0) + 1
                where["link_id"] = found.link_id
                row = Attachment(found.kind, "dev", found.devname, found.prog_id, **where)
                self._add(row, ("link", found.link_id))
                continue
            progs = [(found.name, found.prog)] if found.prog is not None else []
            progs += [(f"{found.classifier} action {name or ''}".strip(), prog)
                      for name, prog in found.actions or () if prog is not None]  # fmt: skip
            for detail, prog in progs:
                where["position"] = counts[at] = counts.get(at, 0) + 1
                self._add(
                    Attachment(found.kind, "dev", found.devname, prog.id, **where,
                               detail=detail or "")
                )  # fmt: skip
        if network.flow_dissector is not None:
            prog_id = network.flow_dissector.id
            row = Attachment("flow_dissector", "", "", prog_id, netns=netns)
            self._add(row, ("flow_dissector", netns, prog_id))
        if network.unseen:
            raise BpfError(network.unseen)

    # --- cgroups ---

    def _in_cgroups(self) -> None:
        from pybpftool.objects.cgroup import SHOWN_TYPES, attach_types, below, in_order, tree

        kernel = self._inventory.kernel
        root = kernel.cgroup_root()
        if root is None:
            return
        types = SHOWN_TYPES if self._types is None else attach_types(self._types)
        for cgroup in tree(kernel, root, types=types):
            path = below(cgroup.path, root)
            if cgroup.error and cgroup.error not in self.unseen:
                self.unseen.append(cgroup.error)
            counts: dict[object, int] = {}
            for prog in in_order(kernel, cgroup):
                hook = str(prog.attach_type)
                symbol = prog.attach_btf_name or ""
                at = hook, symbol
                position = counts[at] = counts.get(at, 0) + 1
                name = self.name(prog.id) if self._symbols is not None else ""
                row = Attachment(hook, "cgroup", path, prog.id, name, 0, 0, "", position,
                                 prog.flags_text, symbol, (), (), False)  # fmt: skip
                self._add(row, (hook, path, prog.id), (hook, prog.id))

    def _cgroup_paths(self) -> dict[int, str]:
        """The cgroups by the ids that links tell."""
        if self._cgroups is None:
            from pybpftool.objects.cgroup import below

            kernel = self._inventory.kernel
            root = ""
            try:
                root = kernel.cgroup_root() or ""
                ids = kernel.cgroup_ids(root) if root else {}
            except BpfError:
                ids = {}  # no /proc, or an older recording: links meet by what they run
            self._cgroups = {id: below(path, root) for id, path in ids.items()}
        return self._cgroups

    # --- perf events ---

    def _events(self) -> None:
        from pybpftool.objects.perf import collect

        found: dict[tuple[str, str, int, int], list[tuple[int, int]]] = {}
        for event in collect(self._inventory.kernel):
            name = event.name or (f"{event.probe_addr:#x}" if event.probe_addr else "")
            key = (str(event.fd_type), name, event.probe_offset, event.prog_id)
            found.setdefault(key, []).append((event.pid, event.fd))
        for (kind, name, offset, prog_id), holders in found.items():
            row = self._probe(kind, name, offset)
            row = row._replace(prog_id=prog_id, holders=tuple(holders))
            self._add(row, (row.hook, row.target, prog_id))

    def _probe(self, kind: str, name: str, offset: int) -> Attachment:
        if kind in ("tracepoint", "raw_tracepoint"):
            return Attachment(kind, "tracepoint", name, 0)
        if kind in ("uprobe", "uretprobe"):
            symbol = self._symbols.at(name, offset) if self._symbols is not None else ""
            return Attachment(kind, "file", f"{name}+{offset:#x}", 0, symbol=symbol)
        return Attachment(kind, "function", name + (f"+{offset:#x}" if offset else ""), 0)

    # --- interfaces of the kernel ---

    def _struct_ops(self) -> None:
        from pybpftool.objects.struct_ops import StructOpsReader, implementation

        kernel = self._inventory.kernel
        reader = StructOpsReader(kernel)
        for item in self._inventory.items("map").values():
            if item.type == "struct_ops":
                self._tried(lambda item=item: self._implementation(  # type: ignore[misc]
                    item, item.asked(lambda obj: implementation(reader, kernel, obj))
                ))  # fmt: skip

    def _implementation(self, item: Item, found: Implementation, link_id: int = 0) -> None:
        self.implementations[item.id] = found
        # Without a link, too: devices keep their qdisc when it is registered no longer.
        if found.name and not link_id:
            for devname, netns in self._qdiscs.get(found.name, ()):
                detail = f"{found.name} of map {item.id}"
                self._add(Attachment("qdisc", "dev", devname, 0, map_id=item.id, netns=netns,
                                     detail=detail))  # fmt: skip
        if link_id or found.state == REGISTERED:
            for member, prog_id in found.programs:
                target = f"{found.interface}.{member}"
                row = Attachment("struct_ops", "function", target, prog_id, map_id=item.id)
                self._add(row._replace(link_id=link_id, detail=f"map {item.name}"))

    # --- maps of sockets ---

    def _socket_maps(self) -> None:
        for item in self._inventory.items("map").values():
            if item.type in SOCKET_MAPS:
                self._tried(lambda item=item: self._in_socket_map(item))  # type: ignore[misc]

    def _in_socket_map(self, item: Item) -> None:
        kernel = self._inventory.kernel
        try:
            found = item.asked(kernel.socket_map_programs)
        except BpfError:
            if kernel.is_live:
                raise
            return  # a recording that is older than the question: its links tell
        for type, prog_id in found:
            hook = ATTACH_TYPES[type] if type < len(ATTACH_TYPES) else str(type)
            row = Attachment(hook, "map", self.map(item.id), prog_id, map_id=item.id)
            self._add(row, ("sockmap", item.id, hook, prog_id))

    # --- links ---

    def _links(self) -> None:
        from pybpftool.objects.links.network import Cgroup

        for item in self._inventory.items("link").values():
            link = item.record
            if type(link.target) is Cgroup:
                self._join(*self._of_cgroup_link(link))
                continue
            map_id = getattr(link.target, "map_id", 0)
            if item.type == "struct_ops" and map_id in self.implementations:
                map = self._inventory.items("map")[map_id]
                self._implementation(map, self.implementations[map_id], link.id)
                continue
            self._join(*self._of_link(item))

    def _join(self, row: Attachment, keys: Iterable[tuple[object, ...]]) -> None:
        """Put what a link tells to what is known of its place, or as a row of its own."""
        index = self._take(keys)
        if index is None:
            if row.key == "dev" and self._has_own_devices:
                # Its number would name one of ours: it is in a namespace that nothing leads to.
                row = row._replace(target="?", netns="?")
            self._add(row)
            return
        known = self.rows[index]
        hook, key, target, prog_id, prog_name, _, map_id, netns, position = known[:9]
        told, symbol, targets, _, is_detached = known[9:]
        detail = f"{told} {row.detail}" if told and row.detail else told or row.detail
        # Whoever holds the link is told with the link.
        self.rows[index] = Attachment(
            hook, key, target, prog_id, prog_name, row.link_id, map_id, netns, position, detail,
            symbol, targets, (), is_detached,
        )  # fmt: skip

    def _of_cgroup_link(self, link: Link) -> tuple[Attachment, list[tuple[object, ...]]]:
        """As :meth:`_of_link`; there may be thousands of these."""
        target: Any = link.target
        prog_id, hook = link.prog_id, str(target.attach_type)
        paths = self._cgroup_paths()
        path = paths.get(target.cgroup_id)
        keys: list[tuple[object, ...]] = [(hook, path, prog_id)]
        if path is None and target.cgroup_id and not paths:
            keys = [(hook, prog_id)]
        row = Attachment(hook, "cgroup", path or "?", prog_id, "", link.id, 0, "", None, "", "", (),
                         (), not target.cgroup_id)  # fmt: skip
        return row, keys

    def _of_link(self, item: Item) -> tuple[Attachment, list[tuple[object, ...]]]:
        """The row of a link, and the keys under which its place may be known already."""
        link: Link = item.record
        target: Any = link.target
        id, prog_id = link.id, link.prog_id
        places = of_link(link, self, self._inventory.targets)
        # Place: of its program, hook, key, target, position, netns, link, detail.
        _, hook, key, name, position, netns, _, detail = places[0] if places else _NO_PLACE
        hook = hook or item.type
        targets: tuple[str, ...] = ()
        if len(places) > 1:
            name, targets = "", tuple([place.target for place in places])
        symbol = ""
        if key == "file" and self._symbols is not None:
            symbol = self._symbols.of_places(targets or (name,))
        map_id, is_detached = 0, False
        more: tuple[object, ...] = ()
        kind = type(target).__name__
        if kind == "Device":
            if not target.ifindex:
                hook, is_detached = device_hook(link), True
            more = ("xdp", target.ifindex, prog_id)
        elif kind == "Netns":
            netns = self._netns.get(target.netns_ino, str(target.netns_ino or ""))
            is_detached = not target.netns_ino
            more = (hook, netns, prog_id)
        elif key == "prog" and name != str(target.target_obj_id):
            detail = f"{detail} of prog {target.target_obj_id}".lstrip()
        elif kind == "Iter":
            detail = target.text().split("  ", 1)[1].strip()
        elif kind in ("Sockmap", "StructOps"):
            map_id, is_detached = target.map_id, not target.map_id
            more = ("sockmap", map_id, hook, prog_id)
        keys: list[tuple[object, ...]] = [("link", id), (hook, name, prog_id)]
        if more:
            keys.append(more)
        return Attachment(hook, key, name, prog_id, "", id, map_id, netns, position, detail,
                          symbol, targets, (), is_detached), keys  # fmt: skip
