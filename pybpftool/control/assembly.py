"""Programs of a few instructions, written by hand: what watches and measures needs no compiler."""

from __future__ import annotations

from pybpftool.kernel import own_programs
from pybpftool.kernel.own_programs import (
    ADD_K,
    CALL,
    EXIT_0,
    JEQ_K,
    LD_IMM64,
    MAP_FD,
    MOV,
    ST_W,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Union

    # Opcode, dst, src, off or where a jump goes, imm; the last ones may be left out. Or a label.
    Insn = tuple[object, ...]
    Item = Union[Insn, str]

# Opcodes: include/uapi/linux/bpf.h, bpf_common.h.
ADD, SUB, RSH_K, JLE_K, XADD_DW = 0x0F, 0x1F, 0x77, 0xB5, 0xDB
MAP_LOOKUP_ELEM = 1  # enum bpf_func_id
END = "end"
"""The label of what :func:`assembled` adds: the program returns 0."""


def map_in(register: int, fd: int) -> Insn:
    """Load a map into a register."""
    return LD_IMM64, register | MAP_FD, fd


def only_value(map: int, key: int = -8) -> list[Insn]:
    """Look up an array's only value into r0; ``key`` is room on the stack."""
    return [
        (ST_W, 10, 0, key, 0),
        (MOV, 2, 10, 0, 0),
        (ADD_K, 2, 0, 0, key),
        map_in(1, map),
        (CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
        (JEQ_K, 0, 0, END, 0),
    ]


def assembled(code: Iterable[Item]) -> bytes:
    """Instructions as bytes, and the end."""
    return own_programs.assembled(*code) + EXIT_0
