"""The elements of one map at two moments."""

from __future__ import annotations

from pybpftool.errors import BpfError, CutMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.items import Item
    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.open_map import OpenMap


def element_diff(old_kernel: Kernel, old: Item, new_kernel: Kernel, new: Item) -> list[str] | str:
    """A line for each element that came, went or changed; a sentence where it cannot be told."""
    from pybpftool.objects.open_map import OpenMap

    if old.record.traits.is_queue or not old.record.traits.order:
        return []  # elements that cannot be listed
    try:
        with OpenMap.by_id(old.id, old_kernel) as before, OpenMap.by_id(new.id, new_kernel) as now:
            return _lines(before, now)
    except CutMap:  # told once for all maps
        return "a snapshot keeps only a part of them, or none"
    except BpfError as error:
        return f"its elements cannot be compared: {error}"


def find_element(kernel: Kernel, item: Item, key: str, value: str | None) -> str | None:
    """None where a map has an element as described; else what it has instead.

    Members of the value that are not named may have any value. Raises BpfError where the
    description does not fit the map, or the map cannot be read.
    """
    from pybpftool.objects.open_map import OpenMap

    with OpenMap.by_id(item.id, kernel) as map:
        wanted_key, _ = map.pattern(key, is_key=True)
        raw = wanted_key.to_bytes(map.info.key_size, "little")
        try:
            found = map.raw[raw]
        except KeyError:
            return "no such element"
        if value is None:
            return None
        wanted, mask = map.pattern(value)
        values = found if isinstance(found, list) else [found]
        if any((int.from_bytes(one, "little") ^ wanted) & mask == 0 for one in values):
            return None
        return _value(map, found)


def _lines(before: OpenMap, now: OpenMap) -> list[str]:
    old = dict(before.raw.items())
    lines = []
    for key, value in now.raw.items():
        if key not in old:
            lines.append(f"+ {_key(now, key)} = {_value(now, value)}")
            continue
        was = old.pop(key)
        if was != value:
            lines.append(f"~ {_key(now, key)} = {_value(before, was)} → {_value(now, value)}")
    gone = [f"- {_key(before, key)} = {_value(before, value)}" for key, value in old.items()]
    return gone + lines


def _key(map: OpenMap, key: bytes) -> str:
    return f"[{_text(map.decode_key(key))}]"


def _value(map: OpenMap, value: bytes | list[bytes]) -> str:
    if isinstance(value, list):
        return _text([map.decode(one) for one in value])
    return _text(map.decode(value))


def _text(value: Any) -> str:
    from pybpftool.output.jsontext import compact

    try:
        return value.hex(" ") if isinstance(value, bytes) else compact(value)
    except TypeError:
        return str(value)
