"""Why an object is there: what keeps it alive, what it keeps alive, and where it acts."""

from __future__ import annotations

from pybpftool.inspect.attachments import SOCKET_MAPS
from pybpftool.inspect.edge import ordered
from pybpftool.inspect.guesses import ON_ITS_WAY, USERS_OF_INTERFACES, beyond
from pybpftool.inspect.tree import Branch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pybpftool.inspect.attachment import Attachment
    from pybpftool.inspect.edge import Edge, Key
    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owners import Graph

OBJECTS = ("prog", "map", "link", "btf")
SYSCALL = "syscall"  # the type of programs that are run by bpf(2) and attached to nothing
_KINDS_SHOWN = {"dev": "device", "netns": "network namespace", "pid": "process"}
# The kernel tells no ids of the programs of sockets, routes, infrared devices, and of rules of
# iptables (xt_bpf).
_UNTOLD = {
    "socket_filter": "a socket, a tun device or a rule of iptables",
    "sk_reuseport": "a group of sockets",
    "lwt_in": "a route",
    "lwt_out": "a route",
    "lwt_xmit": "a route",
    "lwt_seg6local": "a route",
    "lirc_mode2": "an infrared device",
    "sched_act": "an action of tc that no filter uses",
    "sk_skb": "a map of sockets",
    "sk_msg": "a map of sockets",
    "perf_event": "a perf event without a link",
}


def untold(type: str) -> str:
    """What programs of a type may hang at that the kernel tells nothing of; empty for none."""
    return _UNTOLD.get(type, "")


def _tree(
    start: Key,
    name: str,
    ways: Callable[[Key], Iterable[tuple[Branch, Key | None]]],
    most: int = 0,
) -> tuple[list[Branch], bool]:
    """The branches that lead on from a node, and in their group ``name`` those behind each.

    ``ways`` gives a node's branches, each with the node to go on from, if any. A node
    stands once with what belongs to it, where it is nearest; elsewhere it is marked ``again``.
    It ends at ``most`` branches, if that is not 0; the second value tells whether there are more.
    """
    count = 0
    top: list[Branch] = []
    expanded = {start}
    waiting: list[tuple[Key, list[Branch]]] = [(start, top)]
    for key, into in waiting:  # which grows meanwhile
        for branch, next_key in ways(key):
            count += 1
            if most and count > most:
                return top, True
            into.append(branch)
            if next_key is None:
                continue
            if next_key in expanded:
                branch.fields["again"] = True
                branch.text += " …" if next_key != start else " (itself)"
                continue
            expanded.add(next_key)
            waiting.append((next_key, branch.group(name, "", [])))
    return top, False


class Why:
    """Trees about the nodes of one graph, each of ``most`` branches if that is not 0."""

    __slots__ = ("_graph", "_limit", "_lines", "_links", "_most", "_sorted", "is_cut")

    def __init__(self, graph: Graph, most: int = 0) -> None:
        self._graph = graph
        self._most = most
        self.is_cut = False
        """Whether a tree since this was set to False has more branches than it shows."""
        # What stands in many trees is made once.
        self._lines: dict[Key, tuple[str, dict[str, Any]]] = {}
        self._links: dict[Key, list[Key]] = {}
        self._sorted: dict[tuple[Key, bool], list[Edge]] = {}
        # "Nothing" is only what we see, where there is more that we do not.
        self._limit = " that can be seen" if graph.unseen else ""

    def _ordered(self, key: Key, upwards: bool = True) -> list[Edge]:
        """The edges of a node, sorted once: that of many programs stands in all their trees."""
        found = self._sorted.get((key, upwards))
        if found is None:
            edges = self._graph.up if upwards else self._graph.down
            found = self._sorted[key, upwards] = ordered(edges.get(key, ()), upwards)
        return found

    # --- one node, one line ---

    def branch(self, key: Key, how: str = "") -> Branch:
        """The line of a node; ``how`` is what an edge says."""
        known = self._lines.get(key)
        if known is None:
            known = self._lines[key] = self._line(key)
        text, fields = known[0], known[1].copy()
        if how:
            fields["how"] = how
            text += f" ({how})"
        return Branch(text, fields, how)

    def _line(self, key: Key) -> tuple[str, dict[str, Any]]:
        kind, id = key
        fields: dict[str, Any] = {"kind": kind}
        if kind in OBJECTS:
            text = self._object(kind, int(id), fields)
        elif kind == "pid":
            text = self._process(int(id), fields)
        else:
            fields["path" if kind in ("pin", "cgroup") else "name"] = id
            text = f"{_KINDS_SHOWN.get(kind, kind)} {id}"
        return text, fields

    def _object(self, kind: str, id: int, fields: dict[str, Any]) -> str:
        graph = self._graph
        fields["id"] = id
        if kind == "btf":
            name = graph.btfs.get(id, "")
            if name:
                fields["name"] = name
            return f"btf {id} {name}".rstrip()
        item = graph.items(kind).get(id)
        if item is None:
            return f"{kind} {id}"
        fields["type"] = item.type
        words = [kind, str(id), item.type]
        if item.name:
            fields["name"] = item.name
            words.append(item.name)
        if kind == "link":
            places = graph.attachments.by_link.get(id, ())
            for place in places[:1]:
                if place.is_detached:
                    fields["detached"] = True
                    words.append("detached")
                else:
                    fields["at"] = place.text()
                    words.append(f"at {place.text()}")
            if len(places) > 1:
                words.append(f"and {len(places) - 1} more")
        return " ".join(words)

    def _process(self, pid: int, fields: dict[str, Any]) -> str:
        process = self._graph.processes.get(pid)
        fields["pid"] = pid
        if process is None:
            return f"process {pid}"
        fields["comm"] = process.comm
        fields["owner"] = process.owner
        text = f"process {pid} ({process.comm})"
        if not process.owner.startswith("comm:"):
            text += f" {process.owner}"
        for name in ("pod", "cgroup"):
            value = getattr(process, name)
            if value:
                fields[name] = value
        return f"{text} pod:{process.pod}" if process.pod else text

    # --- what holds and what is held ---

    def grow(self, start: Key, upwards: bool) -> list[Branch]:
        """What holds a node, and what holds that; or what it holds.

        Each node stands once with what belongs to it, where it is nearest; elsewhere it is
        marked ``again``.
        """
        edges = self._graph.up if upwards else self._graph.down
        name = "held_by" if upwards else "holds"

        def ways(key: Key) -> Iterator[tuple[Branch, Key | None]]:
            for edge in self._ordered(key, upwards):
                next_key = edge.holder if upwards else edge.held
                branch = self.branch(next_key, self._told(edge, upwards))
                if edges.get(next_key):
                    yield branch, next_key
                    continue
                if upwards and next_key[0] in OBJECTS:
                    self._unheld(branch, name)
                yield branch, None

        return self._tree(start, name, ways)

    def _tree(
        self, start: Key, name: str, ways: Callable[[Key], Iterable[tuple[Branch, Key | None]]]
    ) -> list[Branch]:
        branches, is_cut = _tree(start, name, ways, self._most)
        self.is_cut |= is_cut
        return branches

    @staticmethod
    def _told(edge: Edge, upwards: bool) -> str:
        if edge.how == "its types":
            return "" if not upwards else "its types are of it"
        if edge.how == "uses it" and not upwards:
            return ""
        return edge.how

    @staticmethod
    def _unheld(branch: Branch, name: str) -> None:
        branch.group(name, "", [])
        branch.text += ": held by nothing that can be seen"

    # --- where it acts ---

    def acts(self, start: Key) -> list[Branch]:
        """The places at which a program or what uses a map acts; calls through maps as well."""
        return self._tree(start, "acts_at", self._ways)

    def _ways(self, key: Key) -> Iterator[tuple[Branch, Key | None]]:
        graph = self._graph
        kind, id = key
        if kind == "prog":
            for row in graph.at.get(int(id), ()):
                yield place_branch(row), None
            for edge in self._ordered(key):
                if edge.holder[0] == "map":
                    yield from self._through(edge)
        elif kind == "map":
            for row in graph.attachments.of_struct_ops(int(id)):
                yield place_branch(row), None
            for edge in self._ordered(key):
                if edge.holder[0] in ("prog", "map"):
                    how = edge.how if edge.holder[0] == "map" else ""
                    yield self.branch(edge.holder, how), edge.holder
        elif kind == "link":
            found = graph.attachments.by_link.get(int(id), ())
            rows = [row for row in found if not row.is_detached]
            # The link is named above them.
            yield from [(Branch(row.text(), place_branch(row).fields), None) for row in rows]
        # A program that replaces a function of another one acts where that does.
        if kind in ("link", "prog"):
            for link in [key] if kind == "link" else self._links_of(key):
                for edge in graph.down.get(link, ()):
                    if edge.how == "attached to it":
                        yield self.branch(edge.held, "in it"), edge.held

    def _links_of(self, key: Key) -> list[Key]:
        """The links by which a program is attached."""
        found = self._links.get(key)
        if found is None:
            found = self._links[key] = [
                edge.holder
                for edge in self._graph.up.get(key, ())
                if edge.holder[0] == "link" and not edge.how
            ]
        return found

    def _through(self, edge: Edge) -> list[tuple[Branch, Key | None]]:
        """A map that holds a program, which runs when another one jumps there."""
        item = self._graph.items("map").get(int(edge.holder[1]))
        if item is not None and item.type in ("struct_ops", *SOCKET_MAPS):
            # That place is told by itself, but for devices with a qdisc of the map.
            found = self._graph.attachments.of_struct_ops(item.id)
            return [(place_branch(row), None) for row in found if row.hook == "qdisc"]
        return [(self.branch(edge.holder, edge.how), edge.holder)]

    # --- whole answers ---

    def of_object(self, key: Key) -> Branch:
        """About a program, map, link or BTF object."""
        root = self.branch(key)
        kind, id = key
        acts = self.acts(key) if kind != "btf" else []
        nowhere = f"acts nowhere{self._limit}"
        item = self._graph.items(kind).get(int(id)) if kind != "btf" else None
        if not acts and kind in ("prog", "map"):
            what = self._may_act_at(key, item)
            if what:
                nowhere = f"acts nowhere that the kernel tells of: it may be attached to {what}"
                root.fields["may_act_at"] = what
            elif kind == "prog" and item is not None and item.type == SYSCALL:
                nowhere = "acts when somebody runs it by bpf(2)"
        is_used = kind == "map" and item is not None and item.type != "struct_ops"
        heading = "used by" if is_used else "acts at"
        if kind != "btf":
            root.group("acts_at", heading if acts else nowhere, acts)
        self._kept(root, key)
        if kind == "prog":
            held = self.grow(key, upwards=False)
            if held:
                root.group("holds", "keeps alive", held)
        return root

    def _may_act_at(self, key: Key, item: Item | None) -> str:
        """What an object may act at that the kernel tells nothing of; empty for none."""
        if item is None:
            return ""
        if item.type == "struct_ops":
            up = self._graph.up
            above = [edge.holder for edge in up.get(key, ()) if edge.holder[0] == "map"]
            maps = [key] if item.kind == "map" else above
            return "" if all(up.get(map) for map in maps) else USERS_OF_INTERFACES
        return untold(item.type) if item.kind == "prog" else ""

    def _kept(self, root: Branch, key: Key) -> None:
        held = self.grow(key, upwards=True)
        heading = "kept alive by"
        if not held:
            heading = _NOTHING
            item = self._graph.items(key[0]).get(int(key[1])) if key[0] != "btf" else None
            if item is not None:
                what = root.fields["may_be_held_by"] = self._may_hold(item)
                heading += f"; maybe by {what}"
        root.group("held_by", heading, held)

    @staticmethod
    def _may_hold(item: Item) -> str:
        place = untold(item.type) if item.kind == "prog" else ""
        return f"{place}, or {ON_ITS_WAY}" if place else beyond(item.type)

    def of_holder(self, key: Key) -> Branch:
        """About a pin or process: what it keeps alive, and what of that would go with it."""
        graph = self._graph
        root = self.branch(key)
        held = root.group("holds", "keeps alive", [])
        for edge in self._ordered(key, False):
            branch = self.branch(edge.held, edge.how)
            held.append(branch)
            if edge.held[0] in OBJECTS and graph.roots(edge.held) == {key}:
                branch.fields["only_here"] = True
                branch.text += ", held by nothing else"
            acts = self.acts(edge.held)
            # The line of a link says where it acts.
            if acts and (edge.held[0] != "link" or len(acts) > 1):
                branch.group("acts_at", "acts at" if edge.held[0] != "map" else "used by", acts)
        if not held:
            root.groups[0] = ("holds", f"keeps no BPF object alive{self._limit}", held)
        return root

    def of_place(self, key: Key, rows: list[Attachment]) -> Branch:
        """About a device or cgroup: the programs there, each with what keeps it there."""
        root = self.branch(key)
        branches: list[Branch] = []
        for row in rows:
            branch = place_branch(row)
            branches.append(branch)
            if row.prog_id:
                prog = self.branch(("prog", row.prog_id))
                branch.text += f": {prog.text}"
                branch.fields["prog"] = prog.fields
                parts = self._parts(row.prog_id, 1)
                if parts:
                    branch.group("parts", "programs in it", parts)
            elif row.hook == "qdisc":
                edges = self._ordered(("map", row.map_id), False)
                progs = [self.branch(e.held, e.how) for e in edges if e.held[0] == "prog"]
                branch.group("parts", "its programs", progs)
                continue  # it stays as long as the qdisc
            if not row.link_id:
                branch.text += "; no link, it stays until it is detached"
                continue
            link = self.branch(("link", row.link_id))
            held = link.group("held_by", "", self.grow(("link", row.link_id), upwards=True))
            if not held:
                link.text += ": held by nothing that can be seen"
            branch.group("held_by", "kept there by", [link])
        heading = "programs in the order of execution" if rows else "has no programs" + self._limit
        root.group("programs", heading, branches)
        return root

    def _parts(self, prog_id: int, depth: int) -> list[Branch]:
        """The programs that replace functions of a program or run with them, by function."""
        if depth > _DEEPEST:  # which no kernel allows, but a recording may say
            return []
        attachments = self._graph.attachments
        rows = [
            row
            for edge in self._graph.up.get(("prog", prog_id), ())
            if edge.how == "attached to it"
            for row in attachments.by_link.get(int(edge.holder[1]), ())
        ]
        found = []
        # The parts of a dispatcher run in the order of their numbers: prog0, …, prog10.
        for row in sorted(rows, key=lambda row: (row.hook, len(row.detail), row.detail)):
            branch = place_branch(row)
            prog = self.branch(("prog", row.prog_id))
            branch.text = f"{row.hook} {row.detail} (link {row.link_id}): {prog.text}"
            branch.fields["prog"] = prog.fields
            parts = self._parts(row.prog_id, depth + 1)
            if parts:
                branch.group("parts", "programs in it", parts)
            found.append(branch)
        return found


_DEEPEST = 8  # programs in programs
_NOTHING = "kept alive by nothing that can be seen"


def place_branch(row: Attachment) -> Branch:
    """The line of a place."""
    text = row.text()
    fields = row.json()
    for name in ("prog_id", "prog_name"):
        fields.pop(name, None)
    return Branch(f"{text} (link {row.link_id})" if row.link_id else text, fields)
