"""Small programs of our own that ask the kernel what bpf(2) does not tell.

They are assembled here: no compiler, no relocation, no address of kallsyms. What the kernel
refuses raises :class:`Refused`, and the caller finds another way. Programs, links and maps live
for some milliseconds, without a name in any file system: they end with their descriptors, so
with our process at the latest.
"""

from __future__ import annotations

import posix
import sys
from struct import Struct

from pybpftool.kernel.syscall import ELEM_ATTR, F_SLEEPABLE, INFO_ATTR, Buffer, bpf
from pybpftool.kernel.typefind import KernelTypes, mapped, opened
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# enum bpf_func_id
PROBE_READ_KERNEL, PROBE_READ_KERNEL_STR, _SEQ_WRITE = 113, 115, 127
_BTF_FIND_BY_NAME_KIND = 167  # v5.14, 3d78417b60fb
_KIND_FUNC = 12
_PROG_TYPE_TRACING, PROG_TYPE_SYSCALL = 26, 31
_BPF_TRACE_ITER = 28

_INSN = Struct("=BBhi")
INSN_SIZE = _INSN.size
_SWAPS = sys.byteorder == "big"  # the two registers share a byte in the order of the machine
# Opcodes: include/uapi/linux/bpf.h, bpf_common.h.
LDX_DW, LDX_W, STX_DW, STX_W, ST_DW, ST_W = 0x79, 0x61, 0x7B, 0x63, 0x7A, 0x62
MOV, MOV_K, ADD_K, CALL, _EXIT = 0xBF, 0xB7, 0x07, 0x85, 0x95
JEQ_K, JNE_K, JEQ, JA, LD_IMM64 = 0x15, 0x55, 0x1D, 0x05, 0x18

# What an iterator's program gets, as struct bpf_iter__bpf_prog: meta, then the object. meta begins
# with the file that is read.
_META, OBJECT, _SEQ = 0, 8, 0

# union bpf_attr, as far as wanted.
_PROG_LOAD = Struct("=IIQQ")  # prog_type, insn_cnt, insns, license
_PROG_FLAGS, _EXPECTED_ATTACH_TYPE, _ATTACH_BTF_ID, _PROG_LOAD_SIZE = 44, 68, 108, 112
_TEST_RUN_SIZE = 80
_LINK_CREATE = Struct("=IIIIQI")  # prog_fd, target_fd, attach_type, flags, iter_info, its length
_MAP_CREATE = Struct("=5I")  # map_type, key_size, value_size, max_entries, map_flags
_MAP_TYPE_ARRAY = 2
MAP_FD, MAP_VALUE = 1 << 4, 2 << 4  # BPF_PSEUDO_MAP_… as the source register of LD_IMM64
_BLOCK = 1 << 15  # more is not read at once (bpf_seq_read(), kernel/bpf/bpf_iter.c)
_ITER_INFO_SIZE = 12  # union bpf_iter_link_info: task.tid, task.pid, task.pid_fd


class Refused(Exception):
    """The kernel does not let us."""


def kernel_types() -> KernelTypes | None:
    """The types of the running kernel; None where it tells none, or not as such programs need."""
    return (mapped() or copied_types()) if sys.byteorder == "little" else None


def copied_types() -> KernelTypes | None:
    """A copy of the types of vmlinux: BTF object 1, or its file for who may open no ids."""
    own = Descriptors()
    try:
        fd = own.keep(call(uapi.BPF_BTF_GET_FD_BY_ID, Struct("=I").pack(1)))
        info = Buffer(32)  # struct bpf_btf_info
        call(uapi.BPF_OBJ_GET_INFO_BY_FD, INFO_ATTR.pack(fd, 32, info.address))
        size = int.from_bytes(info.data[8:12], sys.byteorder)
        data = Buffer(size)
        info.data[:] = Struct("=QIIQII").pack(data.address, size, 0, 0, 0, 0)
        call(uapi.BPF_OBJ_GET_INFO_BY_FD, INFO_ATTR.pack(fd, 32, info.address))
        return KernelTypes(data.data)
    except (Refused, ValueError):
        return opened()
    finally:
        own.close()


def call(cmd: int, attr: bytes) -> int:
    """bpf(2) with a union bpf_attr; raises :class:`Refused`."""
    buffer = Buffer.of(attr)
    result = bpf(cmd, buffer.address, len(attr))
    if result < 0:
        raise Refused
    return result


class Descriptors:
    """Descriptors of ours, to be closed together."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def keep(self, fd: int) -> int:
        self.numbers.append(fd)
        return fd

    def close(self) -> None:
        for fd in self.numbers:
            posix.close(fd)
        self.numbers.clear()


def loaded(code: bytes, own: Descriptors, type: int, target: int = 0) -> int:
    """Load a program, of the iterator whose function has the type id ``target``, if it is one."""
    insns, licence = Buffer.of(code), Buffer.of(b"GPL\0")
    attr = bytearray(_PROG_LOAD_SIZE)
    count = len(code) // _INSN.size
    _PROG_LOAD.pack_into(attr, 0, type, count, insns.address, licence.address)
    word = Struct("=I")
    if target:
        word.pack_into(attr, _EXPECTED_ATTACH_TYPE, _BPF_TRACE_ITER)
        word.pack_into(attr, _ATTACH_BTF_ID, target)
    else:
        word.pack_into(attr, _PROG_FLAGS, F_SLEEPABLE)
    return own.keep(call(uapi.BPF_PROG_LOAD, bytes(attr)))


def array_of_one(size: int, flags: int, own: Descriptors) -> int:
    attr = _MAP_CREATE.pack(_MAP_TYPE_ARRAY, 4, size, 1, flags)
    return own.keep(call(uapi.BPF_MAP_CREATE, attr))


def element(command: int, fd: int, value: Buffer) -> None:
    """Write or read the only element of an array."""
    key = Buffer(4)
    call(command, ELEM_ATTR.pack(fd, key.address, value.address, 0))


def run_once(prog: int) -> int:
    """Run a program of type SYSCALL; what it returns, as 32 bits without a sign."""
    attr = Buffer.of(Struct("=I").pack(prog).ljust(_TEST_RUN_SIZE, b"\0"))
    if bpf(uapi.BPF_PROG_TEST_RUN, attr.address, _TEST_RUN_SIZE) < 0:
        raise Refused
    return int.from_bytes(attr.data[4:8], sys.byteorder)  # test.retval


def text_arguments(text: str) -> list[tuple[object, ...]]:
    """Instructions that make a text and its size, with its end, the first two arguments."""
    data = text.encode() + b"\0"
    base = -(len(data) + 7) // 8 * 8
    code: list[tuple[object, ...]] = []
    for at in range(0, len(data), 8):
        word = int.from_bytes(data[at : at + 8], "little")
        code += [(LD_IMM64, 1, word), (STX_DW, 10, 1, base + at)]
    return [*code, (MOV, 1, 10), (ADD_K, 1, 0, 0, base), (MOV_K, 2, 0, 0, len(data))]


class Programs:
    """Loads and runs programs of the iterator whose function is named ``target``."""

    def __init__(self, types: KernelTypes, target: str, params: int, own: Descriptors) -> None:
        self._own = own
        self._target = types.function(target, params) or self._function(target)

    def _function(self, name: str) -> int:
        """The type id of a kernel function, asked of the kernel (v5.14, 3d78417b60fb)."""
        code = assembled(
            *text_arguments(name),
            (MOV_K, 3, 0, 0, _KIND_FUNC),
            (MOV_K, 4, 0, 0, 0),
            (CALL, 0, 0, 0, _BTF_FIND_BY_NAME_KIND),
        )
        found = run_once(loaded(code + EXIT, self._own, PROG_TYPE_SYSCALL))
        if not 0 < found < 1 << 31:
            raise Refused
        return found

    def _load(self, code: bytes) -> int:
        return loaded(code, self._own, _PROG_TYPE_TRACING, self._target)

    def _link(self, prog: int, pid: int) -> int:
        if pid:
            info = Buffer.of(Struct("=III").pack(0, pid, 0))
            attr = _LINK_CREATE.pack(prog, 0, _BPF_TRACE_ITER, 0, info.address, _ITER_INFO_SIZE)
            try:
                return self._own.keep(call(uapi.BPF_LINK_CREATE, attr))
            except Refused:
                pass  # before 6.1 (f0d74c4da1f0) an iterator is about all tasks
        attr = _LINK_CREATE.pack(prog, 0, _BPF_TRACE_ITER, 0, 0, 0)
        return self._own.keep(call(uapi.BPF_LINK_CREATE, attr))

    def _iterator(self, prog: int, pid: int) -> int:
        link = self._link(prog, pid)
        return self._own.keep(call(uapi.BPF_ITER_CREATE, Struct("=II").pack(link, 0)))

    def opened(self, code: bytes) -> int:
        """A descriptor to read from what a program prints that walks over all there is."""
        return self._iterator(self._load(code), 0)

    def _run(self, prog: int, pid: int) -> list[bytes]:
        """What an iterator over all tasks, or over the process ``pid``, prints."""
        iterator = self._iterator(prog, pid)
        blocks: list[bytes] = []
        try:
            while True:
                block = posix.read(iterator, _BLOCK)
                if not block:
                    return blocks
                blocks.append(block)
        except OSError:
            raise Refused from None

    def printed(self, code: bytes) -> list[bytes]:
        """What a program prints that walks over all there is."""
        return self._run(self._load(code), 0)

    def numbers(self, *paths: tuple[list[int], int]) -> Iterator[tuple[int, ...]]:
        """What an iterator over objects finds: the numbers that paths lead to from each.

        A path is the offsets of pointers, the last one that of the number, and its size, 4 or 8
        bytes. What cannot be read is 0.
        """
        at = -8 - sum(size for _, size in paths)
        printed = printing(at, -8 - at)
        code: list[object] = [(MOV, 6, 1), (LDX_DW, 7, 6, OBJECT), (JEQ_K, 7, 0, "end", 0)]
        for path, size in paths:
            code += [(MOV, 3, 7), *followed(path, at, size)]
            at += size
        program = assembled(*code, *printed) + EXIT_0
        row = Struct("=" + "".join("I" if size == 4 else "Q" for _, size in paths))
        return row.iter_unpack(b"".join(self.printed(program)))


def followed(path: list[int], at: int = -20, size: int = 4) -> Iterator[tuple[object, ...]]:
    """Read the number that pointers lead to from r3, by their offsets, to the stack at ``at``."""
    for step, offset in enumerate(path, 1):
        is_last = step == len(path)
        yield MOV, 1, 10
        yield ADD_K, 1, 0, 0, at if is_last else -8
        yield MOV_K, 2, 0, 0, size if is_last else 8
        yield ADD_K, 3, 0, 0, offset
        yield CALL, 0, 0, 0, PROBE_READ_KERNEL
        if not is_last:
            yield LDX_DW, 3, 10, -8


EXIT = _INSN.pack(_EXIT, 0, 0, 0)
EXIT_0 = _INSN.pack(MOV_K, 0, 0, 0) + EXIT


def printing(offset: int, size: int, base: int = 10) -> tuple[tuple[object, ...], ...]:
    """Write ``size`` bytes as they are to the iterator's file; r6 is the context.

    They begin ``offset`` bytes behind where the register ``base`` points: the end of the stack,
    if it is not another one.
    """
    return (
        (LDX_DW, 1, 6, _META),
        (LDX_DW, 1, 1, _SEQ),
        (MOV, 2, base),
        (ADD_K, 2, 0, 0, offset),
        (MOV_K, 3, 0, 0, size),
        (CALL, 0, 0, 0, _SEQ_WRITE),
    )


def assembled(*code: object) -> bytes:
    """Instructions (opcode, dst, src, off, imm) as bytes; LD_IMM64 has its number as src.

    A str alone is a label, as ``off`` it is a jump there; "end" is behind all of them.
    """
    places: dict[object, int] = {}
    at = 0
    for row in code:
        if isinstance(row, str):
            places[row] = at
        else:
            at += 2 if row[0] == LD_IMM64 else 1  # type: ignore[index]  # no text, as above
    places["end"] = at
    return b"".join(_encoded(code, places))


def _encoded(code: tuple[object, ...], places: dict[object, int]) -> Iterator[bytes]:
    at = 0
    for row in code:
        if isinstance(row, str):
            continue
        opcode, dst, src, off, imm = (*row, 0, 0, 0)[:5]  # type: ignore[misc]  # rows have 3 to 5
        at += 1
        if opcode == LD_IMM64:
            at += 1
            low, high = src & 0xFFFFFFFF, src >> 32
            yield _INSN.pack(opcode, _registers(dst), 0, low - (low >> 31 << 32))
            yield _INSN.pack(0, 0, 0, high - (high >> 31 << 32))
            continue
        if isinstance(off, str):
            off = places[off] - at
        yield _INSN.pack(opcode, _registers(dst | src << 4), off, imm)


def _registers(both: int) -> int:
    return both << 4 & 0xF0 | both >> 4 if _SWAPS else both
