"""A long function as compilers write them, for measurements."""

from __future__ import annotations

from tests.support import asm
from tests.support.asm import R1, R2, R3, R7, R8, R9, R10


def one_function(prologue: bytes, count: int) -> bytes:
    """About ``count`` slots in one function; ``prologue`` sets R9 to a map value of 64 bytes."""
    block = [
        asm.ldx(8, R7, R9, 0),
        asm.ldx(4, R8, R9, 8),
        asm.alu64("add", R7, R8),
        asm.alu64("xor", R7, 0x5BD1),
        asm.alu32("mul", R8, R7),
        asm.alu64("rsh", R7, 3),
        asm.jmp("jgt", R7, R8, 2),
        asm.alu64("sub", R7, R8),
        asm.stx(8, R9, 16, R7),
        asm.mov64(R3, R7),
        asm.alu64("and", R3, 63),
        asm.stx(4, R10, -4, R3),
        asm.ldx(2, R2, R10, -4),
        asm.ld_imm64(R1, 0x123456789ABCDEF0),
        asm.alu64("add", R1, R2),
        asm.stx(8, R10, -16, R1),
        asm.jmp32("jset", R8, 0x10, 1),
        asm.alu64("or", R1, R3),
        asm.st(4, R9, 24, 1),
        asm.neg64(R1),
        asm.be(R1, 32),
        asm.stx(8, R9, 32, R1),
        asm.xadd(8, R9, 40, R7),
        asm.stx(2, R9, 48, R8),
    ]
    chunk = asm.assemble(block)
    # The verifier follows at most 8,192 branches in one go.
    blocks = min(count // (len(chunk) // 8), 4000)
    return prologue + chunk * blocks + asm.ret(0)
