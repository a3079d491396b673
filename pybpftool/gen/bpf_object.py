"""A BPF object file as libbpf sees it: programs, maps, variables, and what they are called."""

from __future__ import annotations

from _bisect import bisect_right  # without the Python of bisect

from pybpftool.elf.relocatable import Relocatable
from pybpftool.gen.map_defs import MapDefinition
from pybpftool.records import Record
from pybpftool.uapi.bpf import BPF_OBJ_NAME_LEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf
    from pybpftool.elf.relocatable import Section
    from pybpftool.gen.datasecs import DataSection, Extern

INSN_BYTES = 8
_NAME_BYTES = BPF_OBJ_NAME_LEN - 1
F_RDONLY_PROG, F_MMAPABLE, F_LINK = 1 << 7, 1 << 10, 1 << 13
STRUCT_OPS_SECTIONS = (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")
ARENA_SECTION, JUMP_TABLES = ".addr_space.1", ".jumptables"


class Relocated(Record):
    """An instruction (by its number in its program) and what it refers to.

    ``kind`` is "map", "data" (``offset`` bytes into a map of variables), "call", "address"
    (of a function), "extern", "extern call" or "jump table".
    """

    insn: int
    kind: str
    name: str
    offset: int


class Program:
    """A function in a section of code; offsets and lengths are in instructions."""

    __slots__ = (
        "autoload",
        "count",
        "data",
        "is_global",
        "is_subprog",
        "name",
        "relocations",
        "section",
        "section_index",
        "start",
    )

    def __init__(self, name: str, section: str, index: int, start: int, data: bytes) -> None:
        self.name = name
        self.autoload = not section.startswith("?")
        self.section = section if self.autoload else section[1:]
        """The section's name, without the ``?`` that means not to load it by itself."""
        self.section_index = index
        self.start = start
        self.count = len(data) // INSN_BYTES
        self.data = data
        self.is_global = True
        self.is_subprog = False
        self.relocations: list[Relocated] = []

    @property
    def type(self) -> str:
        """As ``prog show`` calls it; "" where the section's name does not tell."""
        from pybpftool.gen.section_names import program_type

        return program_type(self.section)

    def __repr__(self) -> str:
        return f"<Program {self.name!r} in {self.section!r}, {self.count} instructions>"


class Map:
    """A map of an object.

    ``kind`` is "" for those that the source defines, "struct_ops", or what a section of
    variables becomes: "data", "rodata", "percpu", "bss", "kconfig". ``value_type_id`` is the BTF id
    of the value's type or of the variables' DATASEC.
    """

    __slots__ = (
        "autocreate",
        "data",
        "definition",
        "is_mmapable",
        "kernel_name",
        "kind",
        "name",
        "offset",
        "section_index",
        "size",
        "slots",
    )

    def __init__(self, name: str, kind: str, index: int, offset: int) -> None:
        self.name = name
        self.kind = kind
        self.section_index = index
        self.offset = offset
        self.size = 0  # of its definition in .maps
        self.kernel_name = name
        """What the kernel calls it, the first 15 bytes of which it takes."""
        self.data: bytes | None = None
        """What it holds at first, if the object tells."""
        self.definition = MapDefinition(name)
        self.autocreate = True
        self.is_mmapable = False
        """Whether a program can see its variables in memory."""
        self.slots: dict[int, str] = {}
        """Initial elements by index: names of maps or programs."""

    @property
    def is_internal(self) -> bool:
        """Whether libbpf makes it of a section of variables."""
        return self.kind not in ("", "struct_ops")

    def __repr__(self) -> str:
        return f"<Map {self.name!r} of type {self.definition.type}>"


class BpfObject:
    """An opened object: ``programs`` (those to be loaded), ``subprogs``, ``maps`` and more."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self.elf = Relocatable(data)
        self.license = ""
        self.btf: Btf | None = None
        self.btf_ext: bytes | None = None
        self.functions: list[Program] = []
        self.maps: list[Map] = []
        self.externs: list[Extern] = []
        self.datasecs: dict[int, DataSection] = {}
        self.text_index = 0
        self.maps_index = -1
        self.maps_datasec: DataSection | None = None
        self.arena: Map | None = None
        # Sections of variables by index: their kind.
        self.data_kinds: dict[int, str] = {}
        self.struct_ops_sections: list[Section] = []
        self.relocation_sections: list[Section] = []
        self.special: dict[str, Section] = {}
        self._places: list[tuple[int, int]] = []
        self._indexes: dict[str, list[int]] = {}  # of sections with functions, by name

    def sort_functions(self) -> None:
        """Put the functions in the order of their places, when all are there."""
        self.functions.sort(key=lambda one: (one.section_index, one.start))
        self._places = [(one.section_index, one.start) for one in self.functions]
        for index in dict.fromkeys(one.section_index for one in self.functions):
            name = self.elf.sections[index].name or ""
            self._indexes.setdefault(name, []).append(index)

    def function_at(self, section_index: int, insn: int) -> Program | None:
        """The function that has an instruction of a section (libbpf: find_prog_by_sec_insn())."""
        at = bisect_right(self._places, (section_index, insn)) - 1
        if at < 0:
            return None
        found = self.functions[at]
        is_there = found.section_index == section_index and insn - found.start < found.count
        return found if is_there else None

    def function_in(self, section: str, insn: int) -> Program | None:
        """The function that has an instruction of the section of this name."""
        found = (self.function_at(index, insn) for index in self._indexes.get(section, ()))
        return next(filter(None, found), None)

    @property
    def programs(self) -> list[Program]:
        """What can be loaded: functions that are not in ``.text``."""
        return [one for one in self.functions if not one.is_subprog]


def object_name(path: str) -> str:
    """An object's name by its file's: 63 bytes of it, without ``.o``, an identifier in C."""
    base = path.rstrip("/").rpartition("/")[2] or "/"
    name = base.encode("utf-8", "surrogateescape")[:63].removesuffix(b".o")
    return identifier(name.decode("utf-8", "surrogateescape"))


def identifier(name: str) -> str:
    """A name in which what C does not allow in one is ``_``, byte for byte."""
    if name.isascii() and name.replace("_", "a").isalnum():
        return name
    raw = name.encode("utf-8", "surrogateescape")
    return "".join([chr(c) if c < 128 and chr(c).isalnum() else "_" for c in raw])


def internal_map_name(object_name: str, section: str) -> str:
    """What libbpf calls the map of a section of variables; the kernel wants 15 bytes."""
    length = min(max(7, len(section)), _NAME_BYTES)
    prefix = "" if "." in section[1:] else object_name[: _NAME_BYTES - length]
    name = (prefix + section[:length])[:_NAME_BYTES]
    return "".join([c if c in "_." or (c.isascii() and c.isalnum()) else "_" for c in name])
