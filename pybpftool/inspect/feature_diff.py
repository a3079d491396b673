"""What one kernel's BPF can do and another's cannot."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.objects.feature import Features


def changes(old: Features, new: Features) -> list[tuple[str, str, object, object]]:
    """What is different: (section, name, before, after), None for what a side does not know."""
    before, after = _flat(old.json()), _flat(new.json())
    names = [*before, *(key for key in after if key not in before)]
    return [
        (*key, before.get(key), after.get(key))
        for key in names
        if before.get(key) != after.get(key)
    ]


def _flat(sections: dict[str, Any]) -> dict[tuple[str, str], object]:
    """Every answer by its section and name; a helper is one of its program type's section."""
    flat: dict[tuple[str, str], object] = {}
    for section, answers in sections.items():
        for name, answer in answers.items():
            if isinstance(answer, list):
                flat.update({(name, each): True for each in answer})
            else:
                flat[section, name] = answer
    return flat
