"""Encodings against bytes written by hand from the instruction set document."""

from __future__ import annotations

import pytest

from tests.support import asm
from tests.support.asm import R0, R1, R2, R3, R6, R7, R10, Reg


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (asm.mov64(R0, 0), "b700000000000000"),
        (asm.mov64(R1, -1), "b7010000ffffffff"),
        (asm.mov64(R6, R1), "bf16000000000000"),
        (asm.mov32(R2, R3), "bc32000000000000"),
        (asm.mov32(R2, 5), "b402000005000000"),
        (asm.alu64("add", R1, R2), "0f21000000000000"),
        (asm.alu64("sub", R1, 7), "1701000007000000"),
        (asm.alu32("mul", R1, R2), "2c21000000000000"),
        (asm.alu64("div", R1, R2), "3f21000000000000"),
        (asm.alu64("or", R1, R2), "4f21000000000000"),
        (asm.alu64("and", R1, 0xFF), "57010000ff000000"),
        (asm.alu64("lsh", R1, 3), "6701000003000000"),
        (asm.alu32("rsh", R1, R2), "7c21000000000000"),
        (asm.alu64("mod", R1, 3), "9701000003000000"),
        (asm.alu64("xor", R1, R1), "af11000000000000"),
        (asm.alu32("arsh", R1, 1), "c401000001000000"),
        (asm.neg64(R7), "8707000000000000"),
        (asm.neg32(R7), "8407000000000000"),
        (asm.sdiv64(R1, R2), "3f21010000000000"),
        (asm.sdiv32(R1, 3), "3401010003000000"),
        (asm.smod64(R1, R2), "9f21010000000000"),
        (asm.smod32(R1, 3), "9401010003000000"),
        (asm.movsx64(R1, R2, 8), "bf21080000000000"),
        (asm.movsx64(R1, R2, 32), "bf21200000000000"),
        (asm.movsx32(R1, R2, 16), "bc21100000000000"),
        (asm.le(R1, 16), "d401000010000000"),
        (asm.be(R1, 32), "dc01000020000000"),
        (asm.be(R1, 64), "dc01000040000000"),
        (asm.bswap(R1, 64), "d701000040000000"),
        (asm.addr_space_cast(R1, R2, 0, 1), "bf21010001000000"),
        (asm.addr_space_cast(R1, R2, 1, 0), "bf21010000000100"),
        (asm.ldx(1, R1, R2, 4), "7121040000000000"),
        (asm.ldx(2, R1, R2, -4), "6921fcff00000000"),
        (asm.ldx(4, R1, R2), "6121000000000000"),
        (asm.ldx(8, R1, R10, -8), "79a1f8ff00000000"),
        (asm.ldxs(1, R1, R2, 0), "9121000000000000"),
        (asm.ldxs(2, R1, R2, 0), "8921000000000000"),
        (asm.ldxs(4, R1, R2, 0), "8121000000000000"),
        (asm.st(1, R10, -1, 7), "720affff07000000"),
        (asm.st(2, R10, -2, 7), "6a0afeff07000000"),
        (asm.st(4, R10, -4, 7), "620afcff07000000"),
        (asm.st(8, R10, -8, -7), "7a0af8fff9ffffff"),
        (asm.stx(8, R10, -8, R1), "7b1af8ff00000000"),
        (asm.stx(1, R1, 2, R3), "7331020000000000"),
        (asm.xadd(8, R1, 0, R2), "db21000000000000"),
        (asm.xadd(4, R1, 8, R2), "c321080000000000"),
        (asm.atomic("add", 8, R1, 0, R2, fetch=True), "db21000001000000"),
        (asm.atomic("or", 8, R1, 0, R2), "db21000040000000"),
        (asm.atomic("and", 4, R1, 0, R2, fetch=True), "c321000051000000"),
        (asm.atomic("xor", 8, R1, 0, R2), "db210000a0000000"),
        (asm.xchg(8, R1, 0, R2), "db210000e1000000"),
        (asm.cmpxchg(4, R1, 0, R2), "c3210000f1000000"),
        (asm.load_acquire(1, R1, R2, 8), "d321080000010000"),
        (asm.store_release(2, R1, 8, R2), "cb21080010010000"),
        (asm.ld_abs(2, 12), "280000000c000000"),
        (asm.ld_ind(4, R7, 1), "4070000001000000"),
        (asm.ld_imm64(R1, 0x1122334455667788), "18010000887766550000000044332211"),
        (asm.ld_imm64(R1, -1), "18010000ffffffff00000000ffffffff"),
        (asm.ld_map_fd(R1, 5), "18110000050000000000000000000000"),
        (asm.ld_map_value(R1, 5, 16), "18210000050000000000000010000000"),
        (asm.ld_btf_id(R1, 9, 3), "18310000090000000000000003000000"),
        (asm.ld_func(R2, 4), "18420000040000000000000000000000"),
        (asm.ld_map_idx(R1, 1), "18510000010000000000000000000000"),
        (asm.ld_map_idx_value(R1, 1, 8), "18610000010000000000000008000000"),
        (asm.ja(3), "0500030000000000"),
        (asm.gotol(-2), "06000000feffffff"),
        (asm.may_goto(1), "e500010000000000"),
        (asm.gotox(R3), "0d03000000000000"),
        (asm.jeq(R1, 0, 2), "1501020000000000"),
        (asm.jne(R1, R2, -2), "5d21feff00000000"),
        (asm.jmp("jsgt", R1, R2, 1), "6d21010000000000"),
        (asm.jmp32("jle", R1, 9, 1), "b601010009000000"),
        (asm.jmp("jset", R1, 0x10, 1), "4501010010000000"),
        (asm.call(6), "8500000006000000"),
        (asm.call_sub(3), "8510000003000000"),
        (asm.call_kfunc(77, 2), "852002004d000000"),
        (asm.exit_(), "9500000000000000"),
        (asm.ret(2), "b7000000020000009500000000000000"),
    ],
)
def test_encoding(code: bytes, expected: str) -> None:
    assert code.hex() == expected


def test_big_endian_swaps_registers_and_fields() -> None:
    assert asm.insn(0xBF, 1, 6, 0x102, 0x3040506, "big").hex() == "bf16010203040506"


@pytest.mark.parametrize(
    "make",
    [
        lambda: asm.insn(0, off=1 << 16),
        lambda: asm.insn(0, imm=1 << 32),
        lambda: asm.insn(0, imm=-(1 << 31) - 1),
    ],
)
def test_values_that_do_not_fit(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="does not fit"):
        make()


def test_unsigned_and_signed_spelling_agree() -> None:
    assert asm.mov64(R0, 0xFFFFFFFF) == asm.mov64(R0, -1)


def test_labels_count_slots() -> None:
    code, labels = asm.layout(
        [
            asm.label("start"),
            asm.jeq(R1, 0, "out"),
            asm.ld_imm64(R0, 1),
            asm.ja("start"),
            asm.label("out"),
            asm.call_sub("sub"),
            asm.ld_func(R2, "sub"),
            asm.gotol("out"),
            asm.may_goto("sub"),
            asm.exit_(),
            asm.label("sub"),
            asm.exit_(),
        ]
    )
    assert labels == {"start": 0, "out": 4, "sub": 10}
    slots = [code[i : i + 8] for i in range(0, len(code), 8)]
    assert slots[0] == asm.jeq(R1, 0, 3)
    assert slots[3] == asm.ja(-4)
    assert slots[4] == asm.call_sub(5)
    assert slots[5] + slots[6] == asm.ld_func(R2, 4)
    assert slots[7] == asm.gotol(-4)
    assert slots[8] == asm.may_goto(1)


def test_label_mistakes() -> None:
    with pytest.raises(ValueError, match="no label 'x'"):
        asm.assemble([asm.ja("x")])
    with pytest.raises(ValueError, match="defined twice"):
        asm.assemble([asm.label("x"), asm.label("x")])


def test_register_operands_are_told_from_numbers() -> None:
    assert asm.alu64("add", R1, Reg(2)) != asm.alu64("add", R1, 2)
    assert asm.join([asm.mov64(R0, 1), asm.exit_()]) == asm.ret(1)
