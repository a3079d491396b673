"""Opening a BPF object file as libbpf does, without libbpf.

It does not want files that nobody vouches for; here nothing is believed unchecked, and no
kernel is asked. What libbpf 1.8 refuses to open is refused. The order of programs and maps
is libbpf's, for the skeletons that are made of it.
"""

from __future__ import annotations

from pybpftool.elf.relocatable import (
    SHF_EXECINSTR,
    SHT_LLVM_ADDRSIG,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_REL,
    SHT_STRTAB,
    STB_LOCAL,
    STT_FUNC,
    read_file,
)
from pybpftool.errors import FormatError
from pybpftool.gen.bpf_object import (
    ARENA_SECTION,
    F_LINK,
    F_MMAPABLE,
    F_RDONLY_PROG,
    INSN_BYTES,
    JUMP_TABLES,
    STRUCT_OPS_SECTIONS,
    BpfObject,
    Map,
    Program,
    internal_map_name,
    object_name,
)
from pybpftool.gen.datasecs import collect_externs, ids_of_kind, read_datasecs, skip_modifiers
from pybpftool.gen.map_defs import (
    ARENA,
    ARRAY_MAP,
    PERCPU_ARRAY,
    STRUCT_OPS,
    read_definition,
)
from pybpftool.gen.relocations import collect_relocations
from pybpftool.uapi.btf import DATASEC, STRUCT, VAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.elf.relocatable import Section

_MAX_DATA = 1 << 30


def open_file(path: str, name: str | None = None) -> BpfObject:
    """Open the object file ``path``; ``name`` is what it is called in names of maps.

    Raises :class:`FormatError` for what libbpf refuses, :class:`pybpftool.errors.BpfError`
    for a file that cannot be read.
    """
    data = read_file(path)
    try:
        return open_bytes(data, object_name(path) if name is None else name)
    except FormatError as error:
        raise FormatError(f"cannot open the BPF object '{path}': {error}") from None


def open_bytes(data: bytes, name: str) -> BpfObject:
    """Open what a file holds; raises :class:`FormatError`."""
    obj = BpfObject(data, name)
    _Opener(obj).run()
    return obj


class _Opener:
    """The steps of opening, in libbpf's order: the first thing wrong is the one reported."""

    def __init__(self, obj: BpfObject) -> None:
        self.obj = obj
        self.elf = obj.elf

    def run(self) -> None:
        obj = self.obj
        self._collect()
        obj.externs = collect_externs(self.elf, obj.btf)
        if obj.btf is not None:
            obj.datasecs = read_datasecs(self.elf, obj.btf, obj.externs)
        self._defined_maps()
        self._variable_maps()
        self._kconfig_map()
        for section in obj.struct_ops_sections:
            self._struct_ops_maps(section)
        collect_relocations(obj)
        # To a libbpf that knows no such maps a skeleton may not name what nobody needs.
        needed = {one.name for program in obj.functions for one in program.relocations}
        obj.maps = [one for one in obj.maps if one.kind != "percpu" or one.name in needed]

    def _collect(self) -> None:
        obj, elf = self.obj, self.elf
        contents: dict[str, bytes] = {}
        for section in elf.sections[1:]:
            name = section.name
            if name is None:
                raise FormatError(f"the section {section.number} has no name")
            if _is_ignored(section.type, section.size, name):
                continue
            data = elf.content(section)
            if name == "license":
                obj.license = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            elif name == "version":
                if len(data) != 4:
                    raise FormatError("its section 'version' is not a kernel version of 4 bytes")
            elif name == "maps":
                raise FormatError(
                    "it defines maps in the old way (section 'maps'), which libbpf 1.0 dropped"
                )
            elif name == ".maps":
                obj.maps_index = section.number
            elif name in (".BTF", ".BTF.ext"):
                if section.type != SHT_PROGBITS:
                    raise FormatError(f"its section {name} has the wrong type {section.type}")
                contents[name] = data
            elif section.type == SHT_PROGBITS and data:
                self._program_data(section, name, data)
            elif section.type == SHT_REL:
                self._relocations(section, name)
            elif section.type == SHT_NOBITS and (name == ".bss" or name.startswith(".bss.")):
                obj.data_kinds[section.number] = "bss"
        strings = elf.symbol_table.link
        if not 0 < strings < len(elf.sections):
            raise FormatError("its symbols have no table of names")
        obj.sort_functions()
        self._btf(contents)

    def _program_data(self, section: Section, name: str, data: bytes) -> None:
        obj = self.obj
        if section.flags & SHF_EXECINSTR:
            if name == ".text":
                obj.text_index = section.number
            self._functions(section, name, data)
        elif name == ".data" or name.startswith(".data."):
            obj.data_kinds[section.number] = "data"
        elif name == ".rodata" or name.startswith(".rodata."):
            obj.data_kinds[section.number] = "rodata"
        elif name == ".percpu" or name.startswith(".percpu."):
            obj.data_kinds[section.number] = "percpu"  # libbpf 1.8
        elif name in STRUCT_OPS_SECTIONS:
            obj.struct_ops_sections.append(section)
        elif name in (ARENA_SECTION, JUMP_TABLES):
            obj.special[name] = section

    def _functions(self, section: Section, name: str, data: bytes) -> None:
        index = section.number
        for symbol in self.elf.symbols:
            if symbol.section != index or symbol.type != STT_FUNC:
                continue
            if not symbol.name and not self.elf.has_name(symbol):
                raise FormatError(f"a program in the section '{name}' has no name")
            start, size = symbol.value, symbol.size
            if start + size > len(data):
                raise FormatError(f"the program '{symbol.name}' goes beyond its section '{name}'")
            if symbol.binding == STB_LOCAL and name != ".text":
                raise FormatError(
                    f"the program '{symbol.name}' of the section '{name}' is static; only"
                    " functions outside such sections can be"
                )
            if not size or size % INSN_BYTES or start % INSN_BYTES:
                raise FormatError(
                    f"the program '{symbol.name}' of the section '{name}' is not made of whole"
                    " instructions"
                )
            code = data[start : start + size]
            program = Program(symbol.name, name, index, start // INSN_BYTES, code)
            program.is_global = symbol.binding != STB_LOCAL
            program.is_subprog = name == ".text"
            self.obj.functions.append(program)

    def _relocations(self, section: Section, name: str) -> None:
        sections = self.elf.sections
        if section.entry_size != 16 or section.info >= len(sections):
            raise FormatError(f"the section '{name}' holds impossible relocations")
        wanted = (".rel.maps", *[f".rel{one}" for one in STRUCT_OPS_SECTIONS])
        if sections[section.info].flags & SHF_EXECINSTR or name in wanted:
            self.obj.relocation_sections.append(section)

    def _btf(self, contents: dict[str, bytes]) -> None:
        from pybpftool.btf.table import Btf

        obj = self.obj
        is_needed = obj.maps_index >= 0 or bool(obj.struct_ops_sections)
        data = contents.get(".BTF")
        if data is None:
            if is_needed:
                raise FormatError("its maps need BTF, and it has none; was it built without -g?")
            return
        try:
            obj.btf = Btf.from_bytes(data)
            obj.btf.pointer_size = 8
        except FormatError:
            if is_needed:
                raise
            return
        extension = contents.get(".BTF.ext")
        if extension is None:
            return
        from pybpftool.btf.ext import check

        try:
            check(extension)
        except FormatError:
            if is_needed:  # Upstream quirk: maps need .BTF alone, but libbpf takes both or neither.
                raise
            return
        obj.btf_ext = extension

    def _defined_maps(self) -> None:
        obj, btf = self.obj, self.obj.btf
        if obj.maps_index < 0 or btf is None:
            return
        section = self.elf.sections[obj.maps_index]
        size = section.size if section.type == SHT_NOBITS else len(self.elf.content(section))
        found = [one for one in obj.datasecs.values() if one.name == ".maps"]
        if not found:
            raise FormatError("its BTF does not tell what is in its section .maps")
        obj.maps_datasec = found[0]
        for variable in found[0].variables:
            name = variable.name
            words, at = btf.at(variable.var_id)
            if not name or variable.offset + variable.size > size:
                raise FormatError(f"the map '{name}' is not in its section .maps")
            if variable.is_static or words[at + 2] != 1:
                raise FormatError(f"the map '{name}' is static or only declared")
            struct_id = skip_modifiers(btf, variable.type_id)
            if btf.kind(struct_id) != STRUCT or btf.type(struct_id).size_or_type > variable.size:
                raise FormatError(f"the map '{name}' is not defined by a struct")
            entry = Map(name, "", obj.maps_index, variable.offset)
            entry.size = variable.size
            entry.definition = read_definition(btf, name, struct_id)
            obj.maps.append(entry)
        self._arena()

    def _arena(self) -> None:
        obj = self.obj
        arenas = [one for one in obj.maps if one.definition.type == ARENA]
        if len(arenas) > 1:
            raise FormatError(f"it has two arenas: '{arenas[0].name}', '{arenas[1].name}'")
        section = obj.special.get(ARENA_SECTION)
        if not arenas:
            if section is not None:
                raise FormatError("it has variables in an arena, but no map that is one")
            return
        obj.arena = arenas[0]
        if section is None:
            return
        import os

        data = self.elf.content(section)
        pages = -(-len(data) // os.sysconf("SC_PAGESIZE"))
        if pages > obj.arena.definition.max_entries:
            raise FormatError(f"the arena '{obj.arena.name}' is too small for its variables")
        obj.arena.data = data
        obj.arena.is_mmapable = True

    def _variable_maps(self) -> None:
        for index, kind in sorted(self.obj.data_kinds.items()):
            section = self.elf.sections[index]
            data = self.elf.content(section)
            if section.size:
                assert section.name is not None
                self._internal_map(kind, section.name, index, data, section.size)

    def _internal_map(self, kind: str, name: str, index: int, data: bytes, size: int) -> None:
        obj, btf = self.obj, self.obj.btf
        entry = Map(name, kind, index, 0)
        entry.kernel_name = internal_map_name(obj.name, name)
        if kind in ("bss", "kconfig") or name in (".data", ".rodata"):
            entry.name = entry.kernel_name
        if size > _MAX_DATA:
            raise FormatError(f"its section {name} claims {size} bytes")
        entry.data = data or bytes(size)
        definition = entry.definition
        definition.type = PERCPU_ARRAY if kind == "percpu" else ARRAY_MAP
        definition.key_size, definition.value_size = 4, size
        definition.max_entries = 1
        if kind in ("rodata", "kconfig"):
            definition.map_flags = F_RDONLY_PROG
        type_id = None if btf is None else btf.find(name)
        if type_id is not None:
            definition.value_type_id = type_id
            section = obj.datasecs.get(type_id)
            # What is all static is nobody else's business.
            if section is not None and not all(one.is_static for one in section.variables):
                # A value for each CPU is seen in memory until it is loaded, and not shared.
                definition.map_flags |= 0 if kind == "percpu" else F_MMAPABLE
                entry.is_mmapable = True
        obj.maps.append(entry)

    def _kconfig_map(self) -> None:
        last = None
        for extern in self.obj.externs:
            if extern.section == ".kconfig":
                last = extern
        if last is not None:
            index = self.elf.symbol_table.number  # where libbpf puts it, having no section
            size = last.offset + last.size
            self._internal_map("kconfig", ".kconfig", index, b"", size)

    def _struct_ops_maps(self, section: Section) -> None:
        obj, btf = self.obj, self.obj.btf
        assert btf is not None and section.name is not None
        data = self.elf.content(section)
        found = [one for one in ids_of_kind(btf, DATASEC) if btf.name(one) == section.name]
        if not found:
            raise FormatError(f"its BTF does not tell what is in its section {section.name}")
        for variable in obj.datasecs[found[0]].variables:
            name = variable.name
            if btf.kind(variable.var_id) != VAR:
                raise FormatError(f"'{name}' in {section.name} is not a variable")
            type_id = btf.resolve(variable.type_id)
            if type_id is None or btf.kind(type_id) != STRUCT or not btf.name(type_id):
                raise FormatError(f"the struct_ops map '{name}' is not a struct with a name")
            size = btf.type(type_id).size_or_type
            if variable.offset + size > len(data):
                raise FormatError(f"the struct_ops map '{name}' goes beyond {section.name}")
            entry = Map(name, "struct_ops", section.number, variable.offset)
            entry.autocreate = not section.name.startswith("?")
            entry.data = data[variable.offset : variable.offset + size]
            definition = entry.definition
            definition.type, definition.key_size, definition.value_size = STRUCT_OPS, 4, size
            definition.max_entries = 1
            definition.value_type_id = type_id
            if section.name.endswith(".link"):
                definition.map_flags = F_LINK
            obj.maps.append(entry)


def _is_ignored(kind: int, size: int, name: str) -> bool:
    """Sections that mean nothing to a loader: names, debug information."""
    if kind in (SHT_STRTAB, SHT_LLVM_ADDRSIG):
        return True
    if kind == SHT_PROGBITS and not size and name == ".text":
        return True
    target = name[4:] if name.startswith(".rel") else name
    if target.startswith(".debug_"):
        return True
    return name in (".rel.BTF", ".rel.BTF.ext")
