"""Assembler for BPF: one function per instruction form, returning its 8 (or 16) bytes.

The encodings are those of the instruction set document (RFC 9669) and of `linux/bpf.h`.  Every
function returns `bytes` that can be joined as they are.  Where a form has a target (jumps, calls,
function addresses) the target may be an `int`, encoded as given, or a label name; then the
function returns a `Ref`, and `assemble()` fills the distance in:

    code = assemble([mov64(R0, 0), jeq(R1, 0, "out"), mov64(R0, 1), label("out"), exit_()])

Source registers are `Reg`: a plain `int` in that position is an immediate.  A destination may be
either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Literal, Union, overload


class Reg(int):
    """A register number, 0 to 15 (11 and up exist only in code that the kernel rejects)."""

    __slots__ = ()


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = (Reg(i) for i in range(11))
FP = R10

# Instruction classes, BPF_CLASS().
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
# Operand sizes, BPF_SIZE().
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
SIZE_OF = {1: B, 2: H, 4: W, 8: DW}
# Addressing modes, BPF_MODE().
IMM, ABS, IND, MEM, MEMSX, ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0
# Source operand, BPF_SRC().
K, X = 0x00, 0x08

ALU_OPS = {
    "add": 0x00,
    "sub": 0x10,
    "mul": 0x20,
    "div": 0x30,
    "or": 0x40,
    "and": 0x50,
    "lsh": 0x60,
    "rsh": 0x70,
    "neg": 0x80,
    "mod": 0x90,
    "xor": 0xA0,
    "mov": 0xB0,
    "arsh": 0xC0,
    "end": 0xD0,
}
JMP_OPS = {
    "ja": 0x00,
    "jeq": 0x10,
    "jgt": 0x20,
    "jge": 0x30,
    "jset": 0x40,
    "jne": 0x50,
    "jsgt": 0x60,
    "jsge": 0x70,
    "call": 0x80,
    "exit": 0x90,
    "jlt": 0xA0,
    "jle": 0xB0,
    "jslt": 0xC0,
    "jsle": 0xD0,
    "jcond": 0xE0,
}
# `imm` of BPF_STX | BPF_ATOMIC.
FETCH = 0x01
ATOMIC_OPS = {
    "add": 0x00,
    "or": 0x40,
    "and": 0x50,
    "xor": 0xA0,
    "xchg": 0xE0 | FETCH,
    "cmpxchg": 0xF0 | FETCH,
    "load_acquire": 0x100,
    "store_release": 0x110,
}
# `src_reg` of BPF_LD | BPF_IMM | BPF_DW.
PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_BTF_ID = 3
PSEUDO_FUNC = 4
PSEUDO_MAP_IDX = 5
PSEUDO_MAP_IDX_VALUE = 6
# `src_reg` of BPF_JMP | BPF_CALL.
PSEUDO_CALL = 1
PSEUDO_KFUNC_CALL = 2

Size = Literal[1, 2, 4, 8]


class Label:
    """A place in the code; takes no room."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return "label(%r)" % self.name


class Ref:
    """An instruction whose `off` or `imm` is the distance to a label, in instruction slots."""

    __slots__ = ("code", "dst", "imm", "in_imm", "off", "src", "target", "wide")

    def __init__(
        self,
        code: int,
        dst: int,
        src: int,
        off: int,
        imm: int,
        target: str,
        *,
        in_imm: bool = False,
        wide: bool = False,
    ) -> None:
        self.code = code
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm
        self.target = target
        self.in_imm = in_imm
        self.wide = wide

    def resolve(self, slot: int, labels: dict[str, int]) -> bytes:
        """Encode with the distance from the instruction after `slot` to the label."""
        if self.target not in labels:
            raise ValueError("no label %r" % self.target)
        distance = labels[self.target] - slot - 1
        off, imm = (self.off, distance) if self.in_imm else (distance, self.imm)
        return insn(self.code, self.dst, self.src, off, imm) + (bytes(8) if self.wide else b"")


Item = Union[bytes, Label, Ref]
Source = Union[int, Reg]


def label(name: str) -> Label:
    """Name the place of the next instruction."""
    return Label(name)


def layout(items: Iterable[Item]) -> tuple[bytes, dict[str, int]]:
    """Assemble; returns the code and the slot number of every label."""
    parts = list(items)
    labels: dict[str, int] = {}
    slot = 0
    for item in parts:
        if isinstance(item, Label):
            if item.name in labels:
                raise ValueError("label %r is defined twice" % item.name)
            labels[item.name] = slot
        elif isinstance(item, Ref):
            slot += 2 if item.wide else 1
        else:
            slot += len(item) // 8
    code = bytearray()
    for item in parts:
        if isinstance(item, Ref):
            code += item.resolve(len(code) // 8, labels)
        elif not isinstance(item, Label):
            code += item
    return bytes(code), labels


def assemble(items: Iterable[Item]) -> bytes:
    """Assemble `items`; references to labels are resolved."""
    return layout(items)[0]


def _signed(value: int, bits: int) -> int:
    """`value` as it reads back from a signed field; both -1 and 0xffffffff are accepted."""
    if not -(1 << (bits - 1)) <= value < (1 << bits):
        raise ValueError("%d does not fit %d bits" % (value, bits))
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def insn(
    code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0, order: str = "little"
) -> bytes:
    """Encode `struct bpf_insn` (linux/bpf.h): the registers swap nibbles on big-endian hosts."""
    little = order == "little"
    regs = (dst & 15) | (src & 15) << 4 if little else (src & 15) | (dst & 15) << 4
    return struct.pack(
        "<BBhi" if little else ">BBhi", code & 0xFF, regs, _signed(off, 16), _signed(imm, 32)
    )


# --- arithmetic ---------------------------------------------------------------------------------


def _alu(cls: int, op: str, dst: int, src: Source, off: int = 0) -> bytes:
    if isinstance(src, Reg):
        return insn(cls | ALU_OPS[op] | X, dst, src, off)
    return insn(cls | ALU_OPS[op] | K, dst, 0, off, src)


def alu64(op: str, dst: int, src: Source) -> bytes:
    """64-bit `dst op= src`, by the operation's name in ALU_OPS."""
    return _alu(ALU64, op, dst, src)


def alu32(op: str, dst: int, src: Source) -> bytes:
    """32-bit `dst op= src`."""
    return _alu(ALU, op, dst, src)


def mov64(dst: int, src: Source) -> bytes:
    """`dst = src`, 64 bits."""
    return _alu(ALU64, "mov", dst, src)


def mov32(dst: int, src: Source) -> bytes:
    """`w_dst = w_src`, clearing the upper half."""
    return _alu(ALU, "mov", dst, src)


def movsx64(dst: int, src: Reg, bits: Literal[8, 16, 32]) -> bytes:
    """`dst = (s<bits>)src`, extended to 64 bits."""
    return _alu(ALU64, "mov", dst, src, bits)


def movsx32(dst: int, src: Reg, bits: Literal[8, 16]) -> bytes:
    """`w_dst = (s<bits>)w_src`."""
    return _alu(ALU, "mov", dst, src, bits)


def sdiv64(dst: int, src: Source) -> bytes:
    """Signed division, 64 bits."""
    return _alu(ALU64, "div", dst, src, 1)


def sdiv32(dst: int, src: Source) -> bytes:
    """Signed division, 32 bits."""
    return _alu(ALU, "div", dst, src, 1)


def smod64(dst: int, src: Source) -> bytes:
    """Signed remainder, 64 bits."""
    return _alu(ALU64, "mod", dst, src, 1)


def smod32(dst: int, src: Source) -> bytes:
    """Signed remainder, 32 bits."""
    return _alu(ALU, "mod", dst, src, 1)


def neg64(dst: int) -> bytes:
    """`dst = -dst`."""
    return insn(ALU64 | ALU_OPS["neg"], dst)


def neg32(dst: int) -> bytes:
    """`w_dst = -w_dst`."""
    return insn(ALU | ALU_OPS["neg"], dst)


def le(dst: int, bits: Literal[16, 32, 64]) -> bytes:
    """Host order to little-endian (and back)."""
    return insn(ALU | ALU_OPS["end"] | K, dst, imm=bits)


def be(dst: int, bits: Literal[16, 32, 64]) -> bytes:
    """Host order to big-endian (and back)."""
    return insn(ALU | ALU_OPS["end"] | X, dst, imm=bits)


def bswap(dst: int, bits: Literal[16, 32, 64]) -> bytes:
    """Unconditional byte swap."""
    return insn(ALU64 | ALU_OPS["end"], dst, imm=bits)


def addr_space_cast(dst: int, src: Reg, dst_as: int, src_as: int) -> bytes:
    """Cast between address spaces: 1 to 0 makes an arena pointer the program can use."""
    return insn(ALU64 | ALU_OPS["mov"] | X, dst, src, 1, dst_as << 16 | src_as)


# --- memory -------------------------------------------------------------------------------------


def ldx(size: Size, dst: int, src: Reg, off: int = 0) -> bytes:
    """`dst = *(u<8*size> *)(src + off)`."""
    return insn(LDX | MEM | SIZE_OF[size], dst, src, off)


def ldxs(size: Literal[1, 2, 4], dst: int, src: Reg, off: int = 0) -> bytes:
    """`dst = *(s<8*size> *)(src + off)`, sign-extended."""
    return insn(LDX | MEMSX | SIZE_OF[size], dst, src, off)


def st(size: Size, dst: int, off: int, imm: int) -> bytes:
    """`*(u<8*size> *)(dst + off) = imm`."""
    return insn(ST | MEM | SIZE_OF[size], dst, 0, off, imm)


def stx(size: Size, dst: int, off: int, src: Reg) -> bytes:
    """`*(u<8*size> *)(dst + off) = src`."""
    return insn(STX | MEM | SIZE_OF[size], dst, src, off)


def atomic(op: str, size: Size, dst: int, off: int, src: Reg, *, fetch: bool = False) -> bytes:
    """Read-modify-write at `dst + off`; `op` as in ATOMIC_OPS, `fetch` returns the old value."""
    return insn(
        STX | ATOMIC | SIZE_OF[size], dst, src, off, ATOMIC_OPS[op] | (FETCH if fetch else 0)
    )


def xadd(size: Size, dst: int, off: int, src: Reg) -> bytes:
    """`lock *(dst + off) += src`."""
    return atomic("add", size, dst, off, src)


def xchg(size: Size, dst: int, off: int, src: Reg) -> bytes:
    """`src = xchg(dst + off, src)`."""
    return atomic("xchg", size, dst, off, src)


def cmpxchg(size: Size, dst: int, off: int, src: Reg) -> bytes:
    """`r0 = cmpxchg(dst + off, r0, src)`."""
    return atomic("cmpxchg", size, dst, off, src)


def load_acquire(size: Size, dst: int, src: Reg, off: int = 0) -> bytes:
    """`dst = load_acquire(src + off)`."""
    return atomic("load_acquire", size, dst, off, src)


def store_release(size: Size, dst: int, off: int, src: Reg) -> bytes:
    """`store_release(dst + off, src)`."""
    return atomic("store_release", size, dst, off, src)


def ld_abs(size: Literal[1, 2, 4], imm: int) -> bytes:
    """Legacy packet load at a fixed place; R6 holds the context, the result is in R0."""
    return insn(LD | ABS | SIZE_OF[size], imm=imm)


def ld_ind(size: Literal[1, 2, 4], src: Reg, imm: int) -> bytes:
    """Legacy packet load at `src + imm`."""
    return insn(LD | IND | SIZE_OF[size], src=src, imm=imm)


# --- 64-bit immediates --------------------------------------------------------------------------


def ld_imm64(dst: int, value: int, pseudo: int = 0) -> bytes:
    """`dst = value`, two slots; `value` may be signed or unsigned 64 bits."""
    value &= (1 << 64) - 1
    return insn(LD | IMM | DW, dst, pseudo, 0, value & 0xFFFFFFFF) + insn(0, imm=value >> 32)


def ld_map_fd(dst: int, fd: int) -> bytes:
    """Address of a map."""
    return ld_imm64(dst, fd, PSEUDO_MAP_FD)


def ld_map_value(dst: int, fd: int, offset: int = 0) -> bytes:
    """Address of `offset` in the only value of an array map."""
    return ld_imm64(dst, fd | offset << 32, PSEUDO_MAP_VALUE)


def ld_map_idx(dst: int, index: int) -> bytes:
    """Address of the map at `fd_array[index]`."""
    return ld_imm64(dst, index, PSEUDO_MAP_IDX)


def ld_map_idx_value(dst: int, index: int, offset: int = 0) -> bytes:
    """Address of `offset` in the value of the map at `fd_array[index]`."""
    return ld_imm64(dst, index | offset << 32, PSEUDO_MAP_IDX_VALUE)


def ld_btf_id(dst: int, btf_id: int, btf_fd: int = 0) -> bytes:
    """Address of a kernel variable (ksym) by its VAR's type id; `btf_fd` 0 is vmlinux."""
    return ld_imm64(dst, btf_id | btf_fd << 32, PSEUDO_BTF_ID)


@overload
def ld_func(dst: int, target: int) -> bytes: ...
@overload
def ld_func(dst: int, target: str) -> Ref: ...
def ld_func(dst: int, target: int | str) -> bytes | Ref:
    """Address of a subprogram, for callbacks."""
    if isinstance(target, str):
        return Ref(LD | IMM | DW, dst, PSEUDO_FUNC, 0, 0, target, in_imm=True, wide=True)
    return insn(LD | IMM | DW, dst, PSEUDO_FUNC, 0, target) + bytes(8)


# --- jumps and calls ----------------------------------------------------------------------------


@overload
def _jump(cls: int, op: str, dst: int, src: Source, target: int) -> bytes: ...
@overload
def _jump(cls: int, op: str, dst: int, src: Source, target: str) -> Ref: ...
def _jump(cls: int, op: str, dst: int, src: Source, target: int | str) -> bytes | Ref:
    code = cls | JMP_OPS[op] | (X if isinstance(src, Reg) else K)
    reg, imm = (src, 0) if isinstance(src, Reg) else (0, src)
    if isinstance(target, str):
        return Ref(code, dst, reg, 0, imm, target)
    return insn(code, dst, reg, target, imm)


@overload
def jmp(op: str, dst: int, src: Source, target: int) -> bytes: ...
@overload
def jmp(op: str, dst: int, src: Source, target: str) -> Ref: ...
def jmp(op: str, dst: int, src: Source, target: int | str) -> bytes | Ref:
    """Conditional jump on 64 bits, by the operation's name in JMP_OPS (`jeq`, `jsgt`, ...)."""
    return _jump(JMP, op, dst, src, target)


@overload
def jmp32(op: str, dst: int, src: Source, target: int) -> bytes: ...
@overload
def jmp32(op: str, dst: int, src: Source, target: str) -> Ref: ...
def jmp32(op: str, dst: int, src: Source, target: int | str) -> bytes | Ref:
    """Conditional jump on 32 bits."""
    return _jump(JMP32, op, dst, src, target)


@overload
def jeq(dst: int, src: Source, target: int) -> bytes: ...
@overload
def jeq(dst: int, src: Source, target: str) -> Ref: ...
def jeq(dst: int, src: Source, target: int | str) -> bytes | Ref:
    """Jump when equal."""
    return _jump(JMP, "jeq", dst, src, target)


@overload
def jne(dst: int, src: Source, target: int) -> bytes: ...
@overload
def jne(dst: int, src: Source, target: str) -> Ref: ...
def jne(dst: int, src: Source, target: int | str) -> bytes | Ref:
    """Jump when different."""
    return _jump(JMP, "jne", dst, src, target)


@overload
def ja(target: int) -> bytes: ...
@overload
def ja(target: str) -> Ref: ...
def ja(target: int | str) -> bytes | Ref:
    """`goto`, distance in 16 bits."""
    if isinstance(target, str):
        return Ref(JMP | JMP_OPS["ja"], 0, 0, 0, 0, target)
    return insn(JMP | JMP_OPS["ja"], off=target)


@overload
def gotol(target: int) -> bytes: ...
@overload
def gotol(target: str) -> Ref: ...
def gotol(target: int | str) -> bytes | Ref:
    """`gotol`, distance in 32 bits."""
    if isinstance(target, str):
        return Ref(JMP32 | JMP_OPS["ja"], 0, 0, 0, 0, target, in_imm=True)
    return insn(JMP32 | JMP_OPS["ja"], imm=target)


@overload
def may_goto(target: int) -> bytes: ...
@overload
def may_goto(target: str) -> Ref: ...
def may_goto(target: int | str) -> bytes | Ref:
    """Leave a loop when the kernel's iteration budget is used up (BPF_JCOND, src 0)."""
    if isinstance(target, str):
        return Ref(JMP | JMP_OPS["jcond"], 0, 0, 0, 0, target)
    return insn(JMP | JMP_OPS["jcond"], off=target)


def gotox(dst: int) -> bytes:
    """Indirect jump to an address from an instruction array map."""
    return insn(JMP | JMP_OPS["ja"] | X, dst)


def call(helper: int) -> bytes:
    """Call a helper by its number in `enum bpf_func_id`."""
    return insn(JMP | JMP_OPS["call"], imm=helper)


@overload
def call_sub(target: int) -> bytes: ...
@overload
def call_sub(target: str) -> Ref: ...
def call_sub(target: int | str) -> bytes | Ref:
    """Call a function of the same program."""
    if isinstance(target, str):
        return Ref(JMP | JMP_OPS["call"], 0, PSEUDO_CALL, 0, 0, target, in_imm=True)
    return insn(JMP | JMP_OPS["call"], 0, PSEUDO_CALL, 0, target)


def call_kfunc(btf_id: int, fd_index: int = 0) -> bytes:
    """Call a kernel function by its FUNC's type id; `fd_index` 0 is vmlinux."""
    return insn(JMP | JMP_OPS["call"], 0, PSEUDO_KFUNC_CALL, fd_index, btf_id)


def exit_() -> bytes:
    """Return R0."""
    return insn(JMP | JMP_OPS["exit"])


def ret(value: int) -> bytes:
    """`r0 = value; exit`: the smallest program, two slots."""
    return mov64(R0, value) + exit_()


def join(parts: Sequence[bytes]) -> bytes:
    """Join encoded instructions that need no labels."""
    return b"".join(parts)
