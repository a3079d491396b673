"""What a person wants to know of a BPF object file: ``obj show``, ``obj relocs``."""

from __future__ import annotations

from pybpftool.btf.core.spec import KINDS, CoreError, parse
from pybpftool.elf.relocatable import SHT_NULL, SHT_STRTAB, SHT_SYMTAB
from pybpftool.errors import FormatError
from pybpftool.records import Record
from pybpftool.uapi.bpf import MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.ext import BtfExt
    from pybpftool.btf.table import Btf
    from pybpftool.gen.bpf_object import BpfObject, Map
    from pybpftool.gen.datasecs import Variable

    Json = dict[str, object]

# Sections that hold the file together, and those that only debuggers and linkers read.
_OF_THE_FILE = (SHT_NULL, SHT_SYMTAB, SHT_STRTAB)
_FOR_TOOLS = (".debug", ".rel", ".llvm")


class CoreRelocation(Record):
    """A CO-RE relocation of a program; ``insn`` counts in it."""

    program: str
    insn: int
    kind: str
    what: str


def btf_ext(obj: BpfObject) -> BtfExt | None:
    """The object's .BTF.ext, if it has one that can be read."""
    from pybpftool.btf.ext import BtfExt

    if obj.btf is None or obj.btf_ext is None:
        return None
    try:
        return BtfExt(obj.btf_ext, obj.btf)
    except FormatError:
        return None  # libbpf goes on without it, too


def core_relocations(obj: BpfObject) -> list[CoreRelocation]:
    """The object's CO-RE relocations, section by section."""
    ext = btf_ext(obj)
    found = []
    for section, rows in ext.relocations.items() if ext is not None else ():
        for row in rows:
            program = obj.function_in(section, row.offset // 8)
            start = program.start if program is not None else 0
            name = program.name if program is not None else section
            kind = KINDS[row.kind] if row.kind < len(KINDS) else str(row.kind)
            assert obj.btf is not None
            try:
                what = parse(obj.btf, row).text()
            except CoreError as error:
                what = f"impossible: {error}"
            found.append(CoreRelocation(name, row.offset // 8 - start, kind, what))
    return found


def _type_name(number: int) -> str:
    return MAP_TYPES[number] if number < len(MAP_TYPES) else f"type {number}"


class Description:
    """An object file in words; :meth:`text` and :meth:`json` tell the same."""

    def __init__(self, path: str, obj: BpfObject) -> None:
        self.path = path
        self.obj = obj
        self.core = core_relocations(obj)
        self._offsets: list[int] = []

    def _declaration(self, btf: Btf, variable: Variable) -> str:
        """A variable in C, as if it stood alone."""
        from pybpftool.btf.c.plain import DeclarationTexts

        if not self._offsets:
            self._offsets = [0, *btf.own_offsets()]
        texts = DeclarationTexts(btf, self._offsets)
        return " ".join(texts.of(variable.type_id, variable.name, 0, True).split())

    def text(self) -> str:
        """Several lines: the file, then what it has, a line each."""
        obj = self.obj
        btf = f"{obj.btf.count - 1} types of BTF" if obj.btf is not None else "no BTF"
        license = f"license {obj.license}" if obj.license else "no license"
        lines = [f"{self.path}: {license}, {btf}, {len(self.core)} CO-RE relocations"]
        for program in obj.programs:
            when = "" if program.autoload else "  not loaded by itself"
            kind = program.type or "unknown"
            lines.append(
                f"prog  {program.name}  {kind}  section {program.section}"
                f"  {program.count} insns{when}"
            )
        for program in obj.functions:
            if program.is_subprog:
                scope = "global" if program.is_global else "static"
                lines.append(f"func  {program.name}  {scope}  {program.count} insns")
        lines += [_map_text(entry) for entry in obj.maps]
        if obj.btf is not None:
            for section in obj.datasecs.values():
                if section.name in (".maps", "license", "version", ".ksyms"):
                    continue
                for variable in section.variables:
                    scope = "static" if variable.is_static else "global"
                    lines.append(
                        f"var  {self._declaration(obj.btf, variable)}  {section.name}"
                        f"+{variable.offset}  {variable.size}B  {scope}"
                    )
        for extern in obj.externs:
            kind = "function" if extern.is_function else "variable"
            weak = "  weak" if extern.is_weak else ""
            lines.append(f"extern  {extern.name}  {kind}  {extern.section}{weak}")
        for one in obj.elf.sections:
            if one.type not in _OF_THE_FILE and not (one.name or "").startswith(_FOR_TOOLS):
                lines.append(f"section  {one.name}  {one.size}B")
        return "".join([f"{line}\n" if at == 0 else f"\t{line}\n" for at, line in enumerate(lines)])

    def json(self) -> Json:
        """The same as plain data."""
        obj = self.obj
        return {
            "file": self.path,
            "license": obj.license or None,
            "btf_types": None if obj.btf is None else obj.btf.count - 1,
            "programs": [
                {
                    "name": one.name,
                    "type": one.type or None,
                    "section": one.section,
                    "insns": one.count,
                    "autoload": one.autoload,
                }
                for one in obj.programs
            ],
            "functions": [
                {"name": one.name, "global": one.is_global, "insns": one.count}
                for one in obj.functions
                if one.is_subprog
            ],
            "maps": [_map_json(entry) for entry in obj.maps],
            "variables": self._variables(),
            "externs": [
                {
                    "name": one.name,
                    "kind": "function" if one.is_function else "variable",
                    "section": one.section,
                    "weak": one.is_weak,
                }
                for one in obj.externs
            ],
            "core_relocations": len(self.core),
            "sections": [
                {"name": one.name, "size": one.size}
                for one in obj.elf.sections
                if one.type != SHT_NULL
            ],
        }

    def _variables(self) -> list[Json]:
        btf = self.obj.btf
        if btf is None:
            return []
        return [
            {
                "name": variable.name,
                "declaration": self._declaration(btf, variable),
                "section": section.name,
                "offset": variable.offset,
                "size": variable.size,
                "static": variable.is_static,
            }
            for section in self.obj.datasecs.values()
            if section.name not in (".maps", "license", "version", ".ksyms")
            for variable in section.variables
        ]

    def relocations_text(self) -> str:
        """What each instruction refers to: ``prog: insn 4: map flows``."""
        lines = [f"{self.path}:\n"]
        for program in self.obj.functions:
            for one in program.relocations:
                offset = f"+{one.offset}" if one.kind == "data" else ""
                lines.append(f"\t{program.name}: insn {one.insn}: {one.kind} {one.name}{offset}\n")
        for core in self.core:
            lines.append(f"\t{core.program}: insn {core.insn}: {core.kind} {core.what}\n")
        return "".join(lines)

    def relocations_json(self) -> Json:
        """The same as plain data."""
        return {
            "file": self.path,
            "relocations": [
                {
                    "program": program.name,
                    "insn": one.insn,
                    "kind": one.kind,
                    "name": one.name,
                    "offset": one.offset,
                }
                for program in self.obj.functions
                for one in program.relocations
            ],
            "core_relocations": [
                {"program": one.program, "insn": one.insn, "kind": one.kind, "what": one.what}
                for one in self.core
            ],
        }


def _map_text(entry: Map) -> str:
    one = entry.definition
    text = (
        f"map  {entry.name}  {_type_name(one.type)}  key {one.key_size}B  value {one.value_size}B"
    )
    text += f"  max_entries {one.max_entries}  flags {one.map_flags:#x}"
    if one.inner is not None:
        text += f"  of {_type_name(one.inner.type)} maps"
    if one.pinning:
        text += "  pinned by name"
    if not entry.autocreate:
        text += "  not created by itself"
    for number, name in sorted(entry.slots.items()):
        text += f"  [{number}] {name}"
    return text


def _map_json(entry: Map) -> Json:
    one = entry.definition
    return {
        "name": entry.name,
        "type": _type_name(one.type),
        "bytes_key": one.key_size,
        "bytes_value": one.value_size,
        "max_entries": one.max_entries,
        "flags": one.map_flags,
        "map_extra": one.map_extra,
        "pinned_by_name": bool(one.pinning),
        "autocreate": entry.autocreate,
        "values": {str(number): name for number, name in sorted(entry.slots.items())},
    }
