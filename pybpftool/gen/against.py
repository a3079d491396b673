"""``obj check``: would an object's relocations and targets be found on another kernel?

Against its BTF alone: fields and types of CO-RE, kernel functions and variables, and what
programs attach to by BTF (``fentry/tcp_connect``).
"""

from __future__ import annotations

from pybpftool.btf.core.compat import essential
from pybpftool.btf.core.resolve import Resolver, Targets, unsafe_resize
from pybpftool.btf.core.spec import KINDS, CoreError
from pybpftool.gen.bpf_object import INSN_BYTES
from pybpftool.gen.description import btf_ext
from pybpftool.records import Record
from pybpftool.uapi.btf import FUNC, STRUCT, TYPEDEF, VAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.core.resolve import Resolved
    from pybpftool.btf.ext import BtfExt
    from pybpftool.btf.table import Btf
    from pybpftool.gen.bpf_object import BpfObject, Program
    from pybpftool.kernel.interface import Kernel

    Json = dict[str, object]

# What a program of a section attaches to by BTF: the kind there, what its name begins with.
_TARGETS = {
    **dict.fromkeys(("fentry", "fexit", "fmod_ret", "fsession"), (FUNC, "")),
    "tp_btf": (TYPEDEF, "btf_trace_"),
    "iter": (FUNC, "bpf_iter_"),
    "lsm": (FUNC, "bpf_lsm_"),
    "lsm_cgroup": (FUNC, "bpf_lsm_"),
}
_JUMPS = (5, 6)  # BPF_JMP, BPF_JMP32
_CALL = 0x85


class Finding(Record):
    """Something that the kernel lacks; ``insn`` is None where it is not an instruction.

    ``is_fatal``: whether the object cannot be loaded, whatever its programs ask. Otherwise the
    program is refused if it can get to that instruction, which code that asks first cannot.
    """

    program: str
    insn: int | None
    source: str
    what: str
    reason: str
    is_fatal: bool

    def text(self) -> str:
        """One line."""
        where = self.program if self.insn is None else f"{self.program}: insn {self.insn}"
        source = f" `{self.source}`" if self.source else ""
        return f"\t{where}{source}: {self.what}: {self.reason}\n"

    def json(self) -> Json:
        """The fields by their names."""
        return {**self._asdict(), "is_fatal": self.is_fatal}


class Report(Record):
    """What was looked for in a kernel's BTF, and what is not there."""

    path: str
    relocations: int
    findings: list[Finding]

    def text(self) -> str:
        """One line for the file, one for each finding."""
        count = len(self.findings)
        missing = f"{count} not as needed" if count else "all as needed"
        lines = [one.text() for one in self.findings]
        return f"{self.path}: {self.relocations} CO-RE relocations, {missing}\n{''.join(lines)}"

    def json(self) -> Json:
        """The same as plain data."""
        return {
            "file": self.path,
            "relocations": self.relocations,
            "findings": [one.json() for one in self.findings],
        }


def targets_in(path: str, base: Btf | None = None) -> Targets:
    """The types in a file with BTF, and in its base; raises :class:`pybpftool.errors.BpfError`."""
    from pybpftool.btf.load import from_file

    return Targets(from_file(path, base))


def kernel_targets(kernel: Kernel) -> Targets:
    """The types of a kernel, running or recorded, and of its modules."""
    from pybpftool.btf.load import modules, vmlinux

    return Targets(vmlinux(kernel), lambda: modules(kernel))


def check(path: str, obj: BpfObject, targets: Targets) -> Report:
    """Look for all that an object needs in a kernel's BTF."""
    findings: list[Finding] = []
    ext = btf_ext(obj)
    count = 0
    if obj.btf is not None and ext is not None:
        resolver = Resolver(obj.btf, targets)
        ends: dict[str, int] = {}
        relocations = ext.relocations
        btf = obj.btf
        targets.expect({btf.name(row.type_id) for rows in relocations.values() for row in rows})
        for section, rows in relocations.items():
            count += len(rows)
            for row in rows:
                insn = row.offset // 8
                program = obj.function_in(section, insn)
                name = program.name if program is not None else section
                number = insn - (program.start if program is not None else 0)
                source = _source(obj.btf, ext, section, row.offset)
                try:
                    resolved = resolver.resolve(row)
                except CoreError as error:
                    fatal = program is None or program.autoload
                    findings.append(Finding(name, number, source, "CO-RE", str(error), fatal))
                    continue
                reason = _reason(resolved, program, number)
                if reason:
                    what = f"{KINDS[row.kind]} {resolved.local.text()}"
                    if name not in ends:
                        ends[name] = 0 if program is None else _straight(program)
                    fatal = number < ends[name]
                    findings.append(Finding(name, number, source, what, reason, fatal))
    findings += _externs(obj, targets)
    for program in obj.programs:
        findings += _target(program, targets)
    findings += _struct_ops(obj, targets)
    return Report(path, count, findings)


def _straight(program: Program) -> int:
    """How many of a program's first instructions always run, if it is to be loaded at all."""
    if program.is_subprog or not program.autoload:
        return 0
    data = program.data
    for number, (opcode, registers) in enumerate(zip(data[::INSN_BYTES], data[1::INSN_BYTES])):
        # Helpers return, which functions and kfuncs need not.
        if opcode & 7 in _JUMPS and (opcode != _CALL or registers):
            return number + 1
    return program.count


def _reason(resolved: Resolved, program: Program | None, number: int) -> str:
    """Why a relocation breaks its instruction; empty if it does not."""
    if resolved.is_broken:
        return "not there, or of another kind"
    # Only loads and stores have a size.
    has_size = program is not None and program.data[number * 8] & 7 in (1, 2, 3)
    if has_size and unsafe_resize(resolved) and resolved.old and resolved.new:
        sizes = f"{resolved.new.size} bytes, not {resolved.old.size}"
        return f"it has {sizes}, and cannot be read with another size"
    return ""


def _source(btf: Btf, ext: BtfExt, section: str, offset: int) -> str:
    """The line of source that an instruction comes from; empty if nobody knows."""
    text = ""
    for line in ext.lines.get(section, ()):
        if line.offset > offset:
            break
        text = btf.string(line.text) or ""
    return text.strip()


def _externs(obj: BpfObject, kernel: Targets) -> list[Finding]:
    found = []
    for extern in obj.externs:
        if extern.section != ".ksyms" or extern.is_weak:
            continue
        kind = FUNC if extern.is_function else VAR
        what = "kernel function" if extern.is_function else "kernel variable"
        name = essential(extern.name)
        is_typed = extern.is_function or bool(obj.btf and obj.btf.kind(extern.type_id))
        if is_typed and not kernel.has(name, kind):
            found.append(Finding(name, None, "", what, "not in the kernel's BTF", True))
    return found


def _target(program: Program, kernel: Targets) -> list[Finding]:
    word, _, name = program.section.partition("/")
    row = _TARGETS.get(word.removesuffix(".s"))
    if row is None or not name or not program.autoload:
        return []
    kind, prefix = row
    if kernel.has(prefix + name, kind):
        return []
    reason = f"'{name}' is not in the kernel's BTF"
    return [Finding(program.name, None, "", f"section {program.section}", reason, True)]


def _struct_ops(obj: BpfObject, kernel: Targets) -> list[Finding]:
    found = []
    for entry in obj.maps:
        if entry.kind == "struct_ops" and entry.autocreate and obj.btf is not None:
            name = essential(obj.btf.name(entry.definition.value_type_id))
            if not kernel.has(f"bpf_struct_ops_{name}", STRUCT):
                reason = f"the kernel has no struct_ops '{name}'"
                found.append(Finding(entry.name, None, "", "map", reason, True))
    return found
