"""One place at which a program hangs, and the order in which places are told."""

from __future__ import annotations

from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Hooks of a device in the order in which a packet meets them: coming (what the peer of a netkit
# device sends comes first, netkit_xmit()), then going (__dev_queue_xmit() in net/core/dev.c: the
# qdiscs and classes of filters, which are not here, stand behind the hooks of the way out).
_DEVICE_ORDER = (
    *("netkit/peer", "xdp", "tcx/ingress", "clsact/ingress", "ingress"),
    *("tcx/egress", "clsact/egress", "", "netkit/primary"),
)
_XDP_ORDER = ("offload", "driver", "generic")
# Of a network namespace, then what is not bound to one.
_OTHER_ORDER = (
    *("flow_dissector", "netfilter", "sk_lookup", "cgroup_", "sk_", "xdp_", "struct_ops"),
    *("lsm", "trace_", "modify_return", "freplace", "kprobe", "kretprobe", "uprobe", "uretprobe"),
    *("tracepoint", "raw_tracepoint", "perf_event", "iter"),
)
_CGROUP_RANK = _OTHER_ORDER.index("cgroup_")
_ranks: dict[str, int] = {}  # of the hooks that were met, by _OTHER_ORDER
_NETFILTER_ORDER = ("prerouting", "input", "forward", "output", "postrouting")
_NETNS_HOOKS = ("flow_dissector", "sk_lookup")


class Attachment(Record):
    """One place of one program.

    ``key`` is what ``target`` is, one of :data:`pybpftool.inspect.places.KEYS`, empty where
    the hook says all. ``position`` counts the programs of a hook in the order in which they
    run; None where it takes one. ``netns`` is empty for our own network namespace.
    ``targets`` are the functions or places of a link of many, ``symbol`` what stands at the
    places in a file. ``holders`` is (pid, descriptor) of each task that keeps a perf event
    without a link. A link that is detached hangs nowhere: its target is empty.
    """

    hook: str
    key: str
    target: str
    prog_id: int
    prog_name: str = ""
    link_id: int = 0
    map_id: int = 0
    netns: str = ""
    position: int | None = None
    detail: str = ""
    symbol: str = ""
    targets: tuple[str, ...] = ()
    holders: tuple[tuple[int, int], ...] = ()
    is_detached: bool = False

    def place(self) -> str:
        """What the program hangs at, on one line."""
        if self.is_detached:
            return "detached"
        hook, word, target = self[:3]
        key = f"{word} " if word and word != hook else ""
        text = f"{key}{target}"
        if self.symbol:
            text = f"{key}{self.symbol} ({target})"
        if self.targets:
            what = "place" if word == "file" else word
            some = _some(self.targets)
            if self.symbol:
                some = f"{_some(tuple(self.symbol.split(', ')))} ({some})"
            text = f"{len(self.targets)} {what}s: {some}"
        return f"{text} netns {self.netns}".lstrip() if self.netns else text

    def text(self) -> str:
        """The hook and the place, without the program."""
        words = [self.hook, self.place()]
        if self.position is not None:
            words.append(f"position {self.position}")
        return " ".join([word for word in (*words, self.detail) if word])

    def json(self) -> dict[str, Any]:
        """The JSON properties."""
        json: dict[str, Any] = {"hook": self.hook}
        if self.key:
            json[self.key] = list(self.targets) if self.targets else self.target
        netns, position, detail, symbol = self[7:11]
        # In this order, those that there are; a machine may have thousands of places.
        if netns:
            json["netns"] = netns
        if position:
            json["position"] = position
        if symbol:
            json["symbol"] = symbol
        if detail:
            json["detail"] = detail
        if self.prog_id:
            json["prog_id"] = self.prog_id
        if self.prog_name:
            json["prog_name"] = self.prog_name
        if self.link_id:
            json["link_id"] = self.link_id
        if self.map_id:
            json["map_id"] = self.map_id
        if self.is_detached:
            json["detached"] = True
        if self.holders:
            json["descriptors"] = [{"pid": pid, "fd": fd} for pid, fd in self.holders]
        return json


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(words[:3]) + (", …" if len(words) > 3 else "")


def order(row: Attachment) -> tuple[object, ...]:
    """What sorts attachments: devices, cgroups and what else, as programs run."""
    if row.is_detached:
        return (3, row.hook, row.link_id)
    if row.key == "dev":
        known = row.hook in _DEVICE_ORDER
        rank = _DEVICE_ORDER.index(row.hook if known else "")
        mode = _XDP_ORDER.index(row.detail.split()[0]) if _mode_of(row) else 0
        return (0, row.netns, row.target, rank, row.hook, mode, row.position or 0, row.link_id)
    if row.hook.startswith("cgroup_"):
        return (1, _CGROUP_RANK, row.hook, row.target, row.position or 0, row.prog_id, row.link_id)
    rank = _ranks.get(row.hook, -1)
    if rank < 0:
        found = (n for n, hook in enumerate(_OTHER_ORDER) if row.hook.startswith(hook))
        rank = _ranks[row.hook] = next(found, 99)
    where: tuple[object, ...] = row.target, row.symbol
    if row.hook in _NETNS_HOOKS:
        where = row.netns, row.target
    elif row.hook.startswith("netfilter/"):
        _, family, hook = row.hook.split("/", 2)
        at = _NETFILTER_ORDER.index(hook) if hook in _NETFILTER_ORDER else len(_NETFILTER_ORDER)
        priority = int(row.detail.split()[1])
        return (1, rank, row.netns, family, at, hook, priority, row.prog_id, row.link_id)
    return (1, rank, row.hook, *where, row.position or 0, row.prog_id, row.link_id)


def _mode_of(row: Attachment) -> bool:
    return row.hook == "xdp" and row.detail.split()[:1] != [] and (
        row.detail.split()[0] in _XDP_ORDER
    )  # fmt: skip
