"""What one kernel, live or recorded, has: programs, maps and links with their fields by name.

The fields are the keys of ``-j show``, with names in place of ids: what two kernels can be
compared by, and what a policy speaks of. Each is found when it is first asked for, so that
who wants little asks the kernel little.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.items import Items
from pybpftool.inspect.owner import Owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.inspect.all_places import Places
    from pybpftool.inspect.items import Item
    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.portable_code import PortableReader

    Elsewhere = dict[tuple[str, int], list[tuple[str, int, str]]]


class Inventory(Items):
    """The objects of one kernel, where they hang, and whose they are."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.owners = Owners(kernel)
        self._held: dict[str, dict[int, list[tuple[int, str]]]] = {}
        self._pins: dict[str, dict[int, list[str]]] = {}
        self._elsewhere: tuple[Elsewhere, bool] | None = None
        self._places: Places | None = None
        self._code: PortableReader | None = None
        self._users: dict[int, list[Item]] | None = None
        self._links_of: dict[int, list[Item]] | None = None
        self._owned: dict[tuple[str, int], tuple[str, ...]] = {}

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
            from pybpftool.inspect.all_places import Places

            self._places = Places(self)
        return self._places

    @property
    def code(self) -> PortableReader:
        """Reads the instructions of programs."""
        if self._code is None:
            from pybpftool.objects.kernel_symbols import SymbolSource
            from pybpftool.objects.portable_code import PortableReader

            self._code = PortableReader(self.kernel, self.reader, SymbolSource(self.kernel))
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
