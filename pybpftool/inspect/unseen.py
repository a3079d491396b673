"""What could not be looked at, in sentences: the maps that a snapshot cut are one for all."""

from __future__ import annotations

from pybpftool.errors import CutMap, VanishedError
from pybpftool.inspect.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pybpftool.errors import BpfError

_SHOWN = 8  # ids that a sentence names


class Unseen:
    """Collects reasons; each is told once, in the order in which it came first."""

    __slots__ = ("_cut", "_sentences", "remarks")

    def __init__(self, sentences: Iterable[str] = (), cut: Mapping[int, int] | None = None) -> None:
        self._sentences = list(sentences)
        self._cut: dict[int, int] = dict(cut or {})
        self.remarks: list[str] = []
        """What nobody can see on this machine, whatever rights they have; not in the sentences."""

    def add(self, reason: str | BpfError) -> None:
        """Note why something was not seen; what has gone since it was listed is not missed."""
        if isinstance(reason, VanishedError):
            return
        if isinstance(reason, CutMap):
            self._cut[reason.map_id] = reason.kept
        elif str(reason) not in self._sentences:
            self._sentences.append(str(reason))

    def copy(self) -> Unseen:
        """One that goes on apart from this."""
        found = Unseen(self._sentences, self._cut)
        found.remarks += self.remarks
        return found

    def sentences(self) -> list[str]:
        """What is to be told."""
        cut = cut_sentence(self._cut)
        return [*self._sentences, cut] if cut else list(self._sentences)


def cut_sentence(cut: Mapping[int, int]) -> str:
    """Of which maps (id -> elements kept) a snapshot has a part or nothing; empty for none."""
    parts = []
    for what, ids in (
        ("no elements of", sorted(id for id, kept in cut.items() if not kept)),
        ("only a part of the elements of", sorted(id for id, kept in cut.items() if kept)),
    ):
        if not ids:
            continue
        some = ", ".join(map(str, ids[:_SHOWN]))
        if len(ids) == 1:
            kept = cut[ids[0]]
            parts.append(f"{f'only the first {kept} elements of' if kept else what} map {some}")
            continue
        rest = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        parts.append(f"{what} {counted(len(ids), 'map')} ({some}{rest})")
    return f"the snapshot keeps {' and '.join(parts)}" if parts else ""
