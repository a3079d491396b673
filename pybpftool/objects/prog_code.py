"""Programs' code: instructions as the verifier left them, machine code, and what explains both."""

from __future__ import annotations

from errno import EACCES, EPERM

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import MAP_INFO, PROG_INFO, unpack_u32, unpack_u64
from pybpftool.objects.kernel_symbols import SymbolSource, may_see_addresses, silent, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.insn.program import XlatedProgram
    from pybpftool.insn.symbols import KernelSymbols
    from pybpftool.jit.program import JitedProgram
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog import ProgramReader

    Say = Callable[[str], object]
    Xlated = XlatedProgram
    Jited = JitedProgram

XLATED_ARRAYS = ("xlated", "jited_ksyms", "func_info", "line_info")
_JITED_ARRAYS = (
    *("jited", "jited_ksyms", "jited_func_lens"),
    *("func_info", "line_info", "jited_line_info"),
)
# A call whose number the kernel hides (bpf_insn_prepare_dump() without bpf_dump_raw_ok()).
_HIDDEN_CALL = bytes((0x85, 0, 0, 0, 0, 0, 0, 0))
# Bytes of instructions from which reading symbols beside other work pays for a thread.
_LONG = 1 << 16
_BPF_MAP_TYPE_INSN_ARRAY = 34
_GOTOX = 0x0D


class CodeReader:
    """Reads the code of one kernel's programs; its symbols are read once for all of them.

    ``say`` takes sentences on why something is shown without its names, ``aside`` the one on
    BTF that may not be read: code can be read with CAP_BPF, or by who may open a pin, BTF by its
    id only with CAP_SYS_ADMIN. Where the kernel withholds the code, BpfError says why.
    """

    __slots__ = ("_aside", "_kernel", "_reader", "symbols")

    def __init__(
        self, kernel: Kernel, reader: ProgramReader, say: Say = silent, aside: Say = silent
    ) -> None:
        self._kernel = kernel
        self._reader = reader
        self._aside: Say | None = aside
        self.symbols = SymbolSource(kernel, say)

    def _btf(self, id: int) -> Btf | None:
        try:
            return self._reader.btf(id)
        except KernelError as error:
            if error.errno not in (EPERM, EACCES):
                raise
            if self._aside is not None:
                self._aside(f"Code is shown without source lines and types: {error}")
                self._aside = None  # once for all programs
            return None

    def xlated(self, obj: BpfObject) -> XlatedProgram:
        """The instructions as the verifier left them."""
        kernel = self._kernel
        arrays = kernel.prog_arrays(obj, XLATED_ARRAYS)
        if not arrays["xlated"]:
            raise BpfError(why_no_code(kernel, obj, "xlated"))
        if arrays["jited_ksyms"] is None and _HIDDEN_CALL in arrays["xlated"]:
            self.symbols()  # which says why all helpers look like number 0
        if arrays["jited_ksyms"] and len(arrays["xlated"]) > _LONG:
            # Names of subprograms come last in the list of symbols.
            self.symbols.read_ahead()
        return xlated_program(kernel, arrays, self._btf, self.symbols)

    def jited(self, obj: BpfObject) -> JitedProgram:
        """The machine code."""
        from pybpftool.jit.program import JitedProgram

        kernel = self._kernel
        order = kernel.byteorder
        arrays = kernel.prog_arrays(obj, _JITED_ARRAYS)
        info = PROG_INFO.decode(arrays["info"], order)
        if not arrays["jited"]:
            raise BpfError(why_no_code(kernel, obj, "jited"))
        if info["ifindex"]:
            raise BpfError(
                f"the machine code of program {obj.id} is that of the network device"
                f" {info['ifindex']}, for which there is no disassembler"
            )
        return JitedProgram(
            image=arrays["jited"],
            func_lens=unpack_u32(arrays["jited_func_lens"] or b"", order),
            ksyms=unpack_u64(arrays["jited_ksyms"] or b"", order),
            func_info=arrays["func_info"] or b"",
            func_info_rec_size=info["func_info_rec_size"],
            line_info=arrays["line_info"] or b"",
            line_info_rec_size=info["line_info_rec_size"],
            line_addresses=_line_addresses(
                arrays["jited_line_info"] or b"", info["jited_line_info_rec_size"], kernel
            ),
            btf=self._btf(info["btf_id"]) if info["btf_id"] else None,
            symbols=self.symbols,
            machine=kernel.machine,
            byteorder=order,
        )

    def jump_tables(self, obj: BpfObject, code: XlatedProgram) -> dict[int, list[int]]:
        """What the ``gotox`` of a program may go to, if it has any; see :func:`jump_tables`."""
        return jump_tables(self._kernel, obj) if has_indirect_jumps(code.insns) else {}


def not_loaded(kernel: Kernel, insns: bytes, say: Say = silent) -> XlatedProgram:
    """Instructions that a kernel has not seen, with its names for helpers."""
    from pybpftool.insn.program import XlatedProgram

    return XlatedProgram(insns, symbols=SymbolSource(kernel, say), byteorder=kernel.byteorder)


def xlated_program(
    kernel: Kernel,
    arrays: dict[str, Any],
    read_btf: Callable[[int], Btf | None] | None,
    symbols: Callable[[], KernelSymbols | None] | None,
) -> XlatedProgram:
    """The instructions that :data:`XLATED_ARRAYS` hold; without ``read_btf`` no source lines."""
    from pybpftool.insn.program import XlatedProgram

    info = PROG_INFO.decode(arrays["info"], kernel.byteorder)
    return XlatedProgram(
        insns=arrays["xlated"],
        nr_jited_ksyms=info["nr_jited_ksyms"],
        jited_ksyms=unpack_u64(arrays["jited_ksyms"] or b"", kernel.byteorder),
        func_info=arrays["func_info"] or b"",
        func_info_rec_size=info["func_info_rec_size"],
        line_info=arrays["line_info"] or b"",
        line_info_rec_size=info["line_info_rec_size"],
        btf=read_btf(info["btf_id"]) if read_btf is not None and info["btf_id"] else None,
        symbols=symbols,
        byteorder=kernel.byteorder,
    )


def _line_addresses(data: bytes, rec_size: int, kernel: Kernel) -> tuple[int, ...]:
    if rec_size < 8 or len(data) < rec_size:
        return ()
    from struct import iter_unpack

    usable = len(data) // rec_size * rec_size
    form = f"{kernel.byteorder}Q{rec_size - 8}x"
    return tuple([address for (address,) in iter_unpack(form, data[:usable])])


def why_no_code(kernel: Kernel, obj: BpfObject, mode: str) -> str:
    """The reason why the kernel gave no instructions, as far as it can be told."""
    what = f"the {mode} instructions of program {obj.id} cannot be read"
    if obj.orphaned:
        return f"{what}: the network device that it was offloaded to is gone"
    if not PROG_INFO.decode(obj.info, kernel.byteorder)[f"{mode}_prog_len"]:
        if mode == "jited":
            return (
                f"{what}: it is not compiled (sysctl net.core.bpf_jit_enable is"
                f" {sysctl(kernel, 'net/core/bpf_jit_enable')}) or this needs CAP_BPF"
            )
        return f"{what}: this needs the capability CAP_BPF"
    if not may_see_addresses(kernel):
        return f"{what}: this needs the capability CAP_SYSLOG (try as root)"
    return (
        f"{what}: the sysctls kernel.kptr_restrict ({sysctl(kernel, 'kernel/kptr_restrict')})"
        f" and net.core.bpf_jit_harden ({sysctl(kernel, 'net/core/bpf_jit_harden')})"
        " hide them"
    )


def has_indirect_jumps(insns: bytes) -> bool:
    """Whether there is a ``gotox`` among the instructions."""
    return _GOTOX in insns[::8]


def jump_tables(kernel: Kernel, obj: BpfObject) -> dict[int, list[int]]:
    """The instruction arrays of a program by map id: the slots that they point to.

    An array holds ``struct bpf_insn_array_value``: the second of its 32-bit words is the
    slot in the translated program (``linux/bpf.h``, Linux 6.19). Arrays that cannot
    be read are left out.
    """
    from struct import unpack_from

    tables: dict[int, list[int]] = {}
    ids = kernel.prog_arrays(obj, ("map_ids",))["map_ids"] or b""
    for (id,) in (unpack_from(f"{kernel.byteorder}I", ids, at) for at in range(0, len(ids), 4)):
        try:
            map = kernel.open("map", id)
        except KernelError:
            continue
        try:
            info = MAP_INFO.decode(map.info, kernel.byteorder)
            if info["type"] != _BPF_MAP_TYPE_INSN_ARRAY or info["value_size"] < 8:
                continue
            order = "little" if kernel.byteorder == "<" else "big"
            slots = []
            for index in range(info["max_entries"]):
                value = kernel.map_value(map, index.to_bytes(4, order))  # type: ignore[arg-type]  # a word of two
                slots.append(unpack_from(f"{kernel.byteorder}I", value, 4)[0])
            tables[id] = slots
        except KernelError:
            continue
        finally:
            kernel.close(map)
    return tables
