"""Declarations of an object's variables in C.

Nearly all are of a number, or of a type with a name, or an array of such or a pointer to
it. These are written here; the first of another kind calls for what writes dumps of types in
C, the loading of which takes longer than all else of a skeleton.
"""

from __future__ import annotations

from pybpftool.btf.keywords import is_identifier, is_number
from pybpftool.uapi.btf import (
    ARRAY,
    ENUM,
    ENUM64,
    ENUMS,
    INT,
    MODIFIERS,
    PTR,
    STRUCT,
    TYPEDEF,
    UNION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.c.plain import DeclarationTexts
    from pybpftool.btf.table import Btf

_TAGS = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", ENUM64: "enum ", TYPEDEF: ""}
_MOST_LINKS = 32  # of arrays and pointers around a name


class Declarations:
    """C declarations of variables; a name that two types have is numbered at its second."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        # The types that had their names written: by kind of name, since tags are none of typedefs'.
        self._written: dict[tuple[bool, str], int] = {}
        self._told: list[tuple[int, str, int, bool]] = []
        self._any: DeclarationTexts | None = None

    def of(self, type_id: int, name: str, level: int, is_exact: bool = False) -> str:
        """``int *name`` on a line indented by ``level``; with modifiers if ``is_exact``."""
        if self._any is None:
            text = self._simple(type_id, name, is_exact)
            if text:
                self._told.append((type_id, name, level, is_exact))
                return text
            from pybpftool.btf.c.plain import DeclarationTexts

            self._any = DeclarationTexts(self._btf)
            for told in self._told:  # so that it counts the names that were written
                self._any.of(*told)
        return self._any.of(type_id, name, level, is_exact)

    def _simple(self, type_id: int, name: str, is_exact: bool) -> str:
        """The declaration, or "" for one that is not of the frequent kinds."""
        btf = self._btf
        before, after = "", ""
        for _ in range(_MOST_LINKS):
            words, at = btf.at(type_id)
            kind = words[at] >> 24 & 0x7F
            if kind == PTR:
                before += "*"
            elif kind == ARRAY:
                if before:
                    return ""
                after += f"[{words[at + 4]}]"
                type_id = words[at + 2]
                continue
            elif is_exact or kind not in MODIFIERS:
                base = self._base(type_id, kind)
                space = " " if before or name else ""
                return f"{base}{space}{before}{name}{after}" if base else ""
            type_id = words[at + 1]
        return ""

    def _base(self, type_id: int, kind: int) -> str:
        btf = self._btf
        if not type_id:
            return "void"
        words, at = btf.at(type_id)
        name = btf.names[words[at - 1]]
        if kind == INT:
            return name if is_number(name, words[at + 1]) else ""
        is_forward = kind in ENUMS and not words[at] & 0xFFFFFF
        if kind not in _TAGS or is_forward or not is_identifier(name):
            return ""
        if self._written.setdefault((kind == TYPEDEF, name), type_id) != type_id:
            return ""
        return _TAGS[kind] + name
