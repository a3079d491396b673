"""What the instructions and maps of an object refer to, out of its SHT_REL sections."""

from __future__ import annotations

from pybpftool.elf.relocatable import STB_LOCAL, STT_FUNC, STT_SECTION
from pybpftool.errors import FormatError
from pybpftool.gen.bpf_object import ARENA_SECTION, INSN_BYTES, JUMP_TABLES, Relocated
from pybpftool.gen.datasecs import skip_modifiers
from pybpftool.gen.map_defs import HASH_OF_MAPS, OF_MAPS, PROG_ARRAY
from pybpftool.uapi.bpf import BPF_PSEUDO_CALL
from pybpftool.uapi.btf import FUNC_PROTO, PTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.elf.relocatable import Relocation, Section, Symbol
    from pybpftool.gen.bpf_object import BpfObject, Map, Program

_CALL, _LD_IMM64 = 0x85, 0x18  # BPF_JMP | BPF_CALL, BPF_LD | BPF_IMM | BPF_DW
_POINTER_BYTES = 8


def collect_relocations(obj: BpfObject) -> None:
    """Give programs and maps what they refer to; raises :class:`FormatError`."""
    sections = {section.number for section in obj.struct_ops_sections}
    for section in obj.relocation_sections:
        if section.info in sections:
            _struct_ops(obj, section)
        elif section.info == obj.maps_index:
            _maps(obj, section)
        else:
            _instructions(obj, section)
    for program in obj.functions:
        program.relocations.sort(key=lambda one: one.insn)


def _symbol(obj: BpfObject, relocation: Relocation, where: str) -> Symbol:
    if relocation.symbol >= len(obj.elf.symbols):
        raise FormatError(f"a relocation of {where} refers to a symbol that is not there")
    return obj.elf.symbols[relocation.symbol]


def _instructions(obj: BpfObject, section: Section) -> None:
    target = obj.elf.sections[section.info]
    where = f"'{target.name}'"
    size = len(obj.elf.content(target))
    record = _Recorder(obj).record
    for relocation in obj.elf.relocations(section):
        symbol = _symbol(obj, relocation, where)
        if symbol.section >= len(obj.elf.sections):
            raise FormatError(
                f"the program in {where} refers to '{symbol.name}', which is in no section"
            )
        if relocation.offset % INSN_BYTES or relocation.offset >= size:
            raise FormatError(f"a relocation of {where} is at no instruction")
        insn = relocation.offset // INSN_BYTES
        program = obj.function_at(section.info, insn)
        # None: a weak function that another took the place of.
        if program is not None:
            name = symbol.name
            if symbol.type == STT_SECTION and not symbol.name_offset:
                name = obj.elf.sections[symbol.section].name or ""
            program.relocations.append(record(program, insn - program.start, name, symbol))


class _Recorder:
    """Which of an object's maps, functions and externs a symbol is."""

    def __init__(self, obj: BpfObject) -> None:
        self.obj = obj
        self.is_swapped = obj.elf.order == ">"
        self.externs = {extern.symbol: extern for extern in obj.externs}
        self.indexes = {name: section.number for name, section in obj.special.items()}
        # Maps by their places in .maps, and by the sections of their variables.
        self.defined: dict[int, Map] = {}
        self.variables: dict[int, Map] = {}
        for entry in obj.maps:
            if entry.section_index == obj.maps_index:
                self.defined.setdefault(entry.offset, entry)
            if entry.is_internal:
                self.variables.setdefault(entry.section_index, entry)

    def record(self, program: Program, insn: int, name: str, symbol: Symbol) -> Relocated:
        code, registers = program.data[insn * INSN_BYTES : insn * INSN_BYTES + 2]
        source = registers & 0xF if self.is_swapped else registers >> 4
        if code not in (_CALL, _LD_IMM64):
            raise FormatError(
                f"the program '{program.name}' refers to '{name}' in an instruction that cannot"
                f" ({insn})"
            )
        if symbol.is_extern:
            if symbol.number not in self.externs:
                raise FormatError(f"the program '{program.name}' refers to a nameless extern")
            kind = "extern call" if code == _CALL else "extern"
            return Relocated(insn, kind, self.externs[symbol.number].name, 0)
        if code == _CALL:
            return self._call(program, insn, name, symbol, source)
        return self._load(program, insn, name, symbol)

    def _call(
        self, program: Program, insn: int, name: str, symbol: Symbol, source: int
    ) -> Relocated:
        text = self.obj.text_index
        if source != BPF_PSEUDO_CALL or not symbol.section or symbol.section != text:
            raise FormatError(f"the program '{program.name}' calls '{name}', which is not in .text")
        if symbol.value % INSN_BYTES:
            raise FormatError(f"the program '{program.name}' calls into the middle of '{name}'")
        return Relocated(insn, "call", name, symbol.value)

    def _load(self, program: Program, insn: int, name: str, symbol: Symbol) -> Relocated:
        obj, index = self.obj, symbol.section
        if not index:
            raise FormatError(f"the program '{program.name}' refers to '{name}', not defined here")
        if index == obj.text_index and (
            (symbol.binding == STB_LOCAL and symbol.type == STT_SECTION)
            or (symbol.binding != STB_LOCAL and symbol.type == STT_FUNC)
        ):
            at = insn * INSN_BYTES + 4
            order = "big" if self.is_swapped else "little"
            imm = int.from_bytes(program.data[at : at + 4], order)  # type: ignore[arg-type]  # a word of two
            if symbol.value % INSN_BYTES or imm % INSN_BYTES:
                raise FormatError(f"the program '{program.name}' has a bad address of '{name}'")
            return Relocated(insn, "address", name, symbol.value)
        if index == self.indexes.get(ARENA_SECTION):
            if obj.arena is None:
                raise FormatError(f"the program '{program.name}' uses an arena that is not there")
            return Relocated(insn, "data", obj.arena.name, symbol.value)
        if index == self.indexes.get(JUMP_TABLES):
            return Relocated(insn, "jump table", name, symbol.value)
        return self._map(program, insn, name, symbol)

    def _map(self, program: Program, insn: int, name: str, symbol: Symbol) -> Relocated:
        obj, index = self.obj, symbol.section
        if index in obj.data_kinds:
            found = self.variables.get(index)
            if found is not None:
                return Relocated(insn, "data", found.name, symbol.value)
        elif index == obj.maps_index:
            found = self.defined.get(symbol.value)
            if found is not None:
                return Relocated(insn, "map", found.name, 0)
        where = obj.elf.sections[index].name
        raise FormatError(
            f"the program '{program.name}' refers to '{name}' in '{where}', where no map is"
        )


def _maps(obj: BpfObject, section: Section) -> None:
    """The initial values of maps of maps and arrays of programs."""
    assert obj.btf is not None
    for relocation in obj.elf.relocations(section):
        symbol = _symbol(obj, relocation, ".maps")
        at = relocation.offset
        for entry in obj.maps:
            if entry.section_index == obj.maps_index and (
                entry.offset <= at and at + _POINTER_BYTES <= entry.offset + entry.size
            ):
                break
        else:
            raise FormatError(f"'{symbol.name}' is the value of a map that is not there")
        _check_value(obj, entry, symbol)
        start = _values_start(obj, entry)
        if at - entry.offset < start or (at - entry.offset - start) % _POINTER_BYTES:
            raise FormatError(f"the map '{entry.name}' has an initial value in a wrong place")
        entry.slots[(at - entry.offset - start) // _POINTER_BYTES] = symbol.name


def _check_value(obj: BpfObject, entry: Map, symbol: Symbol) -> None:
    name = symbol.name
    if entry.definition.type in OF_MAPS:
        if symbol.section != obj.maps_index or name not in [one.name for one in obj.maps]:
            raise FormatError(f"the map '{entry.name}' has the value '{name}', which is not a map")
        if entry.definition.type == HASH_OF_MAPS and entry.definition.key_size != 4:
            raise FormatError(f"the map '{entry.name}' has initial values, but not int keys")
        return
    if entry.definition.type != PROG_ARRAY:
        raise FormatError(f"the map '{entry.name}' cannot have '{name}' as an initial value")
    for program in obj.functions:
        if not program.is_subprog and program.name == name:
            place = (program.section_index, program.start * INSN_BYTES)
            if place == (symbol.section, symbol.value):
                return
    raise FormatError(f"the map '{entry.name}' has the value '{name}', which is not a program")


def _values_start(obj: BpfObject, entry: Map) -> int:
    """Bytes from a map's definition to its initial values."""
    btf = obj.btf
    assert btf is not None and obj.maps_datasec is not None
    for variable in obj.maps_datasec.variables:
        if variable.offset == entry.offset:
            members = btf.members(skip_modifiers(btf, variable.type_id))
            if members and members[-1].name == "values":
                return members[-1].bit_offset // 8
    raise FormatError(f"the map '{entry.name}' has initial values, but no 'values'")


def _struct_ops(obj: BpfObject, section: Section) -> None:
    """The functions of struct_ops maps."""
    btf = obj.btf
    assert btf is not None
    for relocation in obj.elf.relocations(section):
        symbol = _symbol(obj, relocation, "struct_ops maps")
        at = relocation.offset
        for entry in obj.maps:
            is_here = entry.kind == "struct_ops" and entry.section_index == section.info
            if is_here and 0 <= at - entry.offset < entry.definition.value_size:
                break
        else:
            raise FormatError(f"'{symbol.name}' is a member of a struct_ops map that is not there")
        name = entry.name
        if symbol.value % INSN_BYTES:
            raise FormatError(f"the map '{name}' refers into the middle of an instruction")
        members = btf.members(entry.definition.value_type_id)
        found = [one for one in members if one.bit_offset == (at - entry.offset) * 8]
        if not found:
            raise FormatError(f"the map '{name}' has a function where it has no member")
        words, where = btf.at(skip_modifiers(btf, found[0].type_id))
        is_pointer = words[where] >> 24 & 0x7F == PTR
        if not is_pointer or btf.kind(skip_modifiers(btf, words[where + 1])) != FUNC_PROTO:
            raise FormatError(
                f"'{found[0].name}' of the map '{name}' is not a pointer to a function"
            )
        program = obj.function_at(symbol.section, symbol.value // INSN_BYTES)
        if program is None or program.type != "struct_ops":
            raise FormatError(
                f"'{found[0].name}' of the map '{name}' is not a program of type struct_ops"
            )
        entry.slots[members.index(found[0])] = program.name
