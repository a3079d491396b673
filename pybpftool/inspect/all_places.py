"""Where all programs are attached: what ``attachments`` tells, by names without ids.

Two kernels can be compared by them, and a policy speaks of them.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.attachments import Attachments
from pybpftool.inspect.places import Place, of_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.attachment import Attachment
    from pybpftool.inspect.items import Items


class Places:
    """All places of one kernel's programs, by names that another machine has, too.

    ``unseen`` holds a sentence for each part that could not be asked for: then a program may
    be attached where nobody could look.
    """

    __slots__ = ("_by_link", "_inventory", "by_prog", "unseen")

    def __init__(self, inventory: Items) -> None:
        self._inventory = inventory
        self.by_prog: dict[int, list[Place]] = {}
        self._by_link: dict[int, Place] = {}
        found = Attachments(inventory, of_loaded=True, names=False)
        self.unseen = found.unseen
        for row in found.rows:
            if not row.is_detached:
                self._add(row, found.portable_netns(row.netns))
        for places in self.by_prog.values():
            places.sort(key=_order)

    def of_link(self, id: int) -> Place | None:
        """The place of a link; None for one that the kernel tells nothing of."""
        return self._by_link.get(id)

    def _add(self, row: Attachment, netns: str) -> None:
        places = self._of_row(row, netns)
        if row.prog_id:
            self.by_prog.setdefault(row.prog_id, []).extend(places)
        if row.link_id and row.link_id not in self._by_link:
            if row.hook == "struct_ops":  # many programs, one map
                places = self._told_by_link(row.link_id)
            if places:
                self._by_link[row.link_id] = places[0]

    def _of_row(self, row: Attachment, netns: str) -> list[Place]:
        hook, key, target, prog_id, _, link_id, map_id, _, position, detail = row[:10]
        if key == "prog":
            return self._told_by_link(link_id)
        if key == "map":
            target = self._map(map_id)
        elif hook == "iter" or (key == "dev" and hook != "xdp"):
            detail = ""  # ids, and what a filter is called
        return [
            Place(prog_id, hook, key, each, position, netns, link_id, detail)
            for each in row.targets or (target,)
        ]

    def _told_by_link(self, id: int) -> list[Place]:
        inventory = self._inventory
        try:
            return of_link(inventory.items("link")[id].record, inventory, inventory.targets)
        except BpfError as error:
            if str(error) not in self.unseen:
                self.unseen.append(str(error))
            return []

    def _map(self, id: int) -> str:
        try:
            return self._inventory.map(id)
        except BpfError:
            return "?"


def _order(place: Place) -> tuple[object, ...]:
    return place.hook, place.key, place.target, place.netns, place.position or 0
