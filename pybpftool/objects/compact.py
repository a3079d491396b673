"""Programs, maps and links as compact JSON text, for listings of thousands.

Each function gives what :func:`pybpftool.output.jsontext.compact` makes of the record's
``json()``, in half of the time: by a template, without the dict between them. What is rare
goes the long way.
"""

from __future__ import annotations

from pybpftool.output.jsontext import compact, quote
from pybpftool.uapi.bpf import MAP_TYPES, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pybpftool.objects.link import Link
    from pybpftool.objects.map import Map
    from pybpftool.objects.prog import Program

_WORDS = ("false", "true")

# Forked processes hold the same: as a rule the next object has the very list of the one before.
_last_pids: list[Any] = [None, ""]


def prog_text(prog: Program) -> str:
    """One program."""
    # fmt: off
    (
        type, id, tag, jited, xlated, load_time, uid, _, name, ifindex, gpl, _, _, _, btf_id, _,
        run_time, _, misses, _, _, _, orphaned, _, loaded_at, memlock, map_ids, pinned, pids,
        metadata,
    ) = prog
    # fmt: on
    if ifindex or run_time or misses or metadata or type >= len(PROG_TYPES):
        return compact(prog.json())
    text = f'{{"id":{id},"type":"{PROG_TYPES[type]}",'
    if name:
        text += f'"name":{quote(name)},'
    text += f'"tag":"{tag}","gpl_compatible":{_WORDS[gpl]}'
    if load_time:
        text += f',"uid":{uid}' if loaded_at is None else f',"loaded_at":{loaded_at},"uid":{uid}'
    text += f',"orphaned":{_WORDS[orphaned]},"bytes_xlated":{xlated},"jited":'
    text += f'true,"bytes_jited":{jited}' if jited else "false"
    if memlock is not None:
        text += f',"bytes_memlock":{memlock}'
    if map_ids:
        text += f',"map_ids":{compact(map_ids)}'
    if btf_id:
        text += f',"btf_id":{btf_id}'
    return text + _end(pinned, pids)


def map_text(map: Map) -> str:
    """One map."""
    # fmt: off
    (
        type, id, key_size, value_size, max_entries, flags, name, ifindex, _, _, _, btf_id,
        _, _, _, _, memlock, frozen, owner, jited, _, pinned, pids,
    ) = map
    # fmt: on
    if ifindex or owner is not None or jited is not None or type >= len(MAP_TYPES):
        return compact(map.json())
    named = f'"name":{quote(name)},' if name else ""
    charged = "" if memlock is None else f',"bytes_memlock":{memlock}'
    btf = f',"btf_id":{btf_id}' if btf_id else ""
    return (
        f'{{"id":{id},"type":"{MAP_TYPES[type]}",{named}"flags":{flags},"bytes_key":{key_size},'
        f'"bytes_value":{value_size},"max_entries":{max_entries}{charged},'
        f'"frozen":{"1" if frozen else "0"}{btf}{_end(pinned, pids)}'
    )


def link_text(link: Link) -> str:
    """One link."""
    id, kind, prog_id, prog_name, target, pinned, holders = link
    if prog_name or kind.__class__ is not str or kind == "perf_event":
        return compact(link.json())
    details = "" if target is None else _target_text(kind, target)
    comma = "," if details else ""
    head = f'{{"id":{id},"type":"{kind}","prog_id":{prog_id}{comma}{details}'
    return head + _end(pinned, holders)


def _target_text(kind: str, target: Any) -> str:
    """The properties of what a link is attached to; machines have thousands of cgroup links."""
    if kind == "cgroup":
        cgroup_id, attach_type = target
        if attach_type.__class__ is str:
            return f'"cgroup_id":{cgroup_id},"attach_type":"{attach_type}"'
    return compact(target.json())[1:-1]


def _end(pinned: Sequence[str] | None, holders: Sequence[tuple[int, str]]) -> str:
    """The properties that all kinds end with, and the brace."""
    if pinned is not None:
        return f',"pinned":[{",".join([quote(path) for path in pinned])}]{_end(None, holders)}'
    if not holders:
        return "}"
    known, text = _last_pids
    if holders is not known:
        text = f',"pids":{compact([{"pid": pid, "comm": comm} for pid, comm in holders])}}}'
        _last_pids[:] = holders, text
    return str(text)


TEXTS: dict[str, Callable[[Any], str]] = {
    "prog": prog_text,
    "map": map_text,
    "link": link_text,
}
"""Kind of object -> the function for its records."""
