"""Whether loaded programs are those of an object file."""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.unknown import Hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.items import Item
    from pybpftool.objects.provenance import ObjectTags


class Provenance:
    """Object files of one kernel's programs; each file is read once."""

    __slots__ = ("_inventory", "_read")

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._read: dict[str, ObjectTags] = {}

    def judge(self, item: Item, path: str) -> str | Hidden:
        """What is wrong, empty where the program is of the file; Hidden where it is unsure."""
        from pybpftool.objects.provenance import ObjectTags, Unsure

        try:
            tags = self._read.get(path)
            if tags is None:
                tags = self._read[path] = ObjectTags(path, self._inventory.kernel)
            if item.name not in tags.names:
                return f"no program '{item.name}' in it"
            expected = tags.of(item.name)
        except Unsure as error:
            return Hidden(f"its tag cannot be told: {error}")
        except BpfError as error:
            return Hidden(str(error))
        found = item.get("tag")
        return "" if found in expected else f"tag {found}, not {' or '.join(expected)}"
