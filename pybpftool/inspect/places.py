"""A place where a program is attached, by names that another machine or another boot has, too.

A place is a hook and what it belongs to: ``tcx/ingress`` of the device ``eth0``,
``cgroup_inet_egress`` of the cgroup ``/system.slice``, ``kprobe`` of the function
``tcp_connect``. Of links it is told here by what they say themselves.
"""

from __future__ import annotations

from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.objects.attach_target import AttachTargets
    from pybpftool.objects.link import Link

KEYS = ("dev", "cgroup", "function", "tracepoint", "file", "netns", "map", "prog", "target")
"""What a hook can belong to."""


def hooks() -> list[str]:
    """The hooks by name, but for those of qdiscs that have classes and of newer kernels."""
    from pybpftool.uapi.bpf import ATTACH_TYPES, LINK_TYPES

    words = [word.replace("tcx_", "tcx/").replace("netkit_", "netkit/") for word in ATTACH_TYPES]
    words += [*ATTACH_TYPES, *LINK_TYPES, "clsact/ingress", "clsact/egress", "ingress", "root"]
    words += ["freplace", "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi"]
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
