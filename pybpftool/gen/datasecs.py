"""Variables of a BPF object: what BTF says of them, completed by the ELF file.

Compilers leave the sizes of sections and the places of variables to the loader; what is
only declared (``__kconfig``, ``__ksym``) has its place from the loader, too. This does what
libbpf 1.8 does when it opens an object (``bpf_object__collect_externs()``,
``bpf_object_fixup_btf()``).
"""

from __future__ import annotations

from pybpftool.elf.relocatable import SHT_NOBITS, SHT_NULL, STB_GLOBAL, STB_WEAK, STT_OBJECT
from pybpftool.errors import FormatError
from pybpftool.records import Record
from pybpftool.uapi.btf import (
    ARRAY,
    DATASEC,
    ENUM,
    ENUM64,
    FUNC,
    INT,
    INT_BOOL,
    MODIFIERS,
    TYPEDEF,
    VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf
    from pybpftool.elf.relocatable import Relocatable, Symbol

STATIC, ALLOCATED, EXTERN = 0, 1, 2  # BTF_VAR_STATIC and its like; the same for BTF_FUNC_
_HIDDEN = (1, 2)  # STV_INTERNAL, STV_HIDDEN


class Variable(Record):
    """A variable in its section; ``type_id`` is its type's, offset and size are in bytes."""

    name: str
    var_id: int
    type_id: int
    offset: int
    size: int
    is_static: bool


class DataSection(Record):
    """A section of variables (a BTF DATASEC), in the order of their places."""

    id: int
    name: str
    size: int
    variables: tuple[Variable, ...]


class Extern(Record):
    """What an object only declares; ``offset`` is its place in ``.kconfig``."""

    name: str
    symbol: int
    btf_id: int
    section: str  # .kconfig or .ksyms
    is_function: bool
    is_weak: bool
    type_id: int
    size: int
    align: int
    offset: int


def skip_modifiers(btf: Btf, type_id: int) -> int:
    """The type behind typedefs, ``const`` and the like."""
    for _ in range(1 << 14):
        words, at = btf.at(type_id)
        kind = words[at] >> 24 & 0x7F
        if kind not in MODIFIERS and kind != TYPEDEF:
            return type_id
        type_id = words[at + 1]
    raise FormatError(f"the BTF's type [{type_id}] refers to itself")


def ids_of_kind(btf: Btf, kind: int) -> list[int]:
    """The ids of all types of a kind, ascending."""
    words = btf.words
    return [
        number
        for number, at in enumerate(btf.own_offsets(), btf.start_id)
        if words[at] >> 24 & 0x7F == kind
    ]


class _Declared:
    """Where the types of declared names and their sections are, found once."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        words, names = btf.words, btf.names
        self.by_name: dict[str, int] = {}
        self.section_of: dict[int, int] = {}
        for number, at in enumerate(btf.own_offsets(), btf.start_id):
            kind = words[at] >> 24 & 0x7F
            if kind in (VAR, FUNC):
                self.by_name.setdefault(names[words[at - 1]], number)
            elif kind == DATASEC:
                for var_id, _, _ in btf.secinfos(number):
                    self.section_of.setdefault(var_id, number)


def collect_externs(elf: Relocatable, btf: Btf | None) -> list[Extern]:
    """What the file declares and does not define, in libbpf's order.

    ``.kconfig`` values come first, those of the largest alignment before others.
    """
    symbols = [symbol for symbol in elf.symbols if symbol.is_extern and symbol.name]
    if not symbols:
        return []
    if btf is None:
        raise FormatError(f"it declares '{symbols[0].name}', but has no BTF to tell what that is")
    declared = _Declared(btf)
    found = [_extern(btf, declared, symbol) for symbol in symbols]
    found.sort(
        key=lambda extern: (
            (0, -extern.align, extern.size, extern.name.encode("utf-8", "surrogateescape"))
            if extern.section == ".kconfig"
            else (1, 0, 0, extern.name.encode("utf-8", "surrogateescape"))
        )
    )
    placed = []
    end = 0
    for extern in found:
        if extern.section == ".kconfig":
            start = (end + extern.align - 1) // extern.align * extern.align
            end = start + extern.size
            extern = extern._replace(offset=start)
        placed.append(extern)
    return placed


def _extern(btf: Btf, declared: _Declared, symbol: Symbol) -> Extern:
    name = symbol.name
    btf_id = declared.by_name.get(name)
    linkage, is_function = -1, False
    if btf_id is not None:
        words, at = btf.at(btf_id)
        is_function = words[at] >> 24 & 0x7F == FUNC
        linkage = words[at] & 0xFFFFFF if is_function else words[at + 2]
    if btf_id is None or linkage != EXTERN:
        raise FormatError(f"its BTF does not tell what '{name}' is, which it only declares")
    section_id = declared.section_of.get(btf_id)
    section = btf.name(section_id) if section_id is not None else ""
    if section not in (".kconfig", ".ksyms"):
        where = f"section '{section}'" if section else "no section"
        raise FormatError(f"'{name}' is declared in {where}: neither .kconfig nor .ksyms")
    target = words[at + 1]
    size = align = 0
    if section == ".kconfig":
        if is_function:
            raise FormatError(f"the function '{name}' is declared in .kconfig")
        size, align = btf.size_of(target) or 0, btf.align_of(target)
        if not size or align <= 0 or not _is_kconfig_type(btf, target):
            raise FormatError(f"'{name}' has a type that no value of a kernel's .config has")
    is_weak = symbol.binding == STB_WEAK
    kind = (section, is_function, is_weak, target)
    return Extern(name, symbol.number, btf_id, *kind, size, align, 0)


def _is_kconfig_type(btf: Btf, type_id: int, is_element: bool = False) -> bool:
    """Whether libbpf can fill in such a value: numbers, bool, tristate, characters."""
    type_id = skip_modifiers(btf, type_id)
    words, at = btf.at(type_id)
    kind, size = words[at] >> 24 & 0x7F, words[at + 1]
    if kind == INT:
        is_bool = bool(btf.int_info(type_id)[0] & INT_BOOL)
        if is_element:
            return size == 1 and not is_bool
        return size == 1 if is_bool else size in (1, 2, 4, 8)
    if is_element:
        return False
    if kind in (ENUM, ENUM64):
        return btf.name(type_id) == "libbpf_tristate" and (kind == ENUM64 or size == 4)
    if kind == ARRAY:
        element, _, count = btf.array(type_id)
        return count > 0 and _is_kconfig_type(btf, element, True)
    return False


class _Places:
    """Sizes of sections and places of variables, by name."""

    def __init__(self, elf: Relocatable) -> None:
        self.elf = elf
        self.by_name: dict[str, Symbol] = {}
        for symbol in elf.symbols:
            if symbol.type == STT_OBJECT and symbol.binding in (STB_GLOBAL, STB_WEAK):
                self.by_name.setdefault(symbol.name, symbol)

    def size(self, name: str) -> int:
        section = self.elf.section_of(name)
        if section is None:
            return 0
        has_none = section.type in (SHT_NOBITS, SHT_NULL)  # libelf: such have a size and no data
        return section.size if has_none else len(self.elf.content(section))


def read_datasecs(elf: Relocatable, btf: Btf, externs: list[Extern]) -> dict[int, DataSection]:
    """All sections of variables by their BTF id."""
    places = _Places(elf)
    declared = {extern.name: extern for extern in externs}
    found = {}
    for number in ids_of_kind(btf, DATASEC):
        name = btf.name(number)
        if name in (".kconfig", ".ksyms"):
            found[number] = _declared_section(btf, number, name, declared)
        else:
            found[number] = _section(btf, number, name, places)
    return found


def _declared_section(btf: Btf, number: int, name: str, declared: dict[str, Extern]) -> DataSection:
    externs = {one.section for one in declared.values()}
    variables = []
    end = 0
    for var_id, offset, size in btf.secinfos(number):
        words, at = btf.at(var_id)
        own = btf.name(var_id)
        extern = declared.get(own)
        if name in externs and extern is None:
            raise FormatError(f"its BTF declares '{own}' in {name}, its symbols do not")
        if name == ".ksyms" and extern is not None:
            offset, size = end, 4  # libbpf pretends that each is an int
        elif extern is not None:
            offset = extern.offset
        end = max(end, offset + size)
        is_var = words[at] >> 24 & 0x7F == VAR
        is_static = extern is None and is_var and words[at + 2] == STATIC
        variables.append(Variable(own, var_id, words[at + 1], offset, size, is_static))
    variables.sort(key=lambda variable: variable.offset)
    return DataSection(number, name, end, tuple(variables))


def _section(btf: Btf, number: int, name: str, places: _Places) -> DataSection:
    words, at = btf.at(number)
    size = words[at + 1]
    is_open = not size  # compilers leave it so, the static linker does not
    if is_open:
        size = places.size(name)
        if not size:
            raise FormatError(f"its BTF has variables in '{name}', its sections have no such data")
    names = btf.names
    variables = []
    for var_id, offset, length in btf.secinfos(number):
        words, at = btf.at(var_id)
        own = names[words[at - 1]] if words[at - 1] else ""
        if words[at] >> 24 & 0x7F != VAR:
            raise FormatError(f"its BTF has something in '{name}' that is not a variable")
        linkage = words[at + 2]
        if linkage not in (STATIC, EXTERN):
            symbol = places.by_name.get(own)
            if symbol is None:
                raise FormatError(f"its BTF has a variable '{own}' in '{name}', its symbols do not")
            if is_open:
                offset = symbol.value & 0xFFFFFFFF
            if symbol.visibility in _HIDDEN:
                linkage = STATIC
        variables.append(Variable(own, var_id, words[at + 1], offset, length, linkage == STATIC))
    variables.sort(key=lambda variable: variable.offset)
    return DataSection(number, name, size, tuple(variables))
