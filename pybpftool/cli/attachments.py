"""``attachments``: every place of the machine at which a program hangs."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.inspect.attachment import Attachment
    from pybpftool.inspect.inventory import Inventory

HELP = """\
Usage: pybpftool attachments [OPTIONS]
       pybpftool attachments help

Every place at which a program hangs, each once: what 'link show', 'net show' in every
network namespace, 'cgroup tree' and 'perf show' tell, and struct_ops. Devices come
first, then cgroups, interfaces of the kernel, tracing and iterators; at one place
programs stand in the order in which they run.

Options:
       -j, -p, --json-lines   each place as JSON
       --columns NAMES        hook, target, position, prog_id, prog_name, link_id, detail,
                              owner; +NAME beside the usual ones, or all
       --sort [-]NAME, --filter TERMS, --color WHEN   as with --table

Exit status: 0, or 2 where some part could not be seen, which is named at the end.
"""


def run(ctx: Context, args: Args) -> None:
    """Run ``attachments``."""
    if args.accept("help"):
        ctx.show_help(HELP)
        return
    args.end()
    from pybpftool.cli.table import View
    from pybpftool.cli.unseen import tell_unseen
    from pybpftool.inspect.attachments import Attachments
    from pybpftool.inspect.inventory import Inventory

    view = View(ctx, "attachments")
    inventory = Inventory(ctx.kernel)
    found = Attachments(inventory, of_loaded=True)
    owners = _Owners(inventory, found.unseen)
    rows = [_row(each, owners) for each in found.rows]
    view.show([row.get for row in rows])
    tell_unseen(ctx, found.unseen)


class _Owners:
    """Whose attachments are: of the link, of the descriptors, or of the program."""

    __slots__ = ("_inventory", "_unseen")

    def __init__(self, inventory: Inventory, unseen: list[str]) -> None:
        self._inventory = inventory
        self._unseen = unseen

    def of(self, row: Attachment) -> tuple[str, ...]:
        """The owners, none where they cannot be told."""
        inventory = self._inventory
        try:
            if row.holders:
                pids = dict.fromkeys(pid for pid, _ in row.holders)
                return inventory.owners.of((pid, inventory.comm(pid)) for pid in pids)
            if row.link_id:
                item = inventory.items("link").get(row.link_id)
                owner = inventory.owner(item) if item is not None else ()
                if owner:
                    return owner
            for kind, id in (("map", row.map_id), ("prog", row.prog_id)):
                if not id:
                    continue
                item = inventory.items(kind).get(id)
                owner = inventory.owner(item) if item is not None else ()
                if owner:
                    return owner
        except BpfError as error:
            if str(error) not in self._unseen:
                self._unseen.append(str(error))
        return ()


def _row(row: Attachment, owners: _Owners) -> dict[str, Any]:
    json = row.json()
    json["target"] = row.place()
    owner = owners.of(row)
    if owner:
        json["owner"] = owner
    return json
