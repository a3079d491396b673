"""What may hold a program that nothing is seen to hold, where the kernel tells less than whole.

An open iterator keeps its program when the link is gone, and its descriptor does not say which;
a map whose values have timers or the like keeps the programs that these call.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.objects.map import calls_later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pybpftool.inspect.edge import Edge, Key
    from pybpftool.inspect.inventory import Inventory, Item

ITERATOR_INODE = "bpf_iter"  # bpf_iter_new_fd() in kernel/bpf/bpf_iter.c, v5.8
_ITERATED = "bpf_iter_"  # how the kernel's functions for iterators begin
_USERS = ("pid", "pin")  # without these a map lets go of its timers

# What keeps programs of a type besides what can be looked at.
_BEYOND = {
    **dict.fromkeys(
        ("xdp", "sched_cls", "sched_act", "flow_dissector", "sk_lookup", "netfilter"),
        "a network namespace that no process, mount or descriptor leads to",
    ),
    **dict.fromkeys(
        ("cgroup_skb", "cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "cgroup_device",
         "cgroup_sysctl", "sock_ops"),
        "a cgroup that was removed while sockets of it are open",
    ),
    # xsk_map_node_alloc() in net/xdp/xskmap.c
    "xskmap": "a socket of AF_XDP that stands in it",
    # prog_array_map_clear() in kernel/bpf/arraymap.c: takes a reference for work that is
    # waiting already.  Seen with Linux 6.18.
    "prog_array": "the kernel until the next boot, which counts one reference too many where an"
    " array that only programs use is opened by its id and closed twice in a row",
}  # fmt: skip
ON_ITS_WAY = "a descriptor that io_uring keeps or that is on its way through a UNIX socket"


def beyond(type: str) -> str:
    """What may hold an object of a type where nothing can look."""
    place = _BEYOND.get(type, "")
    return f"{place}, or {ON_ITS_WAY}" if place else ON_ITS_WAY


def iterators_of(inventory: Inventory, item: Item) -> list[tuple[int, str]]:
    """The processes with an open iterator, if the program is one of iterators."""
    if item.type != "tracing":
        return []
    prog = item.record
    name = inventory.targets.name(prog.attach_btf_obj_id, prog.attach_btf_id) or ""
    if not name.startswith(_ITERATED):
        return []
    try:
        return inventory.kernel.holding(ITERATOR_INODE)
    except BpfError:
        return []  # a recording that is older than the question


def maps_that_call(
    inventory: Inventory, item: Item, up: Mapping[Key, list[Edge]], known: dict[int, bool]
) -> Iterator[int]:
    """The maps of a program that may call it later, and are in somebody's hands.

    ``up`` are the edges by what they hold; ``known`` keeps from one program to the next
    which maps have what calls.
    """
    for id in item.record.map_ids:
        map = inventory.items("map").get(id)
        holders = {edge.holder[0] for edge in up.get(("map", id), ())}
        if map is None or not holders.intersection(_USERS):
            continue
        if id not in known:
            known[id] = calls_later(map.record, inventory.kernel)
        if known[id]:
            yield id
