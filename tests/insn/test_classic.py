"""Classic BPF as text, and the forms that tools write it in."""

from __future__ import annotations

import ctypes
import errno
import random
import socket
import struct
import sys

import pytest

from pybpftool.errors import FormatError
from pybpftool.insn.classic import (
    ClassicInsn,
    c_form,
    decimal_form,
    decode,
    encode,
    faults,
    is_known,
    parse,
    text,
)
from tests.support.classic import ICMP, ICMP_C, ICMP_DECIMAL, random_filter

NATIVE = "<" if sys.byteorder == "little" else ">"
SO_ATTACH_FILTER = 26  # asm-generic/socket.h


def shown(insns: list[ClassicInsn]) -> str:
    return "".join([f"{text(insn, pc)}\n" for pc, insn in enumerate(insns)])


def test_forms_of_tcpdump() -> None:
    insns = parse(ICMP_DECIMAL.encode(), "<")
    assert shown(insns) == ICMP
    assert c_form(insns) == ICMP_C
    assert decimal_form(insns) == ICMP_DECIMAL
    assert parse(ICMP_C.encode(), "<") == insns
    assert parse(b"6,40 0 0 12,21 0 3 2048,48 0 0 23,21 0 1 1,6 0 0 262144,6 0 0 0", "<") == insns
    for order in "<>":
        assert parse(encode(insns, order), order) == insns


@pytest.mark.parametrize(
    ("insn", "line"),
    [
        ((0x00, 0, 0, 10), "ld       #0xa"),
        ((0x81, 0, 0, 10), "unimp    0x81"),
        ((0x80, 0, 0, 0), "ld       #pktlen"),
        ((0xB1, 0, 0, 14), "ldxb     4*([14]&0xf)"),
        ((0x50, 0, 0, 0xFFFFFFFF), "ldb      [x + -1]"),
        ((0x20, 0, 0, 0xFFFFF02C), "ld       [vlan_tci]"),
        ((0x20, 0, 0, 0xFFFFF03C), "ld       [vlan_tpid]"),
        ((0x20, 0, 0, 0xFFFFF040), "ld       [-4032]"),
        ((0x05, 0, 0, 3), "ja       11"),
        ((0x2D, 1, 2, 9), "jgt      x                jt 9\tjf 10"),
        ((0x55, 1, 2, 9), "unimp    0x55             jt 9\tjf 10"),
        ((0x16, 0, 0, 0), "ret      "),
        ((0x84, 0, 0, 0), "neg      "),
        ((0xA4, 0, 0, 255), "xor      #0xff"),
        ((0x94, 0, 0, 255), "mod      #255"),
        ((0x61, 0, 0, 3), "ldx      M[3]"),
    ],
)
def test_texts(insn: tuple[int, int, int, int], line: str) -> None:
    assert text(ClassicInsn(*insn), 7) == f"(007) {line}"


def test_beside_libpcap() -> None:
    try:
        image = ctypes.CDLL("libpcap.so.0.8").bpf_image
    except OSError:
        pytest.skip("there is no libpcap")

    class Insn(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte),
                    ("k", ctypes.c_uint)]  # fmt: skip

    image.restype = ctypes.c_char_p
    source = random.Random(16)
    for code in range(0x200):
        for k in (0, 5, 0x12345678, 0xFFFFFFFF, 0xFFFFF000 + 4 * source.randrange(20)):
            jt, jf, pc = source.randrange(256), source.randrange(256), source.randrange(1100)
            expected = image(ctypes.byref(Insn(code, jt, jf, k)), pc).decode()
            assert text(ClassicInsn(code, jt, jf, k), pc) == expected


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the input is empty"),
        (b" \n", "the input is empty"),
        (b"2\n6 0 0 0\n", "it has 2 instructions, and 4 numbers follow"),
        (b"1\n6 0 0\n", "it has 1 instructions, and 3 numbers"),
        (b"1\n6 0 0 x\n", "cannot read 'x'"),
        (b"1\n6 300 0 0\n", "instruction 0: 300 is too large"),
        (b"1\n6 -1 0 0\n", "instruction 0: -1 is negative"),
        (b"{ 6, 0, 0 }", "fewer than four numbers"),
        (b"\x06\0\0\0\0\0\0", "7 bytes are no instructions"),
        (b"\0" * 8 * 70000, "at most 4096 instructions, not 70000"),
        (b"99999999999999999999\n", "and 0 numbers follow"),
    ],
)
def test_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        parse(data, "<")


@pytest.mark.parametrize(
    ("insns", "fault"),
    [
        ([], "it has no instructions"),
        ([(0x06, 0, 0, 0)], ""),
        ([(0x20, 0, 0, 0)], "does not return"),
        ([(0x15, 0, 1, 0), (0x06, 0, 0, 0)], "(000) jumps beyond the end"),
        ([(0x05, 0, 0, 1), (0x06, 0, 0, 0)], "(000) jumps beyond the end"),
        ([(0x34, 0, 0, 0), (0x06, 0, 0, 0)], "divides by zero"),
        ([(0x64, 0, 0, 32), (0x06, 0, 0, 0)], "shifts by 32"),
        ([(0x02, 0, 0, 16), (0x06, 0, 0, 0)], "uses M[16]"),
        ([(0xFF, 0, 0, 16), (0x06, 0, 0, 0)], "(000) is no instruction"),
        ([(0x06, 0, 0, 0)] * 4097, "4096 is the most"),
        ([(0x81, 0, 0, 0), (0x06, 0, 0, 0)], ""),
        ([(0x20, 0, 0, 0xFFFFF03C), (0x06, 0, 0, 0)], ""),
        ([(0x28, 0, 0, 0xFFFFF000), (0x06, 0, 0, 0)], ""),
        ([(0x48, 0, 0, 0xFFFFF0FF), (0x06, 0, 0, 0)], ""),
        ([(0x20, 0, 0, 0xFFFFF0FF), (0x06, 0, 0, 0)], "(000) loads [-3841], where Linux has"),
        ([(0x30, 0, 0, 0xFFFFF001), (0x06, 0, 0, 0)], "(000) loads [-4095]"),
        ([(0x60, 0, 0, 3), (0x06, 0, 0, 0)], "(000) reads M[3], which may not have been"),
        ([(0x02, 0, 0, 3), (0x61, 0, 0, 3), (0x06, 0, 0, 0)], ""),
        # Written on one of two ways.
        ([(0x15, 0, 1, 0), (0x02, 0, 0, 3), (0x60, 0, 0, 3), (0x06, 0, 0, 0)], "(002) reads M[3]"),
        ([(0x15, 0, 1, 0), (0x06, 0, 0, 0), (0x60, 0, 0, 3), (0x06, 0, 0, 0)], "(002) reads M[3]"),
        ([(0x05, 0, 0, 1), (0x60, 0, 0, 3), (0x06, 0, 0, 0)], ""),  # never reached
    ],
)
def test_faults(insns: list[tuple[int, int, int, int]], fault: str) -> None:
    found = "; ".join(faults([ClassicInsn(*insn) for insn in insns]))
    assert fault in found
    assert bool(fault) == bool(found)


def test_decode_wants_whole_instructions() -> None:
    with pytest.raises(FormatError):
        decode(b"123", "<")


# What bpf_check_classic() knows, and 0x81.
KNOWN = [code for code in range(0x100) if is_known(ClassicInsn(code, 0, 0, 0))]


def test_faults_beside_the_kernel() -> None:
    """Filters at random at a socket: what is refused is what has faults."""
    source = random.Random(2016)
    refused = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for number in range(4000):
            rows = random_filter(source, KNOWN if number % 3 else ())
            code = encode([ClassicInsn(*row) for row in rows], NATIVE)
            buffer = ctypes.create_string_buffer(code)
            program = struct.pack("@HP", len(rows), ctypes.addressof(buffer))
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
                is_refused = False
            except OSError as error:
                assert error.errno == errno.EINVAL
                is_refused = True
            found = faults([ClassicInsn(*row) for row in rows])
            assert bool(found) == is_refused, (rows, found)
            refused += is_refused
    assert 500 < refused < 3500
