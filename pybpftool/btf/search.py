"""Types by their name, found without a look at any other type or name.

An index of all names of a kernel takes a hundred milliseconds; one name three.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.btf.table import Btf


def named(btf: Btf, name: str) -> list[int]:
    """The ids of all types of this name, ascending; nothing but names is looked at.

    A name stands once among the strings of a table as a rule: it is found there, then the
    words that hold its place, then which of them are names of types.
    """
    found: list[int] = []
    for part in _parts(btf, name):
        found += sorted(id for ids in part for id in ids)
    return found


def first(btf: Btf, name: str, kind: int) -> int | None:
    """The lowest id of a type of this name and kind."""
    for part in _parts(btf, name):
        lowest = (next((id for id in ids if btf.kind(id) == kind), None) for ids in part)
        found = [id for id in lowest if id is not None]
        if found:
            return min(found)
    return None


def _parts(btf: Btf, name: str) -> Iterator[list[Iterator[int]]]:
    """For a base, then what is on top of it: the ids for each place of the name's."""
    if not name:
        return
    raw = name.encode("utf-8", "surrogateescape")
    for part in reversed(btf.parts()):
        # Split BTF may name its types by the strings of its base.
        places = [place for strings in part.parts() for place in strings.names.places_of(raw)]
        yield [at_place(part, place) for place in places]


def at_place(btf: Btf, place: int) -> Iterator[int]:
    """The own types whose names stand at this place of the string section, ascending."""
    for word in btf.places_of(place):
        index = btf.count_before(word)
        offsets = btf.scanned_offsets()
        # The word of a name comes before the one that offsets are of.
        if index < len(offsets) and offsets[index] == word + 1:
            yield btf.start_id + index
