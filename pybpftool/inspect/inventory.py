"""What one kernel, live or recorded, has: programs, maps and links with their fields by name.

The fields are the keys of ``-j show``, with names in place of ids: what two kernels can be
compared by, and what a policy speaks of. Each is found when it is first asked for, so that
who wants little asks the kernel little.
"""

from __future__ import annotations

import zlib
from errno import ENOENT

from pybpftool.errors import BpfError, KernelError, VanishedError
from pybpftool.inspect.fields import FIELDS, OF_INFO
from pybpftool.inspect.owner import Owners
from pybpftool.inspect.places import Names, Places
from pybpftool.inspect.unknown import Hidden
from pybpftool.objects.attach_target import AttachTargets
from pybpftool.objects.map import MapReader
from pybpftool.objects.prog import ProgramReader
from pybpftool.uapi.bpf import BPF_PROG_INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.link import Link
    from pybpftool.objects.portable_code import CodeReader

    T = TypeVar("T")
    Elsewhere = dict[tuple[str, int], list[tuple[str, int, str]]]

KINDS = ("prog", "map", "link")
_ATTACH_BTF_END = 4 + next(at for name, at, _ in BPF_PROG_INFO if name == "attach_btf_obj_id")


class Item:
    """One object: ``record`` is its program, map or link, :meth:`get` gives its fields."""

    __slots__ = ("_found", "_inventory", "_obj", "id", "kind", "name", "record", "type")

    def __init__(
        self, inventory: Inventory, kind: str, obj: BpfObject, record: Any, name: str, type: str
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


class Inventory(Names):
    """The objects of one kernel. Raises KernelError where they may not be listed."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.reader = ProgramReader(kernel)
        self.owners = Owners(kernel)
        self.targets = AttachTargets(kernel)
        self._items: dict[str, dict[int, Item]] = {}
        self._held: dict[str, dict[int, list[tuple[int, str]]]] = {}
        self._pins: dict[str, dict[int, list[str]]] = {}
        self._elsewhere: tuple[Elsewhere, bool] | None = None
        self._places: Places | None = None
        self._code: CodeReader | None = None
        self._users: dict[int, list[Item]] | None = None
        self._links_of: dict[int, list[Item]] | None = None
        self._keys: dict[int, int] = {}
        self._owned: dict[tuple[str, int], tuple[str, ...]] = {}

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

    def comm(self, pid: int) -> str:
        """The name of a process, ``?`` where it has ended or may not be asked."""
        try:
            text = self.kernel.file(f"/proc/{pid}/comm")
        except BpfError:
            return "?"
        return text.decode("utf-8", "surrogateescape").removesuffix("\n")

    # --- what is asked for all objects together ---

    def held(self, kind: str) -> dict[int, list[tuple[int, str]]]:
        """Who holds the objects of a kind: id -> (pid, comm) of each process."""
        found = self._held.get(kind)
        if found is None:
            found = self._held[kind] = self.kernel.holders(kind)
        return found

    def pins(self, kind: str) -> dict[int, list[str]]:
        """The paths that objects of a kind are pinned at."""
        found = self._pins.get(kind)
        if found is None:
            found = self._pins[kind] = self.kernel.pinned(kind)
        return found

    def elsewhere(self) -> tuple[Elsewhere, bool]:
        """What other mount namespaces alone have pinned, and whether some may not be looked at.

        (kind, id) -> (path, pid, comm) of each pin, as :meth:`Kernel.pinned_elsewhere` tells
        them; nothing for a recording that was not asked.
        """
        if self._elsewhere is None:
            found: Elsewhere = {}
            is_refused = False
            try:
                rows, is_refused = self.kernel.pinned_elsewhere()
            except BpfError:
                if self.kernel.is_live:
                    raise
                rows = []
            for kind, id, path, pid, comm in rows:
                found.setdefault((kind, id), []).append((path, pid, comm))
            self._elsewhere = found, is_refused
        return self._elsewhere

    def owner_elsewhere(self, pid: int, comm: str, pin: str) -> str:
        """Whose a pin of another mount namespace is: of the unit or container that it is of.

        ``pin`` is ``pin:PATH``. A process without either may be in there by chance.
        """
        found = self.owners.of_process(pid, comm)
        return pin if found.startswith("comm:") else found

    @property
    def places(self) -> Places:
        """Where programs are attached."""
        if self._places is None:
            links: list[Link] = []
            refused: BpfError | None = None
            try:
                links = [item.record for item in self.items("link").values()]
            except BpfError as error:
                refused = error
            self._places = Places(self.kernel, links, self, self.targets)
            if refused is not None:
                self._places.refused.append(refused)
        return self._places

    @property
    def code(self) -> CodeReader:
        """Reads the instructions of programs."""
        if self._code is None:
            from pybpftool.objects.portable_code import CodeReader

            self._code = CodeReader(self.kernel, self.reader)
        return self._code

    def users(self, map_id: int) -> list[Item]:
        """The programs that use a map."""
        if self._users is None:
            self._users = {}
            for item in self.items("prog").values():
                for id in item.record.map_ids:
                    self._users.setdefault(id, []).append(item)
        return self._users.get(map_id, [])

    def links_of(self, prog_id: int) -> list[Item]:
        """The links of a program."""
        if self._links_of is None:
            self._links_of = {}
            for item in self.items("link").values():
                self._links_of.setdefault(item.record.prog_id, []).append(item)
        return self._links_of.get(prog_id, [])

    def owner(self, item: Item) -> tuple[str, ...]:
        """Whose an object is: who holds it, or the link or program it belongs to, or its pin."""
        key = item.kind, item.id
        found = self._owned.get(key)
        if found is None:
            found = self._owned[key] = self._owner(item, key)
        return found

    def _owner(self, item: Item, key: tuple[str, int]) -> tuple[str, ...]:
        holders = self.held(item.kind).get(item.id)
        found = self.owners.of(holders) if holders else ()
        if found:
            return found
        if item.kind == "prog":
            found = self._owner_of_all(self.links_of(item.id))
        elif item.kind == "map":
            found = self._owner_of_all(self.users(item.id))
        if found:
            return found
        pins = self.pins(item.kind).get(item.id)
        if pins:
            # One of two file systems at one place is seen twice, as upstream shows it.
            return tuple(sorted({f"pin:{path}" for path in pins}))
        rows = self.elsewhere()[0].get(key, ())
        words = {self.owner_elsewhere(pid, comm, f"pin:{path}") for path, pid, comm in rows}
        return tuple(sorted(words))

    def _owner_of_all(self, items: Iterable[Item]) -> tuple[str, ...]:
        return tuple(sorted({owner for item in items for owner in self.owner(item)}))
