"""Programs of a few instructions, written by hand: what watches and measures needs no compiler."""

from __future__ import annotations

import struct
import sys

from pybpftool.uapi.bpf import BPF_PSEUDO_MAP_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Union

    # Opcode, dst, src, off or where a jump goes, imm; or a label.
    Insn = tuple[int, int, int, "int | str", int]
    Item = Union[Insn, str]

_INSN = struct.Struct("=BBhi")
INSN_SIZE = _INSN.size
# Opcodes: include/uapi/linux/bpf.h, bpf_common.h.
LDX_W, LDX_DW, STX_W, STX_DW, ST_W, ST_DW, XADD_DW = 0x61, 0x79, 0x63, 0x7B, 0x62, 0x7A, 0xDB
MOV, MOV_K, ADD, ADD_K, SUB, RSH_K, CALL, EXIT = 0xBF, 0xB7, 0x0F, 0x07, 0x1F, 0x77, 0x85, 0x95
JEQ, JEQ_K, JNE_K, JLE_K, LD_IMM64 = 0x1D, 0x15, 0x55, 0xB5, 0x18
MAP_LOOKUP_ELEM = 1  # enum bpf_func_id
END = "end"
"""The label of what :func:`assembled` adds: the program returns 0."""


def map_in(register: int, fd: int) -> list[Insn]:
    """Load a map into a register."""
    return [(LD_IMM64, register, BPF_PSEUDO_MAP_FD, 0, fd), (0, 0, 0, 0, 0)]


def only_value(map: int, key: int = -8) -> list[Insn]:
    """Look up an array's only value into r0; ``key`` is room on the stack."""
    return [
        (ST_W, 10, 0, key, 0),
        (MOV, 2, 10, 0, 0),
        (ADD_K, 2, 0, 0, key),
        *map_in(1, map),
        (CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
        (JEQ_K, 0, 0, END, 0),
    ]


def assembled(code: Iterable[Item]) -> bytes:
    """Instructions as bytes, and the end."""
    rows: list[Insn] = []
    labels: dict[str, int] = {}
    for item in (*code, END, (MOV_K, 0, 0, 0, 0), (EXIT, 0, 0, 0, 0)):
        if isinstance(item, str):
            labels[item] = len(rows)
        else:
            rows.append(item)
    # Registers are nibbles in the order of the machine.
    low, high = (0, 4) if sys.byteorder == "little" else (4, 0)
    return b"".join(
        _INSN.pack(
            opcode, dst << low | src << high,
            labels[off] - at - 1 if isinstance(off, str) else off, imm,
        )
        for at, (opcode, dst, src, off, imm) in enumerate(rows)
    )  # fmt: skip
