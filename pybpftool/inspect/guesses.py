"""What may hold an object that nothing is seen to hold, where the kernel tells less than whole.

An open iterator keeps its program and the map that it walks over when the link is gone, and its
descriptor does not say which; a map whose values have timers or the like keeps the programs that
these call; memory of a process keeps the map that it is of.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.objects.map import calls_later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pybpftool.inspect.edge import Edge, Key
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.items import Item
    from pybpftool.kernel.interface import Kernel

ITERATOR_INODE = "bpf_iter"  # bpf_iter_new_fd() in kernel/bpf/bpf_iter.c, v5.8
_ITERATED = "bpf_iter_"  # how the kernel's functions for iterators begin
_USERS = ("pid", "pin")  # without these a map lets go of its timers

# bpf_iter_reg.attach_target of these: kernel/bpf/map_iter.c, net/core/{bpf_sk_storage,sock_map}.c
_WALKED = (
    *("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "array", "percpu_array"),
    *("sk_storage", "sockmap", "sockhash", "rhash"),
)
_MAPPED = ("arena", "ringbuf", "user_ringbuf")  # and arrays with this flag
_MMAPABLE = 1 << 10  # BPF_F_MMAPABLE

# They keep it when it is registered no longer: bpf_try_module_get() in include/linux/bpf.h.
USERS_OF_INTERFACES = "sockets with this congestion control, or qdiscs of this kind"

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
    "struct_ops": USERS_OF_INTERFACES,
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


def may_be_iterated(inventory: Inventory, item: Item) -> bool:
    """Whether an open iterator may be about this program or map."""
    if item.kind == "map":
        return item.type in _WALKED
    if item.type != "tracing":
        return False
    prog = item.record
    name = inventory.targets.name(prog.attach_btf_obj_id, prog.attach_btf_id) or ""
    return name.startswith(_ITERATED)


def iterators(kernel: Kernel) -> list[tuple[int, str]]:
    """The processes with an open iterator."""
    try:
        return kernel.holding(ITERATOR_INODE)
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


def in_memory(
    inventory: Inventory, up: Mapping[Key, list[Edge]]
) -> Iterator[tuple[int, int, str, str]]:
    """(map id, pid, comm, how) of processes with maps in their memory, but for such as have a
    descriptor of the map as well.

    Nobody is asked where each map that memory may be of has a process; ``up`` as above.
    """
    loose: dict[int, None] = {}
    for id, item in inventory.items("map").items():
        is_array = item.type == "array" and item.record.map_flags & _MMAPABLE
        if (is_array or item.type in _MAPPED) and all(
            edge.holder[0] != "pid" for edge in up.get(("map", id), ())
        ):
            loose[id] = None
    if not loose:
        return
    try:
        rows = inventory.kernel.mapped_maps()
    except BpfError:
        if inventory.kernel.is_live:
            raise
        return  # a recording that is older than the question
    for id, pid, comm in rows:
        if id in loose:
            yield id, pid, comm, "it is in its memory"
        elif not id:
            for unheld in loose:
                if not up.get(("map", unheld)):
                    yield unheld, pid, comm, "it has a map in its memory, maybe this one"
