"""Declarations without ``const``, ``volatile``, ``restrict`` and type tags."""

from __future__ import annotations

from pybpftool.btf.c.declare import CHAIN, MAX_CHAIN, Formats
from pybpftool.btf.c.identifiers import Identifiers
from pybpftool.btf.c.text import Texts
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import ARRAY, MODIFIERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf


class _PlainFormats(Formats):
    """As :class:`Formats`; a modified type's is that of what it modifies."""

    __slots__ = ()

    def __missing__(self, type_id: int) -> str:
        texts = self._texts
        target = type_id
        for _ in range(MAX_CHAIN):
            at = texts.offsets[target]
            if not target or texts.words[at] >> 24 & 0x7F not in MODIFIERS:
                break
            target = texts.words[at + 1]
        else:
            raise FormatError(f"type [{type_id}] is a chain without end")
        if target == type_id:
            return super().__missing__(type_id)
        found = self[type_id] = self[target]
        return found


class PlainTexts(Texts):
    """The texts of types, as libbpf's ``strip_mods`` makes them: what can be written to."""

    def __init__(self, btf: Btf, offsets: list[int] | None = None) -> None:
        offsets = offsets or [0, *btf.own_offsets()]
        super().__init__(btf, btf.words, offsets, Identifiers(btf))
        self.numbers.may_define = False
        self.formats = _PlainFormats(self)
        self._format_of = self.formats.__getitem__

    def _links(self, type_id: int) -> list[int]:
        """The chain of types from a declaration's own to the one that is written first."""
        words = self.words
        chain: list[int] = []
        target = type_id
        for _ in range(MAX_CHAIN):
            at = self.offsets[target]
            kind = words[at] >> 24 & 0x7F if target else 0
            if kind not in MODIFIERS:
                chain.append(target)
            if kind in CHAIN:
                target = words[at + 1]
            elif kind == ARRAY:
                target = words[at + 2]
            else:
                return chain
        raise FormatError(f"type [{type_id}] is a chain without end")


class DeclarationTexts:
    """C declarations of variables; a name that two types have is numbered at its second.

    ``offsets``: 0 and :meth:`Btf.own_offsets`, which many of these then share.
    """

    def __init__(self, btf: Btf, offsets: list[int] | None = None) -> None:
        self._plain = PlainTexts(btf, offsets)
        self._exact = Texts(btf, btf.words, self._plain.offsets, self._plain.names)
        self._exact.numbers = self._plain.numbers
        # Both count the same names.
        self._exact.resolved = self._plain.resolved
        self._exact.type_names = self._plain.type_names
        self._exact.ident_names = self._plain.ident_names

    def of(self, type_id: int, name: str, level: int, is_exact: bool = False) -> str:
        """``int *name`` on a line indented by ``level``; with modifiers if ``is_exact``."""
        texts = self._exact if is_exact else self._plain
        try:
            return texts.declaration(type_id, name, level)
        except IndexError:
            raise FormatError("the BTF refers to a type that it does not have") from None
