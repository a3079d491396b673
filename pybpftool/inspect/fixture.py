"""What the pytest fixture ``bpf`` gives: objects by name, and where they are attached.

Fields have the names of a policy's keys, and one that cannot be told is an error, never a pass;
:class:`pybpftool.Host` is for all other programs.

>>> bpf = Bpf(LiveKernel())
>>> assert bpf.prog("count_flows").attached_to(dev="eth0", hook="tcx/ingress")
>>> with bpf.counting("packets", 0) as count:
...     send_three_packets()
>>> assert count.delta == 3
"""

from __future__ import annotations

from pybpftool.errors import BpfError, NotFoundError
from pybpftool.inspect.calls import names_of
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.items import Item
from pybpftool.inspect.places import KEYS
from pybpftool.inspect.unknown import Hidden, TooOld
from pybpftool.inspect.wording import glob, nearest, shown, value_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.places import Place
    from pybpftool.kernel.interface import Kernel


class Object:
    """A program, map or link: its fields are attributes, by the names of a policy's keys.

    A field that the kernel hides or is too old to tell raises BpfError.
    """

    def __init__(self, inventory: Inventory, item: Item) -> None:
        self._inventory = inventory
        self._item = item
        self.id = item.id
        self.kind = item.kind
        self.name = item.name
        self.type = item.type

    def __getattr__(self, field: str) -> Any:
        if field.startswith("_"):
            raise AttributeError(field)
        from pybpftool.inspect.fields import FIELDS

        known = FIELDS[self._item.kind]
        if field not in known:
            raise AttributeError(f"a {self.kind} has no field '{field}'{nearest(field, known)}")
        return self._told(field)

    def _told(self, field: str) -> Any:
        value = self._item.get(field)
        if isinstance(value, (Hidden, TooOld)):
            raise BpfError(f"{field} of {self!r} cannot be told: {value}")
        return value

    def __repr__(self) -> str:
        places = ""
        if self.kind != "map":
            texts = value_text(self._item.get("attached"))
            places = f" at {texts}" if texts != "none" else ""
        return f"<{shown(self._item.label())} {self.id}{places}>"

    def attached_to(self, **place: object) -> bool:
        """Whether it is attached at such a place: ``hook``, ``dev``, ``cgroup``, ``position``, ….

        Texts are patterns. Without any, whether it is attached anywhere.
        """
        known = ("hook", *KEYS, "position")
        for key in place:
            if key not in known:
                raise TypeError(f"a place has no '{key}'{nearest(key, known)}")
        if self.kind == "link":
            found = self._inventory.places.of_link(self.id)
            places = [] if found is None else [found]
        else:
            places = self._item.get("places")
        if any(_is_at(one, place) for one in places):
            return True
        unseen = self._inventory.places.unseen
        if unseen:
            raise BpfError(f"where {self!r} is attached cannot be told: {unseen[0]}")
        return False

    def calls(self, *functions: str) -> bool:
        """Whether a program calls one of these helpers or kfuncs (patterns)."""
        called = self._told("calls")
        names = [name for function in called for name in names_of(function)]
        return any(glob(pattern, name) for pattern in functions for name in names)


def _is_at(place: Place, wanted: dict[str, object]) -> bool:
    for key, word in wanted.items():
        if key == "position":
            if place.position != word:
                return False
        elif key == "hook":
            hooks = (place.hook, place.hook.replace("/", "_"))
            if not any(glob(str(word), hook) for hook in hooks):
                return False
        elif key == "netns":
            if not glob(str(word), place.netns):
                return False
        elif place.key != key or not glob(str(word), place.target):
            return False
    return True


class Count:
    """How much a counter grew: :attr:`delta` since the beginning, to the end once there is one."""

    def __init__(self, host: Bpf, map: int, key: object, member: str | None) -> None:
        self._host = host
        self._map = map
        self._key = key
        self._member = member
        self.before = self._read()
        self.after: int | None = None

    def _read(self) -> int:
        from pybpftool.objects.open_map import OpenMap

        with OpenMap.by_id(self._map, self._host.kernel) as map:
            try:
                value = map[self._key]
            except KeyError:
                return 0  # an element that the program has yet to make
            order = map.byteorder
        values = value if isinstance(value, list) else [value]
        return sum(self._number(one, order) for one in values)

    def _number(self, value: Any, order: Any) -> int:
        if self._member is not None:
            for name in self._member.split("."):
                value = value[name]
        if isinstance(value, bytes):
            return int.from_bytes(value, order)
        if not isinstance(value, int):
            raise BpfError(f"{value!r} is not a number; say which member counts: member='packets'")
        return value

    @property
    def delta(self) -> int:
        """How much it grew."""
        return (self._read() if self.after is None else self.after) - self.before

    def __enter__(self) -> Count:
        return self

    def __exit__(self, *exception: object) -> None:
        self.after = self._read()

    def __repr__(self) -> str:
        return f"<Count {self.delta:+}>"


class Bpf:
    """The objects of one kernel, as they are when they are asked for."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def inventory(self) -> Inventory:
        """All objects as they are now."""
        return Inventory(self.kernel)

    def _all(self, kind: str, name: str | None, fields: dict[str, object]) -> list[Object]:
        from pybpftool.inspect.fields import FIELDS

        known = {"id", "kind", "name", "type", *FIELDS[kind]}
        for field in fields:
            if field not in known:
                raise TypeError(f"a {kind} has no field '{field}'{nearest(field, sorted(known))}")
        inventory = self.inventory()
        found = [Object(inventory, item) for item in inventory.items(kind).values()]
        if name is not None:
            found = [one for one in found if glob(name, one.name)]
        return [one for one in found if all(_has(one, *pair) for pair in fields.items())]

    def progs(self, name: str | None = None, **fields: object) -> list[Object]:
        """The programs of a name (a pattern) and with these fields."""
        return self._all("prog", name, fields)

    def maps(self, name: str | None = None, **fields: object) -> list[Object]:
        """The maps, likewise."""
        return self._all("map", name, fields)

    def links(self, **fields: object) -> list[Object]:
        """The links with these fields."""
        return self._all("link", None, fields)

    def prog(self, name: str, **fields: object) -> Object:
        """The only program of a name; NotFoundError where there is none, or several."""
        return self._one("prog", name, fields)

    def map(self, name: str, **fields: object) -> Object:
        """The only map of a name, likewise."""
        return self._one("map", name, fields)

    def _one(self, kind: str, name: str, fields: dict[str, object]) -> Object:
        found = self._all(kind, name, fields)
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFoundError(f"{len(found)} {kind}s are '{name}'", found)
        known = [one.name for one in self._all(kind, None, {}) if one.name]
        raise NotFoundError(f"no {kind} is '{name}'{nearest(name, known)}")

    def counting(self, map: object, key: object, member: str | None = None) -> Count:
        """Counts by the element at ``key`` of a map (its name, id, or one of :meth:`maps`).

        Values of all CPUs are added up; ``member`` names the one of a struct that counts.
        """
        if isinstance(map, str):
            map = self.map(map)
        id = map if isinstance(map, int) else getattr(map, "id", None)
        if not isinstance(id, int):
            raise TypeError(f"{map!r} is not a map")
        return Count(self, id, key, member)


def _has(one: Object, field: str, wanted: object) -> bool:
    value = getattr(one, field)
    if isinstance(wanted, str):
        words = value if isinstance(value, tuple) else (value,)
        return any(glob(wanted, str(word)) for word in words)
    return bool(value == wanted)
