"""What a skeleton shows of an object: names that C can have, and types of variables."""

from __future__ import annotations

from pybpftool.btf.keywords import KEYWORDS, is_word
from pybpftool.errors import FormatError
from pybpftool.gen.bpf_object import ARENA_SECTION, identifier
from pybpftool.gen.datasecs import skip_modifiers
from pybpftool.gen.declarations import Declarations
from pybpftool.gen.map_defs import ARENA, STRUCT_OPS
from pybpftool.records import Record
from pybpftool.uapi.btf import ENUM, ENUM64, FLOAT, FUNC_PROTO, INT, PTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.btf.table import Btf
    from pybpftool.gen.bpf_object import BpfObject, Map
    from pybpftool.gen.datasecs import DataSection, Variable

_SECTIONS = (".data", ".rodata", ".percpu", ".bss", ".kconfig")
_SCALARS = frozenset((INT, FLOAT, ENUM, ENUM64))
_MOST_OFFSET = (1 << 31) - 1
_MOST_ALIGN = 4  # that of a 32-bit host, on which a skeleton may be compiled as well


class Entry(Record):
    """A map in a skeleton; ``memory`` names its variables where they can be seen."""

    map: Map
    ident: str
    memory: str | None

    @property
    def is_struct_ops(self) -> bool:
        """Whether it is attached like a program."""
        return self.map.definition.type == STRUCT_OPS


def c_names(names: Sequence[str]) -> list[str]:
    """Identifiers in C for names of one struct: no keywords, and each another one."""
    taken: set[str] = set()
    found = []
    for name in names:
        if not is_word(name):
            name = identifier(name)
        if name[:1].isdigit():
            name = f"_{name}"
        while name in KEYWORDS or (name and name in taken):
            name += "_"
        taken.add(name)
        found.append(name)
    return found


def map_name(entry: Map) -> str | None:
    """What C's name of a map is made of; None for variables of a section without a usual name."""
    if not entry.is_internal:
        return entry.name
    # Upstream quirk: the first of these anywhere in the name, the object's part included.
    for section in _SECTIONS:
        at = entry.name.find(section)
        if at >= 0:
            return identifier(entry.name[at + 1 :])
    return None


class Shape:
    """An object's maps, programs and variables under the names that C gets."""

    def __init__(self, obj: BpfObject) -> None:
        self.obj = obj
        self.unnamed: list[str] = []
        """Maps that a skeleton leaves out."""
        self.entries: list[Entry] = []
        named: list[tuple[Map, str]] = []
        for entry in obj.maps:
            name = map_name(entry)
            if name is None:
                self.unnamed.append(entry.name)
            else:
                named.append((entry, name))
        for (entry, _), ident in zip(named, c_names([name for _, name in named])):
            memory = None
            if entry.definition.type == ARENA:
                memory = "arena" if entry.data is not None else None
            elif entry.is_mmapable:
                memory = ident
            self.entries.append(Entry(entry, ident, memory))
        # Among the links each program stands beside the maps of struct_ops.
        taken = [entry.ident for entry in self.struct_ops]
        names = c_names([*taken, *[one.name for one in obj.programs]])
        self.programs = [*zip(names[len(taken) :], obj.programs)]

    @property
    def struct_ops(self) -> list[Entry]:
        """Maps of struct_ops."""
        return [entry for entry in self.entries if entry.is_struct_ops]

    @property
    def in_memory(self) -> list[tuple[Entry, str, DataSection | None]]:
        """Maps whose variables can be seen, the name of those, and what BTF says of them."""
        return [
            (entry, entry.memory, self._section(entry.map))
            for entry in self.entries
            if entry.memory is not None
        ]

    def _section(self, entry: Map) -> DataSection | None:
        sections = self.obj.datasecs
        if entry.is_internal:
            return sections.get(entry.definition.value_type_id)
        return next((one for one in sections.values() if one.name == ARENA_SECTION), None)


def shown(section: DataSection) -> list[Variable]:
    """The variables of a section that others may see."""
    return [variable for variable in section.variables if not variable.is_static]


def shown_in_c(section: DataSection, keep_letters: bool = False) -> list[tuple[Variable, str]]:
    """Those variables with their names in C.

    ``keep_letters``: of other languages, too.
    """
    variables = shown(section)
    names = [variable.name for variable in variables]
    if not keep_letters:
        # Upstream quirk: they stay in all names but those of a skeleton's variables.
        names = [identifier(name) for name in names]
    return [*zip(variables, c_names(names))]


def fields(btf: Btf, texts: Declarations, section: DataSection) -> list[str]:
    """C members for a section's variables, with padding that puts each in its place."""
    lines = []
    end = pads = 0
    for variable, name in shown_in_c(section):
        start = variable.offset
        if end > start or start > _MOST_OFFSET:
            raise FormatError(
                f"'{variable.name}' of {section.name} is at {start}, where the one before it"
                f" reaches to {end}"
            )
        align = min(btf.align_of(variable.type_id), _MOST_ALIGN)
        if align <= 0:
            raise FormatError(f"'{variable.name}' of {section.name} has a type without alignment")
        if (end + align - 1) // align * align != start:
            lines.append(f"char __pad{pads}[{start - end}];")
            pads += 1
        is_exact = section.name == ".kconfig"
        lines.append(texts.of(variable.type_id, name, 2, is_exact) + ";")
        end = start + variable.size
    return lines


def shadow_fields(btf: Btf, type_id: int) -> list[str]:
    """C members for what a struct_ops map holds: scalars, programs, the rest as bytes."""
    texts = Declarations(btf)
    lines = []
    end = 0
    members = btf.members(type_id)
    names = c_names([member.name for member in members])
    for index, (member, name) in enumerate(zip(members, names)):
        start = member.bit_offset // 8
        if member.bit_size:
            # As bytes, those that it is the first to reach into.
            last = -(-(member.bit_offset + member.bit_size) // 8)
            if end < last:
                lines.append(f"char __unsupported_{index}[{last - end}];")
                end = last
            continue
        if end < start:
            lines.append(f"char __padding_{index}[{start - end}];")
        target = skip_modifiers(btf, member.type_id)
        words, at = btf.at(target)
        kind = words[at] >> 24 & 0x7F
        if kind == PTR and btf.kind(skip_modifiers(btf, words[at + 1])) == FUNC_PROTO:
            lines.append(f"struct bpf_program *{name};")
            end = start + 8
            continue
        size = btf.size_of(target)
        if size is None:
            raise FormatError(f"the member '{member.name}' of '{btf.name(type_id)}' has no size")
        if kind in _SCALARS:
            lines.append(texts.of(target, name, 3, True) + ";")
        else:
            # Types of others could be defined twice where two skeletons are included.
            lines.append(f"char __unsupported_{index}[{size}];")
        end = start + size
    whole = btf.type(type_id).size_or_type
    if end < whole:
        lines.append(f"char __padding_end[{whole - end}];")
    return lines
