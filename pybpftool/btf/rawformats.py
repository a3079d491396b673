"""How the types of a raw dump are written: ``%``-formats by kind, and what makes words fit them."""

from __future__ import annotations

from pybpftool.uapi.btf import (
    ARRAY,
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    KIND_MAX,
    KIND_NAMES,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pybpftool.btf.names import Names
    from pybpftool.btf.table import Btf

VAR_LINKAGES = ("static", "global", "extern")  # enum of include/uapi/linux/btf.h
_FUNC_LINKAGES = ("static", "global", "extern")
_REFERRING = frozenset(
    (
        PTR, CONST, VOLATILE, RESTRICT, TYPEDEF,
        TYPE_TAG,
    )
)  # fmt: skip

# Lists whose elements have no names of their own.
_NAMELESS = ("vars", "loc_params")
# Of types whose words do not fit a format as they are.
BY_HAND, _LINKED, _INDEXED, _BITS, _SIGNED, _UNSIGNED_64, _SIGNED_64, _VARS = range(-8, 0)
# Consumes an argument and writes nothing.
SKIP = "%.0s"


def linkage_name(names: Sequence[str], value: int) -> str:
    """The name of a linkage."""
    return names[value] if value < len(names) else "(unknown)"


class Formats(dict[int, tuple[str, int, int]]):
    """For an ``info`` word: a format, the type's words, and every how many of its
    elements' words a name stands (0: no names; negative: one of the ways of :class:`Fitting`).

    A format's arguments are the type's words, with the type's id in place of the
    name and the name in place of the ``info`` word.
    """

    __slots__ = ("_style", "sizes")

    def __init__(self, btf: Btf, style: Style) -> None:
        super().__init__()
        self.sizes = btf.sizes
        self._style = style

    def __missing__(self, info: int) -> tuple[str, int, int]:
        kind = info >> 24 & 0x7F
        vlen = info & 0xFFFFFF
        text, every = self._alone(kind, vlen, info >> 31)
        if every == BY_HAND:
            text, every = self._with_list(kind, vlen, info >> 31)
        if not vlen and every > 0:
            every = 0
        found = self[info] = (text, self.sizes[info], every)
        return found

    def _alone(self, kind: int, vlen: int, flag: int) -> tuple[str, int]:
        """The format of a kind without elements, and what the third is of :class:`Formats`."""
        form = self._style.format
        if kind in _REFERRING:
            return form(kind, [("type_id", "%d")]), 0
        if kind == FUNC:
            linkage = linkage_name(_FUNC_LINKAGES, vlen)
            return form(kind, [("type_id", "%d"), ("linkage", linkage)]), 0
        if kind == ARRAY:
            # An array has its size word, which is zero, before what is shown.
            fields = [("type_id", SKIP + "%d"), ("index_type_id", "%d"), ("nr_elems", "%d")]
            return form(kind, fields), 0
        if kind == FLOAT:
            return form(kind, [("size", "%d")]), 0
        if kind == FWD:
            return form(kind, [("fwd_kind", "union" if flag else "struct")]) + SKIP, 0
        if kind == VAR:
            return form(kind, [("type_id", "%d"), ("linkage", "%s")]), _LINKED
        if kind == DECL_TAG:
            return form(kind, [("type_id", "%d"), ("component_idx", "%d")]), _INDEXED
        return "", BY_HAND

    def _with_list(self, kind: int, vlen: int, flag: int) -> tuple[str, int]:
        """The same of a kind with elements."""
        size = "ret_type_id" if kind == FUNC_PROTO else "size"
        fields = [(size, "%d"), ("vlen", str(vlen))]
        if kind == FUNC_PROTO:
            name, every = "params", 2
            element = [("name", "%s"), ("type_id", "%d")]
        elif kind in (STRUCT, UNION):
            name, every = "members", _BITS if flag else 3
            offset = "%s" if flag else "%d"
            element = [("name", "%s"), ("type_id", "%d"), ("bits_offset", offset)]
        elif kind == ENUM:
            name, every = "values", _SIGNED if flag else 2
            fields.insert(0, ("encoding", "SIGNED" if flag else "UNSIGNED"))
            element = [("name", "%s"), ("val", "%d")]
        elif kind == ENUM64:
            name, every = "values", _SIGNED_64 if flag else _UNSIGNED_64
            fields.insert(0, ("encoding", "SIGNED" if flag else "UNSIGNED"))
            element = [("name", "%s"), ("val", "%s" + SKIP)]
        elif kind == DATASEC:
            name, every = "vars", _VARS if self._style.size == "%s" else 0
            element = [("type_id", "%d"), ("offset", "%d"), ("size", self._style.size)]
        else:
            return "", BY_HAND
        return self._style.format(kind, fields, name, [element] * vlen), every


class Style:
    """How a type is written: as text; the subclass writes JSON."""

    suffixes = ("ULL", "LL")
    """What follows values of 64 bits, unsigned and signed."""
    size = "%s"
    """The format of the size of a section's variable."""

    def bit_field(self, offset: int, size: int) -> str:
        """Where a bit-field is."""
        return f"{offset} bitfield_size={size}"

    def format(
        self,
        kind: int,
        fields: Sequence[tuple[str, str]],
        list_name: str = "",
        elements: Sequence[Sequence[tuple[str, str]]] = (),
    ) -> str:
        """A format for (id, name, …); fields' values are formats or texts."""
        parts = [f"[%d] {KIND_NAMES[kind if kind <= KIND_MAX else 0]} '%s'"]
        comma = "," if kind == VAR else ""
        parts += [f" {name}={value}{comma if name == 'type_id' else ''}" for name, value in fields]
        # Elements of one type are mostly alike: their formats are made once.
        known: dict[int, str] = {}
        for element in elements:
            text = known.get(id(element))
            if text is None:
                (_, first), *others = element
                if list_name in _NAMELESS:
                    text = "\n\t" + " ".join([f"{name}={value}" for name, value in element])
                else:
                    text = f"\n\t'{first}'" + "".join(
                        [f" {name}={value}" for name, value in others]
                    )
                known[id(element)] = text
            parts.append(text)
        parts.append("\n")
        return "".join(parts)

    def names(self, names: Names) -> Names:
        return names


class JsonStyle(Style):
    """Types as JSON objects; ``depth`` levels deep if pretty."""

    suffixes = ("", "")
    size = "%d"

    def __init__(self, depth: int | None) -> None:
        self._depth = depth

    def bit_field(self, offset: int, size: int) -> str:
        if self._depth is None:
            return f'{offset},"bitfield_size":{size}'
        pad = "    " * (self._depth + 3)
        return f'{offset},\n{pad}"bitfield_size": {size}'

    def _object(self, fields: Sequence[tuple[str, str]], level: int) -> str:
        if self._depth is None:
            return "{" + ",".join([f'"{name}":{value}' for name, value in fields]) + "}"
        pad = "\n" + "    " * (self._depth + level + 1)
        inner = ",".join([f'{pad}"{name}": {value}' for name, value in fields])
        return "{" + inner + pad[:-4] + "}"

    def format(
        self,
        kind: int,
        fields: Sequence[tuple[str, str]],
        list_name: str = "",
        elements: Sequence[Sequence[tuple[str, str]]] = (),
    ) -> str:
        members: list[tuple[str, str]] = [
            ("id", "%d"),
            ("kind", f'"{KIND_NAMES[kind if kind <= KIND_MAX else 0]}"'),
            ("name", '"%s"'),
        ]
        members += [(name, self._quoted(name, value)) for name, value in fields]
        if list_name:
            known: dict[int, str] = {}
            texts = []
            for element in elements:
                text = known.get(id(element))
                if text is None:
                    quoted = [(name, self._quoted(name, value)) for name, value in element]
                    text = known[id(element)] = self._object(quoted, 2)
                texts.append(text)
            end = "]"
            if self._depth is not None and texts:
                end = "\n" + "    " * (self._depth + 1) + "]"
            members.append((list_name.removeprefix("loc_"), "[" + ",".join(texts) + end))
        return "," + self._object(members, 0)

    @staticmethod
    def _quoted(name: str, value: str) -> str:
        return f'"{value}"' if name in ("name", "encoding", "linkage", "fwd_kind") else value

    def names(self, names: Names) -> Names:
        return names.quoted()


def signed(word: int) -> int:
    """A word as the number with a sign that it is."""
    return (word ^ 1 << 31) - (1 << 31)


class Fitting:
    """Makes the words of types fit formats; those of a type are ``block[at - 1 : end]``."""

    __slots__ = ("_btf", "_names", "_style", "ways")

    def __init__(self, btf: Btf, style: Style, names: Names) -> None:
        self._btf = btf
        self._style = style
        self._names = names
        self.ways: dict[int, Callable[[list[Any], int, int], None]] = {
            _LINKED: self._linkage,
            _INDEXED: self._index,
            _BITS: self._bits,
            _SIGNED: self._signed,
            _UNSIGNED_64: self._unsigned_64,
            _SIGNED_64: self._signed_64,
            _VARS: self._vars,
        }

    def _linkage(self, block: list[Any], at: int, end: int) -> None:
        block[at + 2] = linkage_name(VAR_LINKAGES, block[at + 2])

    def _index(self, block: list[Any], at: int, end: int) -> None:
        block[at + 2] = signed(block[at + 2])

    def _bits(self, block: list[Any], at: int, end: int) -> None:
        for member in range(at + 2, end, 3):
            block[member] = self._names[block[member]]
            where = block[member + 2]
            if where >> 24:
                block[member + 2] = self._style.bit_field(where & 0xFFFFFF, where >> 24)

    def _signed(self, block: list[Any], at: int, end: int) -> None:
        for value in range(at + 2, end, 2):
            block[value] = self._names[block[value]]
            block[value + 1] = signed(block[value + 1])

    def _unsigned_64(self, block: list[Any], at: int, end: int) -> None:
        suffix = self._style.suffixes[0]
        for value in range(at + 2, end, 3):
            block[value] = self._names[block[value]]
            block[value + 1] = f"{block[value + 1] | block[value + 2] << 32}{suffix}"

    def _signed_64(self, block: list[Any], at: int, end: int) -> None:
        suffix = self._style.suffixes[1]
        for value in range(at + 2, end, 3):
            block[value] = self._names[block[value]]
            block[value + 1] = f"{block[value + 1] | signed(block[value + 2]) << 32}{suffix}"

    def _vars(self, block: list[Any], at: int, end: int) -> None:
        for var in range(at + 2, end, 3):
            block[var + 2] = size_of_var(self._btf, self._names, block[var], block[var + 2])


def size_of_var(btf: Btf, names: Names, var: int, size: int) -> str:
    """The size of a variable of a section and, in text, which one it is."""
    words, at = btf.at(var)
    kind = words[at] >> 24 & 0x7F
    return f"{size} ({KIND_NAMES[kind if kind <= KIND_MAX else 0]} '{names[words[at - 1]]}')"
