"""Numbers as C writes them: those that C has, and those of other languages and machines."""

from __future__ import annotations

from pybpftool.btf.keywords import is_identifier, is_number
from pybpftool.uapi.btf import INT, INT_BOOL, INT_SIGNED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.c.identifiers import Identifiers

# Types that compilers know by themselves under names that other compilers lack.
_ALIASES = {
    "__Poly8_t": "unsigned char",
    "__Poly16_t": "unsigned short",
    "__Poly64_t": "unsigned long long",
    "__Poly128_t": "unsigned __int128",
}
# Numbers that BPF has not, or of another size, as gcc or clang have them for other machines.
_OF_MACHINES = {
    "long double": 16,
    "__bf16": 2,
    "__float128": 16,
    "__float80": 16,
    "__fp16": 2,
    "__ibm128": 16,
    "_Decimal32": 4,
    "_Decimal64": 8,
    "_Decimal128": 16,
    "_Float16": 2,
    "_Float32": 4,
    "_Float32x": 8,
    "_Float64": 8,
    "_Float64x": 16,
    "_Float128": 16,
}
_INTEGERS = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}
# BPF has no numbers of 2 and 16 bytes with a fraction.
_FLOATS = {2: "unsigned short", 4: "float", 8: "double", 16: "__int128"}


class Numbers(dict[int, str]):
    """The types of numbers by their ids, as they stand in declarations.

    A name that is C's is kept, other identifiers are defined as types of the same size; where
    that cannot be, C's type of this size stands in place of the name.
    """

    __slots__ = (
        "_definitions", "_names", "_offsets", "_words", "_written", "are_of_machine", "may_define",
    )  # fmt: skip

    def __init__(self, words: memoryview, offsets: Sequence[int], names: Identifiers) -> None:
        super().__init__()
        self._words = words
        self._offsets = offsets
        self._names = names
        self._definitions: dict[int, str] = {}
        self._written: set[str] = set()
        self.may_define = True
        """Whether there is a place for definitions."""
        self.are_of_machine = False
        """Whether the C is for another machine than BPF, whose compilers have more numbers."""

    def __missing__(self, type_id: int) -> str:
        words = self._words
        at = self._offsets[type_id]
        name = self._names.true[words[at - 1]]
        size = words[at + 1]
        if is_number(name, size) or (self.are_of_machine and _OF_MACHINES.get(name) == size):
            found = name
        elif name in _ALIASES:
            found = name
            self._definitions[type_id] = f"typedef {_ALIASES[name]} {name};\n\n"
        else:
            info = words[at]
            found = self._foreign(type_id, name, size, words[at + 2] if info >> 24 == INT else -1)
        self[type_id] = found
        return found

    def _foreign(self, type_id: int, name: str, size: int, encoding: int) -> str:
        spelling = _spelled(size, encoding)
        definition = ""
        if not spelling:
            body = f"struct %s{{\n\tunsigned char bytes[{size}];\n}}" if size else "struct %s{}"
            if not self.may_define:
                return " ".join((body % "").split())
            tag = self._names.number_tag(size)
            spelling = f"struct {tag}"
            definition = f"{body % f'{tag} '};\n\n"
        found = spelling
        # What one compiler has, it does not let be defined for others.
        is_free = is_identifier(name) and name not in _OF_MACHINES
        if self.may_define and is_free and self._names.is_only(name):
            definition += f"typedef {spelling} {name};\n\n"
            found = name
        if definition:
            self._definitions[type_id] = definition
        return found

    def definition(self, type_id: int) -> str:
        """What has to be written before a number is first used; empty if it was already."""
        self[type_id]
        text = ""
        for part in self._definitions.pop(type_id, "").split(";\n\n"):
            if part and part not in self._written:
                self._written.add(part)
                text += f"{part};\n\n"
        return text

    def definitions(self) -> str:
        """All definitions that are still to be written."""
        return "".join(map(self.definition, sorted(self._definitions)))


def plain_number(size: int, is_signed: int) -> str:
    """C's number of so many bytes; empty if there is none."""
    return _spelled(size, (INT_SIGNED if is_signed else 0) << 24)


def _spelled(size: int, encoding: int) -> str:
    """C's number of so many bytes; ``encoding`` is an INT's word, or -1 of a FLOAT."""
    if encoding < 0:
        return _FLOATS.get(size, "")
    flags = encoding >> 24
    if flags & INT_BOOL and size == 1:
        return "_Bool"
    integer = _INTEGERS.get(size, "")
    if not integer:
        return ""
    if flags & INT_SIGNED:
        return "signed char" if size == 1 else integer
    return f"unsigned {integer}"
