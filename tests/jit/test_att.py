"""x86 operands: the spelling of LLVM 19's disassembler, recorded instruction by instruction."""

from __future__ import annotations

import pytest

from pybpftool.jit import att
from pybpftool.jit.decode import Decoder

# bytes -> what LLVM prints for them at address 0x1000 ("lock" and the rest are two)
LLVM = """
f0480110|lock;addq %rdx, (%rax)
f04c0fb17700|lock;cmpxchgq %r14, (%rdi)
f30f1efa|endbr64
66666690|nop
6690|nop
f390|pause
cc|int3
0f0b|ud2
c3|retq
c20800|retq $8
2ee900000000|jmp 0x1006
66660f1f840000000000|nopw (%rax,%rax)
0faee8|lfence
66c1c008|rolw $8, %ax
660fc8|bswapw %ax
0fc8|bswapl %eax
480fc8|bswapq %rax
c4e2c1f7c0|shlxq %rdi, %rax, %rax
c4e2c2f7c0|sarxq %rdi, %rax, %rax
c4e2c3f7c0|shrxq %rdi, %rax, %rax
0f38f000|movbel (%rax), %eax
66450f38f10424|movbew %r8w, (%r12)
e2fe|loop 0x1000
e3fe|jrcxz 0x1000
7700|ja 0x1002
ffe0|jmpq *%rax
ffd0|callq *%rax
41ffe3|jmpq *%r11
ff2500000000|jmpq *(%rip)
3effe0|jmpq *%rax
99|cltd
4899|cqto
48f7f1|divq %rcx
49f7fb|idivq %r11
4869c010000000|imulq $16, %rax, %rax
486bc0f0|imulq $-16, %rax, %rax
6bc0f0|imull $-16, %eax, %eax
69c0f0ffffff|imull $4294967280, %eax, %eax
0f94c0|sete %al
480f44c1|cmoveq %rcx, %rax
4863c0|movslq %eax, %rax
658b042500000000|movl %gs:0, %eax
654c8b1c2528000000|movq %gs:40, %r11
654803042528e0b083|addq %gs:-2085560280, %rax
48a1112233445566ff80|movabsq -9151483401391103471, %rax
49bf3893a11d8188ffff|movabsq $-131386847423688, %r15
49bd0000000001000000|movabsq $4294967296, %r13
a811|testb $17, %al
a9112233f4|testl $4096991761, %eax
24f0|andb $-16, %al
3d000000f0|cmpl $4026531840, %eax
483d000000f0|cmpq $-268435456, %rax
6681fb00f0|cmpw $61440, %bx
80fbf0|cmpb $-16, %bl
4f86c2|xchgb %r10b, %r8b
4887dd|xchgq %rbp, %rbx
f090|lock;nop
48d1ef|shrq %rdi
d0e0|shlb %al
66d1f8|sarw %ax
c1e001|shll $1, %eax
c1e0ff|shll $255, %eax
6a80|pushq $-128
68000000f0|pushq $-268435456
cd80|int $128
480fbae03f|btq $63, %rax
c8100001|enter $16, $1
e480|inb $128, %al
c4c37bf0c007|rorxl $7, %r8d, %eax
8d0485f0ffffff|leal -16(,%rax,4), %eax
488d042500000080|leaq -2147483648, %rax
488d05f0ffffff|leaq -16(%rip), %rax
42c6440ff0ff|movb $-1, -16(%rdi,%r9)
4c89a42400010000|movq %r12, 256(%rsp)
41c74718ffffffff|movl $4294967295, 24(%r15)
6641c74718ffff|movw $65535, 24(%r15)
49c7c5ffffffff|movq $-1, %r13
4181c500000080|addl $2147483648, %r13d
4983e5fe|andq $-2, %r13
2e660f1f840000000000|nopw %cs:(%rax,%rax)
e800000080|callq 0xffffffff80001005
0f8500000080|jne 0xffffffff80001006
eb80|jmp 0xf82
878a00000080|xchgl %ecx, -2147483648(%rdx)
f2e900000000|repne  jmp 0x1006
f3c3|rep  retq
66f0450fc102|lock  xaddw %r8w, (%r10)
"""


@pytest.mark.parametrize("row", LLVM.strip().splitlines())
def test_spelling(row: str) -> None:
    code, _, expected = row.partition("|")
    insns = Decoder("x86_64").decode(bytes.fromhex(code), 0x1000)
    assert [text.replace("\t", " ") for text in insns.texts] == expected.split(";")
    assert b"".join(insns.codes).hex() == code


def test_immediates_of_32_bit_code() -> None:
    # No REX prefixes there: 40 is "inc".
    insns = Decoder("i386").decode(bytes.fromhex("4081c0000000806a80"), 0)
    assert insns.texts == ["incl\t%eax", "addl\t$2147483648, %eax", "pushl\t$-128"]


def test_what_cannot_be_spelt_stays() -> None:
    assert att.spell("movl", "$what, %eax", b"\xb8\x01\0\0\0") == "movl\t$what, %eax"
    assert att.spell("movl", "0xzz(%eax), %eax", b"\x8b") == "movl\t0xzz(%eax), %eax"
    # An immediate that is not the last byte of the code keeps its value.
    assert att.spell("addb", "$0x11, %al", b"\x04\x12") == "addb\t$17, %al"
    assert att.immediate_form(b"\x48") is None
    assert att.immediate_form(b"") is None


def test_templates() -> None:
    code = bytes.fromhex("4881c010000000")
    assert att.template("addq\t$16, %rax", code) == ("addq\t$%d, %%rax", 4, True)
    assert att.template("addq\t$16, 8(%rax), $1", code) is None
    assert att.template("addq\t$17, %rax", code) is None
    assert att.template("addb\t$1, %al", b"\x04\x01") is None
