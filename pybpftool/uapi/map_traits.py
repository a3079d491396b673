"""What sets the map types of Linux apart, one row a type.

Numbers and names are those of ``enum bpf_map_type`` (:data:`pybpftool.uapi.bpf.MAP_TYPES`);
a type without a row is like :data:`PLAIN`. Written by hand from ``kernel/bpf/`` of Linux,
where ``struct bpf_map_ops`` of each type says what it can do.
"""

from __future__ import annotations

from pybpftool.records import Record
from pybpftool.uapi.bpf import MAP_TYPES

BY_BUCKET = "bucket"
"""Keys come bucket by bucket: a key that is gone sends the listing back to its start."""
BY_INDEX = "index"
"""Keys are indexes, in ascending order."""
BY_PREFIX = "prefix"
"""Keys are prefixes of addresses, longer ones before what they are a part of."""


class MapTraits(Record):
    """One row: what holds for the maps of a type."""

    order: str = ""
    """In which order ``BPF_MAP_GET_NEXT_KEY`` lists keys; empty where there is none."""
    lists_all_slots: bool = False
    """All keys up to ``max_entries`` are listed, whether there is a value or not."""
    has_batch: bool = False
    """Whether the type has ``BPF_MAP_LOOKUP_BATCH`` (since Linux 5.6, tries since 5.8)."""
    is_per_cpu: bool = False
    """An element has a value for each possible CPU."""
    holds: str = ""
    """``map`` or ``prog``: values are such objects, written as file descriptors, read as ids."""
    skips_empty: bool = False
    """A slot without a value counts as absent: a look-up says ENOENT."""
    ends_at_gap: bool = False
    """Asking for the key after one that is gone says ENOENT, as at the end."""
    is_queue: bool = False
    """Elements have no keys; a look-up gives the next one."""
    cookie_size: int = 0
    """If not 0, only values of this size can be read, as cookies of sockets."""


PLAIN = MapTraits()

_ROWS = {
    # kernel/bpf/hashtab.c
    "hash": MapTraits(BY_BUCKET, has_batch=True),
    "lru_hash": MapTraits(BY_BUCKET, has_batch=True),
    "percpu_hash": MapTraits(BY_BUCKET, has_batch=True, is_per_cpu=True),
    "lru_percpu_hash": MapTraits(BY_BUCKET, has_batch=True, is_per_cpu=True),
    "hash_of_maps": MapTraits(BY_BUCKET, has_batch=True, holds="map", skips_empty=True),
    # kernel/bpf/arraymap.c
    "array": MapTraits(BY_INDEX, lists_all_slots=True, has_batch=True),
    "percpu_array": MapTraits(BY_INDEX, lists_all_slots=True, has_batch=True, is_per_cpu=True),
    "array_of_maps": MapTraits(
        BY_INDEX, lists_all_slots=True, has_batch=True, holds="map", skips_empty=True
    ),
    "prog_array": MapTraits(BY_INDEX, lists_all_slots=True, holds="prog", skips_empty=True),
    "perf_event_array": MapTraits(BY_INDEX, lists_all_slots=True),
    "cgroup_array": MapTraits(BY_INDEX, lists_all_slots=True),
    # kernel/bpf/lpm_trie.c
    "lpm_trie": MapTraits(BY_PREFIX, has_batch=True),
    # kernel/bpf/stackmap.c, devmap.c, cpumap.c, net/core/sock_map.c, net/xdp/xskmap.c
    "stack_trace": MapTraits(BY_INDEX),
    "devmap": MapTraits(BY_INDEX, lists_all_slots=True),
    "cpumap": MapTraits(BY_INDEX, lists_all_slots=True),
    "sockmap": MapTraits(BY_INDEX, lists_all_slots=True),
    "xskmap": MapTraits(BY_INDEX, lists_all_slots=True),
    # kernel/bpf/reuseport_array.c: bpf_fd_reuseport_array_lookup_elem() wants eight bytes.
    "reuseport_sockarray": MapTraits(BY_INDEX, lists_all_slots=True, cookie_size=8),
    # kernel/bpf/local_storage.c: cgroup_storage_get_next_key()
    "cgroup_storage": MapTraits(ends_at_gap=True),
    "percpu_cgroup_storage": MapTraits(is_per_cpu=True, ends_at_gap=True),
    # kernel/bpf/queue_stack_maps.c
    "queue": MapTraits(is_queue=True),
    "stack": MapTraits(is_queue=True),
}

TRAITS = {MAP_TYPES.index(name): row for name, row in _ROWS.items()}
"""The rows by number of the type."""


def traits_of(type: int) -> MapTraits:
    """The row of a map type, whether it is known or not."""
    return TRAITS.get(type, PLAIN)
