"""What is different between two kernels, or between two moments of one."""

from __future__ import annotations

from operator import attrgetter

from pybpftool.errors import BpfError
from pybpftool.inspect.identity import match, ordinals
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.items import KINDS, Item
from pybpftool.inspect.unknown import Hidden, TooOld
from pybpftool.inspect.wording import counted, glob, shown, value_json, value_text
from pybpftool.objects.portable_code import hides_callees
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.objects.portable_code import Line

COMPARED: dict[str, tuple[str, ...]] = {
    "prog": (
        "attached",
        "attach_to",
        "pinned",
        "owner",
        "gpl_compatible",
        "btf",
        "maps",
        "code",
        "verified_insns",
        "subprograms",
        "bytes_xlated",
        "bytes_jited",
        "bytes_memlock",
    ),
    "map": (
        "flags",
        "bytes_key",
        "bytes_value",
        "max_entries",
        "map_extra",
        "frozen",
        "btf",
        "value_type",
        "used_by",
        "pinned",
        "owner",
        "bytes_memlock",
        "frozen_content",
    ),
    "link": ("prog", "attached", "detail", "pinned", "owner"),
}
"""The fields that are compared, in the order in which they are shown."""

# What is the same for most pairs is compared at one blow: kind -> attributes of the record, and
# the fields that they are. A value that is zero or None may be hidden and is looked at alone.
_AT_ONCE: dict[str, tuple[Callable[[Any], tuple[Any, ...]], frozenset[str]]] = {
    "prog": (
        attrgetter("xlated_prog_len", "memlock", "gpl_compatible", "btf_id"),
        frozenset(("bytes_xlated", "bytes_memlock", "gpl_compatible", "btf")),
    ),
    "map": (
        attrgetter(
            "memlock", "key_size", "value_size", "max_entries", "map_flags", "map_extra",
            "frozen", "btf_id",
        ),
        frozenset(
            ("bytes_memlock", "bytes_key", "bytes_value", "max_entries", "flags", "map_extra",
             "frozen", "btf")
        ),
    ),
    "link": (attrgetter("prog_name"), frozenset()),
}  # fmt: skip
_SURE = {"prog": 2, "map": 1, "link": 0}

_UNKNOWN = (Hidden, TooOld)
_HIDDEN_CALLEES = "the kernel does not show what its instructions call"

# What another kernel makes of the same program.
_OF_ONE_KERNEL = frozenset(("bytes_jited", "bytes_memlock"))


class Options(Record):
    """What to compare."""

    only: tuple[str, ...] = KINDS
    ignore: tuple[str, ...] = ()
    owner: str = ""
    code: bool = False
    elements: bool = False


class FieldChange(Record):
    """A field that is not what it was."""

    name: str
    old: Any
    new: Any

    def text(self) -> str:
        """``max_entries 1024 → 4096``; of lists what came and went."""
        old, new = self.old, self.new
        if isinstance(old, tuple) and isinstance(new, tuple):
            gone, come = _without(old, new), _without(new, old)
            if old and new and (gone or come):
                parts = [f"-{value_text(one)}" for one in gone]
                return f"{self.name} " + " ".join(
                    [*parts, *(f"+{value_text(one)}" for one in come)]
                )
        return f"{self.name} {value_text(old)} → {value_text(new)}"


class Change(Record):
    """An object that came (``old`` is None), went (``new`` is None), or is not what it was."""

    old: Item | None
    new: Item | None
    fields: list[FieldChange]
    number: int
    """Which of several twins it is, 0 for one that has none."""
    code: list[str]
    """The instruction diff, where it was asked for."""
    elements: list[str]
    """The elements that changed, where they were asked for."""

    @property
    def item(self) -> Item:
        """The object, as it is or as it was."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found

    @property
    def mark(self) -> str:
        """``+``, ``-`` or ``~``."""
        return "+" if self.old is None else "-" if self.new is None else "~"

    def label(self) -> str:
        """What the object is called."""
        item = self.item
        name = item.name
        if item.kind == "link":
            name = " ".join(filter(None, (item.get("prog"), "at " + _place_of(item))))
        words = [item.kind, item.type, name, f"#{self.number}" if self.number else ""]
        return " ".join(filter(None, words))

    def text(self) -> str:
        """The line of the object, and those of its code and elements."""
        item = self.item
        if self.mark == "~":
            rest = "; ".join(field.text() for field in self.fields)
        elif item.kind == "link":
            rest = ""
        else:
            shown_fields = ("attached", "owner") if item.kind == "prog" else ("used_by", "owner")
            values = [(name, item.get(name)) for name in shown_fields]
            rest = "; ".join(
                [
                    f"{name} {value_text(value)}"
                    for name, value in values
                    if value and not isinstance(value, Hidden)
                ]
            )
        ids = f"id {item.id}" if self.mark != "~" else ""
        head = f"{self.mark} {shown(self.label())}"
        text = ": ".join(filter(None, (head, "; ".join(filter(None, (ids, rest)))))) + "\n"
        return text + "".join(f"    {shown(line)}\n" for line in (*self.code, *self.elements))

    def json(self) -> dict[str, Any]:
        """The JSON object of the change."""
        item = self.item
        change = {"+": "added", "-": "removed", "~": "changed"}[self.mark]
        json: dict[str, Any] = {"change": change, "kind": item.kind, "type": item.type}
        if item.name:
            json["name"] = item.name
        if item.kind == "link":
            json["prog"] = item.get("prog")
            json["attached"] = item.get("attached")
        if self.number:
            json["ordinal"] = self.number
        if self.old is not None:
            json["old_id"] = self.old.id
        if self.new is not None:
            json["new_id"] = self.new.id
        if self.fields:
            json["fields"] = {
                field.name: {"old": value_json(field.old), "new": value_json(field.new)}
                for field in self.fields
            }
        if self.mark != "~":
            json["owner"] = value_json(item.get("owner"))
            if item.kind == "prog":
                json["attached"] = value_json(item.get("attached"))
        if self.code:
            json["code"] = self.code
        if self.elements:
            json["elements"] = self.elements
        return json


def _place_of(item: Item) -> str:
    return item.get("attached") or "nothing"


class Difference:
    """All changes from one kernel to another; ``unknown`` says what could not be compared."""

    def __init__(self, old: Inventory, new: Inventory, options: Options) -> None:
        self.changes: list[Change] = []
        self._unknown: dict[tuple[str, str], list[str]] = {}
        self.same = 0
        self._names: dict[tuple[str, frozenset[str]], list[str]] = {}
        self._old = old
        self._new = new
        self._options = options
        kernels = old.kernel, new.kernel
        self._is_one_build = (
            len({(kernel.release, kernel.machine, kernel.byteorder) for kernel in kernels}) == 1
        )
        for kind in options.only:
            self._compare(kind)

    @property
    def counts(self) -> dict[str, int]:
        """How many objects were added, removed, changed, and are the same."""
        marks = [change.mark for change in self.changes]
        return {
            "added": marks.count("+"),
            "removed": marks.count("-"),
            "changed": marks.count("~"),
            "same": self.same,
            "unknown": len(self.unknown),
        }

    @property
    def unknown(self) -> list[str]:
        """A sentence for each field and reason that kept some objects from being compared."""
        sentences = []
        for (field, reason), labels in self._unknown.items():
            some = labels[0]
            if len(labels) > 1:
                some += f" and {counted(len(labels) - 1, 'other object')}"
            sentences.append(f"{some}: {field}: {shown(reason)}")
        return sentences

    def _note(self, item: Item, field: str, reason: str) -> None:
        self._unknown.setdefault((field, reason), []).append(shown(item.label()))

    def _items(self, inventory: Inventory, kind: str) -> list[Item]:
        items = list(inventory.items(kind).values())
        owner = self._options.owner
        if owner:
            items = [item for item in items if self._is_owned(item, owner)]
        return items

    def _is_owned(self, item: Item, owner: str) -> bool:
        found = item.get("owner")
        if isinstance(found, Hidden):
            self._note(item, "owner", str(found))
            return False
        return any(glob(owner, one) for one in found)

    def _compare(self, kind: str) -> None:
        try:
            old, new = self._items(self._old, kind), self._items(self._new, kind)
        except BpfError as error:
            self._unknown[kind, str(error)] = [f"all {kind}s"]
            return
        pairs, gone, come = match(kind, old, new)
        numbers, numbers_before = ordinals(new), ordinals(old)
        for item in gone:
            number = numbers_before.get(item.id, 0)
            self.changes.append(Change(item, None, [], number, [], []))
        for item in come:
            self.changes.append(Change(None, item, [], numbers.get(item.id, 0), [], []))
        for before, after in pairs:
            fields = list(self._fields(kind, before, after))
            elements: list[str] = []
            if kind == "map" and self._options.elements and not before.record.frozen:
                elements = self._elements(before, after)
            if not fields and not elements:
                self.same += 1
                continue
            code: list[str] = []
            if self._options.code and any(field.name == "code" for field in fields):
                old_lines = _lines(self._old, before) or []
                code = code_diff(*comparable(old_lines, _lines(self._new, after) or []))
            number = numbers.get(after.id, 0)
            self.changes.append(Change(before, after, fields, number, code, elements))

    def _compared(self, kind: str, known: frozenset[str]) -> list[str]:
        """The fields that are compared, but for those that are the same for sure."""
        left_out = {*known, *self._options.ignore}
        if not self._is_one_build:
            left_out |= _OF_ONE_KERNEL
        return [name for name in COMPARED[kind] if name not in left_out]

    def _fields(self, kind: str, before: Item, after: Item) -> Iterator[FieldChange]:
        known = self._equal_at_once(kind, before, after)
        names = self._names.get((kind, known))
        if names is None:
            names = self._names[kind, known] = self._compared(kind, known)
        for name in names:
            old, new = before.get(name), after.get(name)
            if type(old) in _UNKNOWN or type(new) in _UNKNOWN:
                if TooOld not in (type(old), type(new)):
                    self._note(after, name, str(old if isinstance(old, Hidden) else new))
            elif name == "code":
                if old != new or not self._is_one_build:
                    yield from self._code(before, after)
                elif not _is_one_source(before, after) and hides_callees(new):
                    self._note(after, "code", _HIDDEN_CALLEES)
            elif name == "frozen_content":
                if old is not None and new is not None and old != new:
                    yield FieldChange("content", old[0], new[0])
            elif old != new:
                yield FieldChange(name, old, new)

    def _equal_at_once(self, kind: str, before: Item, after: Item) -> frozenset[str]:
        """The fields that are the same for sure."""
        values, fields = _AT_ONCE[kind]
        sure = _SURE[kind]
        if not sure:
            return fields
        old, new = values(before.record), values(after.record)
        # BTF objects have other ids elsewhere: only whether there is one counts.
        is_same = old[:-1] == new[:-1] and bool(old[-1]) == bool(new[-1])
        return fields if is_same and all(old[:sure]) else frozenset()

    def _code(self, before: Item, after: Item) -> Iterator[FieldChange]:
        old, new = _lines(self._old, before), _lines(self._new, after)
        if old is None or new is None:
            self._note(after, "code", "the kernel does not show its instructions")
            return
        shown_old, shown_new = comparable(old, new)
        if shown_old is not old and not _is_one_source(before, after):
            self._note(after, "code", _HIDDEN_CALLEES)
        if [line.text for line in shown_old] != [line.text for line in shown_new]:
            yield FieldChange("code", f"{len(old)} instructions", f"{len(new)} instructions")

    def _elements(self, before: Item, after: Item) -> list[str]:
        from pybpftool.inspect.elements import element_diff

        found = element_diff(self._old.kernel, before, self._new.kernel, after)
        if isinstance(found, str):
            self._note(after, "elements", found)
            return []
        return found


def _is_one_source(before: Item, after: Item) -> bool:
    """Whether both had the same instructions when they were loaded, of which tags are checksums."""
    return bool(before.record.tag == after.record.tag)


def _lines(inventory: Inventory, item: Item) -> list[Line] | None:
    """The instructions of a program, None where the kernel withholds them."""
    try:
        return item.asked(lambda obj: inventory.code.lines(obj, inventory.map))
    except BpfError:
        return None


def _without(values: tuple[Any, ...], others: tuple[Any, ...]) -> list[Any]:
    rest = list(others)
    left = []
    for value in values:
        if value in rest:
            rest.remove(value)
        else:
            left.append(value)
    return left


def comparable(old: list[Line], new: list[Line]) -> tuple[list[Line], list[Line]]:
    """Instructions without what one of both sides hides; as they are if none does."""
    if not any(line.is_hidden for line in (*old, *new)):
        return old, new
    return [row._replace(text=row.shown) for row in old], [
        row._replace(text=row.shown) for row in new
    ]


def code_diff(old: list[Line], new: list[Line]) -> list[str]:
    """The instructions that went and came, each group below its line of source.

    A jump is the same while it goes to the same instruction, however far that is now.
    """
    from difflib import SequenceMatcher

    before, after = [line.without_target() for line in old], [line.without_target() for line in new]
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    limit = min(len(before), len(after)) - head
    while tail < limit and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    middle = before[head : len(before) - tail], after[head : len(after) - tail]
    is_large = len(middle[0]) * len(middle[1]) > 1 << 24
    matcher = SequenceMatcher(None, *middle, autojunk=is_large)
    same = [(index, index) for index in range(head)]
    for block in matcher.get_matching_blocks():
        same += [(head + block.a + at, head + block.b + at) for at in range(block.size)]
    same += [(len(old) - at, len(new) - at) for at in range(tail, 0, -1)]
    counterpart = {old[i].pc: new[j].pc for i, j in same}
    lines: list[str] = []
    place = ""
    at, other = 0, 0
    for i, j in [*same, (len(old), len(new))]:
        gone, come = old[at:i], new[other:j]
        if i < len(old) and old[i].text != new[j].text:
            target = old[i].target
            if target is None or counterpart.get(target) != new[j].target:
                gone, come = [*gone, old[i]], [*come, new[j]]
        for mark, some in (("-", gone), ("+", come)):
            for line in some:
                if line.place and line.place != place:
                    place = line.place
                    lines.append(f"; {line.source} [{line.place}]")
                lines.append(f"{mark} {line.pc:4}: {line.text}")
        at, other = i + 1, j + 1
    return lines
