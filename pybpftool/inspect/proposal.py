"""A policy that what is loaded fulfils: a beginning for people, small enough to review."""

from __future__ import annotations

from pybpftool.inspect.baseline import quoted
from pybpftool.inspect.policy import SCHEMA
from pybpftool.inspect.unknown import Hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.items import Item

GROWTH = "10%"
# Sections of an object file, which come and go with its programs.
_SECTIONS = (".rodata", ".data", ".bss", ".kconfig", ".percpu", ".maps", ".ksyms", ".arena")
# What services of the system load for themselves.
_SYSTEM = "unit:systemd-*"


def proposal(inventory: Inventory) -> str:
    """The text of a policy."""
    lines = [
        "# Proposed by `pybpftool check --write` from what is loaded on",
        f"# Linux {inventory.kernel.release} {inventory.kernel.machine}; see pybpftool-check(8).",
        f"schema = {SCHEMA}",
    ]
    ids: set[str] = set()
    progs = _groups(inventory, "prog")
    for items in progs:
        lines += _of_programs(items, ids)
    for items in _groups(inventory, "map"):
        if items[0].name and not items[0].name.endswith(_SECTIONS):
            lines += _of_maps(items, ids)
    names = [f"!{pattern(items[0].name)}" for items in progs if items[0].name]
    selector = f"name = {_list(names)}" if names else 'name = "*"'
    unnamed = ['""'] if any(not items[0].name for items in progs) else []
    lines += [
        "",
        "[[rule]]",
        f"id = {quoted(_unique('nothing-else', ids))}",
        f"prog = {{ {selector} }}",
        f"allow = {_list(['systemd', _SYSTEM])}",
        "count = 0" if not unnamed else f'count = "<= {sum(not i.name for g in progs for i in g)}"',
        'level = "warn"',
    ]
    return "\n".join(lines) + "\n"


def _groups(inventory: Inventory, kind: str) -> list[list[Item]]:
    """The objects of a kind, those of a name and type together; without the system's own."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in inventory.items(kind).values():
        if not _is_system(item):
            groups.setdefault((item.name, item.type), []).append(item)
    return [groups[key] for key in sorted(groups)]


def _is_system(item: Item) -> bool:
    owner = item.get("owner")
    if isinstance(owner, Hidden) or not owner:
        return False
    return all(word == "systemd" or word.startswith("unit:systemd-") for word in owner)


def _of_programs(items: list[Item], ids: set[str]) -> list[str]:
    first = items[0]
    name = f"name = {quoted(pattern(first.name))}, " if first.name else 'name = "", '
    lines = [
        "",
        "[[rule]]",
        f"id = {quoted(_unique(first.name or first.type, ids))}",
        f"prog = {{ {name}type = {quoted(first.type)} }}",
        f"count = {len(items)}",
    ]
    places = [item.get("places") for item in items]
    hooks = {place.hook for several in places for place in several}
    if all(places) and len(hooks) == 1:
        inside = [f"hook = {quoted(pattern(hooks.pop()))}"]
        targets = {(place.key, place.target, place.netns) for some in places for place in some}
        if len(targets) == 1:
            key, target, netns = targets.pop()
            inside += [f"{key} = {quoted(pattern(target))}"] if key else []
            inside += [f"netns = {quoted(pattern(netns))}"] if netns else []
        lines.append(f"attached = {{ {', '.join(inside)} }}")
    if all(isinstance(item.get("verified_insns"), int) for item in items):
        lines += ['verified_insns = "<= 90%"', f"grows = {quoted(GROWTH)}"]
    return lines


def _of_maps(items: list[Item], ids: set[str]) -> list[str]:
    first = items[0]
    lines = [
        "",
        "[[rule]]",
        f"id = {quoted(_unique(f'map-{first.name}', ids))}",
        f"map = {{ name = {quoted(pattern(first.name))}, type = {quoted(first.type)} }}",
        f"count = {len(items)}",
    ]
    for key in ("bytes_key", "bytes_value", "max_entries"):
        values = {item.get(key) for item in items}
        if len(values) == 1:
            lines.append(f"{key} = {values.pop()}")
    users = {item.get("used_by") for item in items if not isinstance(item.get("used_by"), Hidden)}
    if len(users) == 1:
        lines.append(f"used_by = {_list(sorted({pattern(one) for one in users.pop()}))}")
    return lines


def _list(words: list[str]) -> str:
    return "[" + ", ".join(map(quoted, words)) + "]"


def _unique(name: str, ids: set[str]) -> str:
    """An id made of a name."""
    plain = "".join([c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name])
    number = 1
    id = plain
    while id in ids:
        number += 1
        id = f"{plain}-{number}"
    ids.add(id)
    return id


def pattern(text: str) -> str:
    """A pattern that fits a text (as good as) alone."""
    parts = []
    for at, character in enumerate(text):
        if character in "*?[":
            parts.append(f"[{character}]")
        elif (character == "!" and not at) or "\ud800" <= character <= "\udfff":
            parts.append("?")  # what would forbid, and bytes that TOML cannot hold
        else:
            parts.append(character)
    return "".join(parts)
