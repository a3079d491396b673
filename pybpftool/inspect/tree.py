"""Trees for people and as JSON: a line each, with what belongs to it below."""

from __future__ import annotations

from pybpftool.inspect.edge import ELEMENT, SLOT, slot_of
from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


_SHOWN = 8  # slots, or ranges of them, that a line names


class Branch:
    """A line with lists of branches below it.

    ``text`` is what a person reads, ``fields`` what JSON has. A group is a name for JSON, a
    heading (empty: its branches stand right below) and its branches. ``how`` is what the text
    says in brackets of the way here: an object that many slots of a map lead to has a branch for
    each in JSON, and one line.
    """

    __slots__ = ("fields", "groups", "how", "text")

    def __init__(self, text: str, fields: dict[str, Any], how: str = "") -> None:
        self.text = text
        self.fields = fields
        self.how = how
        self.groups: list[tuple[str, str, list[Branch]]] = []

    def group(self, name: str, heading: str, branches: list[Branch]) -> list[Branch]:
        """Add a group, whose list comes back."""
        self.groups.append((name, heading, branches))
        return branches

    def json(self) -> dict[str, Any]:
        """The branch as plain data."""
        json = dict(self.fields)
        for name, _, branches in self.groups:
            json[name] = [branch.json() for branch in branches]
        return json

    def _below(self) -> list[Branch]:
        below: list[Branch] = []
        for _, heading, branches in self.groups:
            if not heading:
                below += _merged(branches)
                continue
            head = Branch(heading, {})
            head.group("", "", branches)
            below.append(head)
        return below

    def goes_with(self, other: Branch) -> bool:
        """Whether the other one, behind this, only says in which slot the same object is, too."""
        return (
            self.how[:4] == other.how[:4]
            and self.fields["kind"] == other.fields["kind"]
            and self.fields.get("id") == other.fields.get("id")
            and not any(branches for _, _, branches in other.groups)
        )

    def lines(self) -> Iterator[str]:
        """The lines of the tree, names made harmless."""
        yield shown(self.text)
        waiting = [("", branch, last) for branch, last in _backwards(self._below())]
        while waiting:
            indent, branch, is_last = waiting.pop()
            yield f"{indent}{'└─ ' if is_last else '├─ '}{shown(branch.text)}"
            inner = indent + ("   " if is_last else "│  ")
            waiting += [(inner, each, last) for each, last in _backwards(branch._below())]


def _merged(branches: list[Branch]) -> list[Branch]:
    """The branches, those in a row that lead to one object through slots of one map as one."""
    runs: list[list[Branch]] = []
    for branch in branches:
        is_slot = branch.how.startswith((SLOT, ELEMENT))
        if is_slot and runs and runs[-1][0].how and runs[-1][0].goes_with(branch):
            runs[-1].append(branch)
        else:
            runs.append([branch])
    return [run[0] if len(run) == 1 else _one_for(run) for run in runs]


def _one_for(run: list[Branch]) -> Branch:
    first = run[0]
    before, _, behind = first.text.rpartition(f"({first.how})")
    slots = [slot_of(branch.how) for branch in run]
    if min(slots) < 0:
        told = "keys " + _some([branch.how[len(ELEMENT) :] for branch in run], len(run))
    else:
        told = "slots " + _some(_ranges(slots), len(run))
    one = Branch(f"{before}({told}){behind}", first.fields)
    one.groups = first.groups
    return one


def _ranges(numbers: list[int]) -> list[str]:
    """Ascending numbers as ``3`` and ``7-9``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(begin) if begin == end else f"{begin}-{end}" for begin, end in found]


def _some(parts: list[str], count: int) -> str:
    more = f", … ({count} in all)" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


def _backwards(branches: list[Branch]) -> Iterator[tuple[Branch, bool]]:
    """The branches from the last to the first, and whether one is the last."""
    for at in range(len(branches) - 1, -1, -1):
        yield branches[at], at == len(branches) - 1
