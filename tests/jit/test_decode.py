"""Machine code as columns."""

from __future__ import annotations

import random

import pytest

from pybpftool.jit.decode import Decoder, branch_target
from tests.support.recorded import programs


@pytest.mark.parametrize("name", programs())
def test_in_bulk_as_one_by_one(name: str) -> None:
    """The caches do not change what an instruction looks like."""
    prog = programs()[name].jited()
    bulk = Decoder("x86_64")
    for function in prog.functions():
        base = function.address or 0
        insns = bulk.decode(function.code, base)
        assert b"".join(insns.codes) == function.code
        for index, (pc, code) in enumerate(zip(insns.pcs, insns.codes)):
            alone = Decoder("x86_64").decode(code, base + pc)
            assert (alone.texts, alone.codes) == ([insns.texts[index]], [code])
            assert alone.targets.get(0) == insns.targets.get(index)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("machine", ["x86_64", "i686", "aarch64", "riscv64", "s390x", "ppc64le"])
@pytest.mark.parametrize("syntax", ["att", "intel"])
def test_random_bytes_are_all_there(machine: str, syntax: str, seed: int) -> None:
    image = random.Random(seed).randbytes(3001)
    order = ">" if machine == "s390x" else "<"
    insns = Decoder(machine, order, syntax).decode(image, 0x1000)
    assert b"".join(insns.codes) == image
    at = 0
    for pc, code, text in zip(insns.pcs, insns.codes, insns.texts):
        assert pc == at
        assert text
        at += len(code)
    assert set(insns.targets) <= set(range(len(insns)))


def test_immediates_that_differ_share_a_format() -> None:
    code = b"".join(
        bytes.fromhex("4881c0")
        + value.to_bytes(4, "little", signed=True)
        + bytes.fromhex("48bf")
        + (value * 2**31).to_bytes(8, "little", signed=True)
        for value in (5, -5, 2**31 - 1, -(2**31))
    )
    texts = Decoder("x86_64").decode(code).texts
    assert texts[::2] == [f"addq\t${v}, %rax" for v in (5, -5, 2**31 - 1, -(2**31))]
    assert texts[1::2] == [f"movabsq\t${v * 2**31}, %rdi" for v in (5, -5, 2**31 - 1, -(2**31))]


def test_lock_before_a_large_immediate() -> None:
    code = bytes.fromhex("f0488100000100004881c000010000f0488100020100004881c002010000")
    texts = Decoder("x86_64").decode(code).texts
    assert texts[0::3] == ["lock", "lock"]
    assert texts[1] == "addq\t$256, (%rax)"
    assert texts[4] == "addq\t$258, (%rax)"


def test_targets_after_a_split_lock() -> None:
    insns = Decoder("x86_64").decode(bytes.fromhex("f0480110ebfe"), 0x1000)
    assert insns.texts == ["lock", "addq\t%rdx, (%rax)", "jmp\t0x1004"]
    assert insns.pcs == [0, 1, 4]
    assert insns.targets == {2: 0x1004}


@pytest.mark.parametrize(
    "machine,byteorder,code,target",
    [
        ("x86_64", "<", "e8fbffffff", 0x10000),
        ("i686", "<", "7410", 0x10012),
        ("aarch64", "<", "04000014", 0x10010),
        ("aarch64", "<", "01000054", 0x10000),
        ("aarch64", "<", "80000035", 0x10010),
        ("aarch64", "<", "60001836", 0x1000C),
        ("armv7l", "<", "020000ea", 0x10010),
        ("armv7l", "<", "0200000b", 0x10010),
        ("riscv64", "<", "6f000001", 0x10010),
        ("riscv64", "<", "6308b500", 0x10010),
        ("riscv64", "<", "09a0", 0x10002),
        ("s390x", ">", "c0e500000008", 0x10010),
        ("s390x", ">", "a7f40008", 0x10010),
        ("s390x", ">", "ec120008a076", 0x10010),
        ("s390x", ">", "ec180008057e", 0x10010),
        ("aarch64_be", ">", "04000014", 0x10010),
        ("armv7b", ">", "020000ea", 0x10010),
        ("ppc64le", "<", "10000048", 0x10010),
        ("ppc64le", "<", "10008241", 0x10010),
        ("mips64", ">", "10000003", 0x10010),
        ("sparc64", ">", "10800004", 0x10010),
    ],
)
def test_branch_targets(machine: str, byteorder: str, code: str, target: int) -> None:
    insns = Decoder(machine, byteorder).decode(bytes.fromhex(code), 0x10000)
    assert insns.targets == {0: target}


@pytest.mark.parametrize(
    "machine,byteorder,code",
    [
        ("aarch64", "<", "400180d2"),
        ("aarch64", "<", "c0035fd6"),
        ("riscv64", "<", "130101ff"),
        ("armv7l", "<", "1eff2fe1"),
        ("s390x", ">", "a71f0005"),  # cghi %r1, 5
        ("s390x", ">", "c21e00000028"),  # clgfi %r1, 40
        ("s390x", ">", "c01f00000028"),
        ("s390x", ">", "07fe"),
        ("ppc64le", "<", "2000804e"),
        ("ppc64le", "<", "2000404e"),  # bdzlr
        ("mips64", ">", "0019000d"),  # break
    ],
)
def test_what_is_no_branch(machine: str, byteorder: str, code: str) -> None:
    assert Decoder(machine, byteorder).decode(bytes.fromhex(code), 0x10000).targets == {}


@pytest.mark.parametrize(
    "machine,jumps,others",
    [
        ("aarch64", "b bl cbz cbnz tbz tbnz b.eq bc.ne", "adr adrp bfi bic brk bti br blr svc"),
        ("armv7l", "b bl blx beq bne blhi blge bcs bmi bpl bvs bls", "bic bfc bfi bkpt svc bx adr"),
        (
            "riscv64",
            "j jal c.j beq bne blt bltu bge bgeu beqz bnez blez bgez bltz bgtz c.beqz c.bnez",
            "jr jalr bclri bexti binvi bseti c.addi lui auipc ebreak",
        ),
        (
            "s390x",
            "j je jnle jg jgnl brc brcl bras brasl brct brctg brcth brxh brxhg brxle brxlg crj crje"
            " cgrj cgrjne clrj clgrjh cij cijl cgij cgije clij clgij clgijle",
            "c cg ch chi cghi cl clgfi clc cli cs cds cfi cgfi cih clih crl cgrl clgfrl cghrl cib"
            " cgib clgib crb cgrb br bcr bct bxh bc b larl cvb ce cgxbra clgtlh svc",
        ),
        (
            "ppc64le",
            "b bl ba bla bc bcl beq bne+ bge- bltl bgtla bdnz bdz bdnzt bdzf bt bf btl bso",
            "blr bctr bdzlr bdnzlr bltlr beqlr- bnectr bclr bcctr bctar bcdadd. bcdsr. bcdtrunc.",
        ),
        (
            "mips64",
            "b bal j jal jalx beq bne beql bnel beqz bnez blez bgtz bltz bgez bltzal bgezall bc1t"
            " bc1f bbit0 bbit132 bz.v bnz.b bgec bltuc bovc balc",
            "break bnegi.b bseti.w bclri.d binsli.h bmnzi.b bmzi.b bseli.b balign bitswap jr jalr",
        ),
        ("sparc64", "call b ba bne,a be,pn bleu fbe fbul,a brz brgez,a", "fadds flush fmovd jmpl"),
        (
            "loongarch64",
            "b bl beq bne blt bltu bge bgeu beqz bnez bceqz bcnez",
            "break bstrins.d bstrpick.w bytepick.d bitrev.w jirl",
        ),
    ],
)
def test_what_jumps(machine: str, jumps: str, others: str) -> None:
    for mnemonic in jumps.split():
        for target in (0, 4, 15, 0x10004, 0x3FF80001234, -4):
            found = branch_target(machine, mnemonic, f"r1, {target:#x}", 0x10000)
            assert found == target & (1 << 64) - 1, mnemonic
            found = branch_target(machine, mnemonic, f"{target:#x}", 0x10000, is_relative=True)
            assert found == target + 0x10000, mnemonic
    for mnemonic in others.split():
        assert branch_target(machine, mnemonic, "r1, 0x10004", 0x10000) is None, mnemonic


def test_branches_of_unknown_machines() -> None:
    assert branch_target("vax", "b", "0x1000", 0x1000) is None


@pytest.mark.parametrize("machine", ["x86_64", "i686"])
@pytest.mark.parametrize(
    "jump",
    ["eb10", "ebf0", "e910000000", "e9f0ffffff", "0f8410000000", "e8fcffffff", "66e91000",
     "2e66e91000", "f266e81000", "2e7410", "3e0f8410000000", "e2fe", "67e310"],
)  # fmt: skip
def test_a_jump_met_before_goes_as_far(machine: str, jump: str) -> None:
    """Its target is that of capstone, which is asked at its first place alone."""
    image = bytes.fromhex(f"90{jump}90909090{jump}90909090")
    for address in (0, 0x1000, 0xFFF0, 0xFFFFFF00):
        both = Decoder(machine).decode(image, address)
        for index, pc in enumerate(both.pcs):
            alone = Decoder(machine).decode(image[pc:], address + pc)
            assert alone.texts[0] == both.texts[index]
            assert alone.targets.get(0) == both.targets.get(index)
