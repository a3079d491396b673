"""What one kernel, live or recorded, has: programs, maps and links, listed when first asked for."""

from __future__ import annotations

import zlib
from errno import ENOENT

from pybpftool.errors import BpfError, KernelError, VanishedError
from pybpftool.inspect.fields import FIELDS, OF_INFO
from pybpftool.inspect.places import Names
from pybpftool.inspect.unknown import Hidden
from pybpftool.objects.attach_target import AttachTargets
from pybpftool.objects.map import MapReader
from pybpftool.objects.prog import ProgramReader
from pybpftool.uapi.bpf import BPF_PROG_INFO, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from pybpftool.kernel.interface import BpfObject, Kernel

    T = TypeVar("T")

KINDS = ("prog", "map", "link")
_ATTACH_BTF_END = 4 + next(at for name, at, _ in BPF_PROG_INFO if name == "attach_btf_obj_id")


class Item:
    """One object: ``record`` is its program, map or link, :meth:`get` gives its fields."""

    __slots__ = ("_found", "_inventory", "_obj", "id", "kind", "name", "record", "type")

    def __init__(
        self, inventory: Items, kind: str, obj: BpfObject, record: Any, name: str, type: str
    ) -> None:
        self._inventory = inventory
        self._found: dict[str, Any] = {}
        self.kind = kind
        self._obj = obj
        self.record = record
        self.id: int = record.id
        self.name = name
        self.type = type

    def get(self, field: str) -> Any:
        """A field's value; None where there is none, :class:`Hidden`, or :class:`TooOld`
        (both of :mod:`pybpftool.inspect.unknown`)."""
        found = self._found
        if field not in found:
            if self._obj.orphaned and field in OF_INFO:
                found[field] = Hidden("the network device that it was offloaded to is gone")
                return found[field]
            found[field] = FIELDS[self.kind][field](self._inventory, self)
        return found[field]

    @property
    def tells_target(self) -> bool:
        """Whether the kernel tells the BTF object of the function that a program is made for."""
        return len(self._obj.info) >= _ATTACH_BTF_END

    def asked(self, ask: Callable[[BpfObject], T]) -> T:
        """What an open object answers: a listing closes each before the next one.

        Raises KernelError, for one that is gone VanishedError.
        """
        kernel = self._inventory.kernel
        if not kernel.is_live:
            return ask(self._obj)
        try:
            obj = kernel.open(self.kind, self.id)
        except KernelError as error:
            if error.errno == ENOENT:
                raise VanishedError(str(error), ENOENT) from None
            raise
        try:
            return ask(obj)
        finally:
            kernel.close(obj)

    def label(self) -> str:
        """``prog xdp drop_bogons``: what a person calls it."""
        return " ".join(word for word in (self.kind, self.type, self.name) if word)

    def command(self) -> str:
        """The command that shows more of it."""
        return f"pybpftool {self.kind} show id {self.id}"


class Items(Names):
    """The objects of one kernel, and what they are called. Raises KernelError where they may not
    be listed.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.reader = ProgramReader(kernel)
        self.targets = AttachTargets(kernel)
        self._items: dict[str, dict[int, Item]] = {}
        self._prog_types: dict[int, str] | None = None
        self._keys: dict[int, int] = {}

    # --- objects ---

    def items(self, kind: str) -> dict[int, Item]:
        """The objects of a kind by id."""
        found = self._items.get(kind)
        if found is None:
            read = {"prog": self._programs, "map": self._maps, "link": self._links}[kind]
            found = self._items[kind] = {item.id: item for item in read()}
        return found

    def _programs(self) -> Iterable[Item]:
        read = self.reader.read
        for obj in self.kernel.objects("prog"):
            try:
                prog = read(obj)
            except VanishedError:
                continue
            type = prog.type_name or f"type {prog.type}"
            yield Item(self, "prog", obj, prog, prog.name, type)

    def _maps(self) -> Iterable[Item]:
        read = MapReader(self.kernel).read
        for obj in self.kernel.objects("map"):
            map = read(obj)
            yield Item(self, "map", obj, map, map.name, map.type_name or f"type {map.type}")

    def _links(self) -> Iterable[Item]:
        from pybpftool.objects.link import LinkReader

        reader = LinkReader(self.kernel, held={})
        for obj in self.kernel.objects("link"):
            try:
                link = reader.read(obj)
            except VanishedError:
                continue
            type = link.type if isinstance(link.type, str) else f"type {link.type}"
            yield Item(self, "link", obj, link, "", type)

    def prog_types(self) -> dict[int, str]:
        """The types of all programs by their ids, of which nothing else is read."""
        if "prog" in self._items:
            return {id: item.type for id, item in self._items["prog"].items()}
        if self._prog_types is None:
            order: Any = "little" if self.kernel.byteorder == "<" else "big"
            types = {}
            for obj in self.kernel.objects("prog"):
                number = int.from_bytes(obj.info[:4], order)
                known = number < len(PROG_TYPES)
                types[obj.id] = PROG_TYPES[number] if known else f"type {number}"
            self._prog_types = types
        return self._prog_types

    # --- names ---

    def prog(self, id: int) -> str:
        item = self.items("prog").get(id)
        return "?" if item is None else item.name or item.type

    def map(self, id: int) -> str:
        item = self.items("map").get(id)
        return "?" if item is None else item.name or item.type

    def is_for_program(self, id: int) -> bool:
        item = self.items("prog").get(id)
        # Once it is linked, a program that is made for another one names no BTF (its target
        # is the link's matter then), one for the kernel goes on to. Told since v6.0.
        return item is not None and item.type == "tracing" and item.tells_target and (
            not item.record.attach_btf_obj_id
        )  # fmt: skip

    def map_key(self, id: int) -> int:
        """A number that stands for a map's name and type."""
        key = self._keys.get(id)
        if key is None:
            item = self.items("map").get(id)
            text = "?" if item is None else f"{item.name}\0{item.type}"
            key = self._keys[id] = zlib.crc32(text.encode("utf-8", "surrogateescape"))
        return key


class ShownNames(Names):
    """Names for who can look up ids: what has no name is told by its type and its id.

    What may not be listed has none.
    """

    __slots__ = ("_inventory",)

    def __init__(self, inventory: Items) -> None:
        self._inventory = inventory

    def _item(self, kind: str, id: int) -> Item | None:
        try:
            return self._inventory.items(kind).get(id)
        except BpfError:
            return None

    def _text(self, kind: str, id: int) -> str:
        item = self._item(kind, id)
        return str(id) if item is None else item.name or f"{item.type} {id}"

    def prog(self, id: int) -> str:
        return self._text("prog", id)

    def map(self, id: int) -> str:
        return self._text("map", id)

    def is_for_program(self, id: int) -> bool:
        return self._item("prog", id) is not None and self._inventory.is_for_program(id)

    def name(self, prog_id: int) -> str:
        """The name or type of a program alone; empty where it is not listed."""
        item = self._item("prog", prog_id)
        return "" if item is None else item.name or item.type
