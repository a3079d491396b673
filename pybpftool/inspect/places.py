"""Where programs are attached, by names that another machine or another boot has, too.

A place is a hook and what it belongs to: ``tcx/ingress`` of the device ``eth0``,
``cgroup_inet_egress`` of the cgroup ``/system.slice``, ``kprobe`` of the function
``tcp_connect``. Links, netlink, cgroups and perf events are asked, each once.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.attach_target import AttachTargets
    from pybpftool.objects.link import Link
    from pybpftool.objects.net import Network

KEYS = ("dev", "cgroup", "function", "tracepoint", "file", "netns", "map", "prog", "target")
"""What a hook can belong to."""


def hooks() -> list[str]:
    """The hooks by name, but for those of qdiscs that have classes and of newer kernels."""
    from pybpftool.uapi.bpf import ATTACH_TYPES, LINK_TYPES

    words = [word.replace("tcx_", "tcx/").replace("netkit_", "netkit/") for word in ATTACH_TYPES]
    words += [*ATTACH_TYPES, *LINK_TYPES, "clsact/ingress", "clsact/egress", "root", "freplace"]
    words += ["kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi"]
    return [*words, "uprobe", "uretprobe", "uprobe.multi", "uretprobe.multi"]


class Place(Record):
    """One place of one program.

    ``key`` is one of :data:`KEYS`, empty where the hook is all there is to say; ``position``
    counts the programs of the same hook from 1, in the order in which they run, and is None
    where a hook takes one. ``netns`` is empty for our own network namespace.
    """

    prog_id: int
    hook: str
    key: str = ""
    target: str = ""
    position: int | None = None
    netns: str = ""
    link_id: int = 0
    detail: str = ""

    def text(self) -> str:
        """``tcx/ingress dev eth0``; the position is not part of it."""
        text = f"{self.hook} {self.key} {self.target}" if self.key else self.hook
        return f"{text} netns {self.netns}" if self.netns else text

    def full_text(self) -> str:
        """:meth:`text` with the position and what else is known."""
        text = self.text()
        if self.position is not None:
            text += f" position {self.position}"
        return f"{text} {self.detail}" if self.detail else text

    def json(self) -> dict[str, Any]:
        """The JSON properties of the place."""
        json: dict[str, Any] = {"hook": self.hook}
        if self.key:
            json[self.key] = self.target
        if self.netns:
            json["netns"] = self.netns
        if self.position is not None:
            json["position"] = self.position
        if self.link_id:
            json["link_id"] = self.link_id
        if self.detail:
            json["detail"] = self.detail
        return json


class Names:
    """What places call programs and maps, which have other ids elsewhere."""

    def prog(self, id: int) -> str:
        """The name of a program."""
        raise NotImplementedError

    def map(self, id: int) -> str:
        """The name of a map."""
        raise NotImplementedError

    def is_for_program(self, id: int) -> bool:
        """Whether a program of tracing is made for another program, not for the kernel."""
        return False


class Places:
    """All places of one kernel's programs.

    ``refused`` holds what could not be asked: then a program may be attached where nobody
    could look.
    """

    __slots__ = ("_by_link", "_kernel", "_names", "_targets", "_unlinked", "by_prog", "refused")

    def __init__(
        self, kernel: Kernel, links: list[Link], names: Names, targets: AttachTargets
    ) -> None:
        self._kernel = kernel
        self._targets = targets
        self._names = names
        self.by_prog: dict[int, list[Place]] = {}
        self.refused: list[BpfError] = []
        self._by_link: dict[int, Place] = {}
        # By program and hook, then by target.
        self._unlinked: dict[tuple[int, str], dict[str, Place]] = {}
        asked: tuple[Callable[[], Iterator[Place]], ...] = (
            self._networks,
            self._in_cgroups,
            lambda: self._of_links(links),
            self._events,
        )
        for ask in asked:
            try:
                for place in ask():
                    self._add(place)
            except BpfError as error:
                self.refused.append(error)
        for places in self.by_prog.values():
            places.sort(key=_order)

    def of_link(self, id: int) -> Place | None:
        """The place of a link; None for one that the kernel tells nothing of."""
        return self._by_link.get(id)

    def _add(self, place: Place) -> None:
        if place.link_id:
            self._by_link.setdefault(place.link_id, place)
        if place.prog_id:
            self.by_prog.setdefault(place.prog_id, []).append(place)
            if not place.link_id:
                by_target = self._unlinked.setdefault((place.prog_id, place.hook), {})
                by_target.setdefault(place.target, place)

    # --- networks ---

    def _networks(self) -> Iterator[Place]:
        from pybpftool.objects.net import NetworkReader, namespaces

        reader = NetworkReader(self._kernel)
        yield from _of_network(reader.read(), "")
        try:
            others = namespaces(self._kernel)
        except BpfError:
            return  # only our own can be looked at
        for namespace in others:
            if namespace.path:
                name = namespace.name or namespace.comm
                try:
                    network = reader.read(namespace.path)
                except BpfError:
                    continue
                yield from _of_network(network, name)

    # --- cgroups ---

    def _in_cgroups(self) -> Iterator[Place]:
        from pybpftool.objects.cgroup import in_order, tree

        root = self._kernel.cgroup_root()
        if root is None:
            return
        for cgroup in tree(self._kernel, root):
            counts: dict[object, int] = {}
            for prog in in_order(self._kernel, cgroup):
                at = prog.attach_type, prog.attach_btf_name
                number = counts[at] = counts.get(at, 0) + 1
                path = _below(cgroup.path, root)
                detail = prog.flags_text
                yield Place(prog.id, str(prog.attach_type), "cgroup", path, number, "", 0, detail)

    # --- links ---

    def _of_links(self, links: list[Link]) -> Iterator[Place]:
        targets = self._targets
        for link in links:
            for place in of_link(link, self._names, targets):
                known = self._same(place)
                if known is None:
                    yield place
                else:
                    # Seen from the other side, which knows the name and the position.
                    self._by_link.setdefault(link.id, known._replace(link_id=link.id))

    def _same(self, place: Place) -> Place | None:
        if place.link_id in self._by_link:
            return self._by_link[place.link_id]
        if place.key not in ("dev", "cgroup") and place.hook != "flow_dissector":
            return None
        by_target = self._unlinked.get((place.prog_id, place.hook), {})
        if place.target in ("", "?"):
            return next(iter(by_target.values()), None)
        return by_target.get(place.target)

    # --- perf events ---

    def _events(self) -> Iterator[Place]:
        """Programs of descriptors that are not links (ioctl PERF_EVENT_IOC_SET_BPF)."""
        from pybpftool.objects.perf import collect

        linked = set(self.by_prog)
        seen = set()
        for event in collect(self._kernel):
            if event.prog_id in linked:
                continue
            kind = str(event.fd_type)
            place = Place(event.prog_id, kind, *_of_event(kind, event.name, event.probe_offset))
            if place not in seen:
                seen.add(place)
                yield place


def _order(place: Place) -> tuple[object, ...]:
    return place.hook, place.key, place.target, place.netns, place.position or 0


def _below(path: str, root: str) -> str:
    """A cgroup's path as the kernel writes it, from the root of the hierarchy."""
    below = path[len(root.rstrip("/")) :] if path.startswith(root) else path
    return below or "/"


def _of_network(network: Network, netns: str) -> Iterator[Place]:
    from pybpftool.objects.net import DeviceProgram

    for device in network.xdp:
        for mode, prog in device.programs:
            yield Place(prog.id, "xdp", "dev", device.devname, None, netns, 0, mode)
    counts: dict[tuple[str, str], int] = {}
    for found in network.all_tc:
        at = found.devname, found.kind
        number = counts[at] = counts.get(at, 0) + 1
        if isinstance(found, DeviceProgram):
            where = ("dev", found.devname, number, netns, found.link_id)
            yield Place(found.prog_id, found.kind, *where)
        else:
            for known in (found.prog, *(prog for _, prog in found.actions or ())):
                if known is not None:
                    yield Place(known.id, found.kind, "dev", found.devname, number, netns)
    if network.flow_dissector is not None:
        yield Place(network.flow_dissector.id, "flow_dissector", netns=netns)
    if network.unseen:
        raise BpfError(network.unseen)


def _of_event(kind: str, name: str, offset: int) -> tuple[str, str]:
    if kind in ("tracepoint", "raw_tracepoint"):
        return "tracepoint", name
    suffix = f"+{offset:#x}" if offset else ""
    return ("file" if kind in ("uprobe", "uretprobe") else "function"), name + suffix


def of_link(link: Link, names: Names, targets: AttachTargets) -> list[Place]:
    """The places of a link by what it says itself."""
    target: Any = link.target
    cookie = getattr(target, "cookie", None)
    find: Callable[..., list[Place]] = _OF_TARGET.get(type(target).__name__, _bare)
    return find(link, target, f"cookie {cookie}" if cookie else "", names, targets)


def _at(link: Link, hook: str, key: str, target: str, detail: str) -> list[Place]:
    return [Place(link.prog_id, hook, key, target, None, "", link.id, detail)]


def _functions(link: Link, hook: str, functions: list[str | None], detail: str) -> list[Place]:
    """A place for each function, None one without a name; one place where none is known."""
    if not functions:
        return _at(link, hook, "", "", detail)
    id, prog = link.id, link.prog_id
    return [Place(prog, hook, "function", name or "?", None, "", id, detail) for name in functions]


def _bare(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _at(link, str(link.type), "", "", detail)


def _device(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    if not target.ifindex:  # the device is gone, or the link was detached
        return []
    return _at(link, device_hook(link), "dev", target.devname or "?", detail)


def device_hook(link: Link) -> str:
    """The hook of a link of a device, there or gone: ``xdp``, ``tcx/ingress``."""
    target: Any = link.target
    hook = str(target.attach_type or link.type)
    return hook.replace("tcx_", "tcx/").replace("netkit_", "netkit/")


def _cgroup(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    if not target.cgroup_id:
        return []
    return _at(link, str(target.attach_type), "cgroup", "?", detail)


def _netns(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _at(link, str(target.attach_type), "", "", detail)


def _sockmap(link: Link, target: Any, detail: str, names: Names, *_: Any) -> list[Place]:
    return _at(link, str(target.attach_type), "map", names.map(target.map_id), detail)


def _netfilter(link: Link, target: Any, *_: Any) -> list[Place]:
    hook = "netfilter/" + "/".join(target.text().split()[:2])
    return _at(link, hook, "", "", f"prio {target.priority}")


def _raw_tracepoint(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _at(link, "raw_tracepoint", "tracepoint", target.tp_name, detail)


def _tracing(
    link: Link, target: Any, detail: str, names: Names, targets: AttachTargets
) -> list[Place]:
    hook = str(target.attach_type)
    object_id, type_id = target.target_obj_id or 0, target.target_btf_id or 0
    if target.prog_type == "ext" or names.is_for_program(link.prog_id):
        function = targets.function(object_id, type_id)
        words = [f"function {function}"] if function else []
        detail = " ".join([*words, detail] if detail else words)
        hook = "freplace" if target.prog_type == "ext" else hook
        return _at(link, hook, "prog", names.prog(object_id), detail)
    name = targets.name(object_id, type_id)
    return _at(link, hook, "tracepoint" if hook == "trace_raw_tp" else "function", name or "?",
               detail)  # fmt: skip


def _iter(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _at(link, "iter", "target", target.target_name, detail)


def _struct_ops(link: Link, target: Any, detail: str, names: Names, *_: Any) -> list[Place]:
    return _at(link, "struct_ops", "map", names.map(target.map_id), detail)


def _kprobe_multi(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    hook = "kretprobe.multi" if target.retprobe else "kprobe.multi"
    return _functions(link, hook, [row[2] for row in target.funcs or ()], detail)


def _tracing_multi(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _functions(link, str(target.attach_type), [row[3] for row in target.funcs], detail)


def _uprobe_multi(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    hook = "uretprobe.multi" if target.retprobe else "uprobe.multi"
    return [
        place
        for offset, _, _, _ in target.funcs
        for place in _at(link, hook, "file", f"{target.path}+{offset:#x}", detail)
    ]


def _kprobe(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    hook = "kretprobe" if target.retprobe else "kprobe"
    at = f"+{target.offset:#x}" if target.offset else ""
    return _at(link, hook, "function", (target.func or f"{target.addr:#x}") + at, detail)


def _uprobe(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    hook = "uretprobe" if target.retprobe else "uprobe"
    return _at(link, hook, "file", f"{target.file}+{target.offset:#x}", detail)


def _tracepoint(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _at(link, "tracepoint", "tracepoint", target.tp_name, detail)


def _perf_event(link: Link, target: Any, detail: str, *_: Any) -> list[Place]:
    return _at(link, "perf_event", "target", f"{target.type}:{target.config}", detail)


# By the classes of pybpftool.objects.links, which are imported where one of them is met.
_OF_TARGET: dict[str, Callable[..., list[Place]]] = {
    "Cgroup": _cgroup,
    "Device": _device,
    "Iter": _iter,
    "Kprobe": _kprobe,
    "KprobeMulti": _kprobe_multi,
    "Netfilter": _netfilter,
    "Netns": _netns,
    "PerfEvent": _perf_event,
    "RawTracepoint": _raw_tracepoint,
    "Sockmap": _sockmap,
    "StructOps": _struct_ops,
    "Tracepoint": _tracepoint,
    "Tracing": _tracing,
    "TracingMulti": _tracing_multi,
    "Uprobe": _uprobe,
    "UprobeMulti": _uprobe_multi,
}
