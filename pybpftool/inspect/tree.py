"""Trees for people and as JSON: a line each, with what belongs to it below."""

from __future__ import annotations

from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Branch:
    """A line with lists of branches below it.

    ``text`` is what a person reads, ``fields`` what JSON has. A group is a name for JSON, a
    heading (empty: its branches stand right below) and its branches.
    """

    __slots__ = ("fields", "groups", "text")

    def __init__(self, text: str, fields: dict[str, Any]) -> None:
        self.text = text
        self.fields = fields
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
                below += branches
                continue
            head = Branch(heading, {})
            head.group("", "", branches)
            below.append(head)
        return below

    def lines(self) -> Iterator[str]:
        """The lines of the tree, names made harmless."""
        yield shown(self.text)
        waiting = [("", branch, last) for branch, last in _backwards(self._below())]
        while waiting:
            indent, branch, is_last = waiting.pop()
            yield f"{indent}{'└─ ' if is_last else '├─ '}{shown(branch.text)}"
            inner = indent + ("   " if is_last else "│  ")
            waiting += [(inner, each, last) for each, last in _backwards(branch._below())]


def _backwards(branches: list[Branch]) -> Iterator[tuple[Branch, bool]]:
    """The branches from the last to the first, and whether one is the last."""
    for at in range(len(branches) - 1, -1, -1):
        yield branches[at], at == len(branches) - 1
