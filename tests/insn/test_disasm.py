"""Texts of single instructions: every opcode, every special form, both byte orders."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.insn.disasm import CallNames, Image, decode, disassemble
from pybpftool.insn.symbols import KernelSymbols
from pybpftool.uapi.helpers import helper_names

FIXTURE = Path(__file__).parents[2] / "fixtures" / "insn" / "disasm.txt"

# name, number of native functions, their addresses, kallsyms, [(instruction, text)]
Context = tuple[str, int, list[int], bytes, list[tuple[bytes, str]]]


def recorded() -> Iterator[Context]:
    """What upstream's disassembler says, for programs loaded in different ways."""
    context: Context | None = None
    with FIXTURE.open() as lines:
        for line in lines:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "context":
                if context:
                    yield context
                name, count, addresses = rest.split(" ")
                ksyms = [int(address, 16) for address in addresses.split(",") if address]
                context = (name, int(count), ksyms, b"", [])
            elif word == "symbol":
                assert context
                name, number, ksyms, symbols, answers = context
                context = (name, number, ksyms, symbols + rest.encode() + b"\n", answers)
            else:
                assert context
                context[4].append((bytes.fromhex(word), rest))
    assert context
    yield context


CONTEXTS = list(recorded())


def call_names(context: Context) -> CallNames:
    _, number, ksyms, text, _ = context
    return CallNames(number, ksyms, (lambda: KernelSymbols(text)) if text else None)


def insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def big_endian(data: bytes) -> bytes:
    """The same instructions as a big-endian machine holds them."""
    slots = []
    for code, regs, off, imm in struct.iter_unpack("<BBhi", data):
        slots.append(struct.pack(">BBhi", code, (regs & 15) << 4 | regs >> 4, off, imm))
    return b"".join(slots)


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context[0])
@pytest.mark.parametrize("order", ["<", ">"])
def test_equals_upstream(context: Context, order: str) -> None:
    answers = context[4]
    image = b"".join(data for data, _ in answers)
    if order == ">":
        image = big_endian(image)
    texts = disassemble(image, order, call_names(context))
    assert len(texts) * 8 == len(image)
    slot = 0
    for data, expected in answers:
        assert texts[slot] == expected, data.hex()
        if len(data) == 16:
            assert texts[slot + 1] == ""
        slot += len(data) // 8


def test_fixture_covers_every_opcode() -> None:
    answers = CONTEXTS[0][4]
    assert {data[0] for data, _ in answers} == set(range(256))
    for code in range(256):
        assert len({data[1] >> 4 for data, _ in answers if data[0] == code}) == 16


def test_one_by_one_equals_bulk() -> None:
    context = CONTEXTS[1]
    for data, expected in context[4][::17]:
        assert disassemble(data, "<", call_names(context))[0] == expected


def test_nothing_to_disassemble() -> None:
    assert disassemble(b"") == []
    assert disassemble(b"\x95\0\0\0\0\0\0") == []


def test_incomplete_last_slot_is_left_out() -> None:
    assert disassemble(insn(0x95) + b"\x95\0\0") == ["(95) exit"]


def test_load_that_the_end_cuts_off() -> None:
    assert disassemble(insn(0xB7, 1, imm=-1) + insn(0x18, 2, imm=-2)) == [
        "(b7) r1 = -1",
        "(18) r2 = 0xfffffffe",
    ]


def test_second_half_of_a_load_is_no_instruction() -> None:
    # Both halves look like loads and the next one's second half like a call.
    image = insn(0x18, 1, imm=1) + insn(0x18, 2, imm=2) + insn(0x18, 3, imm=3)
    image += insn(0x85, imm=0x1234567) + insn(0x95)

    def symbols() -> KernelSymbols:
        raise AssertionError("no call needs them")

    assert disassemble(image, "<", CallNames(1, (), symbols)) == [
        "(18) r1 = 0x200000001",
        "",
        "(18) r3 = 0x123456700000003",
        "",
        "(95) exit",
    ]


def test_casts_in_second_halves_do_not_count() -> None:
    image = insn(0xBF, 1, 2, 1, 0x30002) + insn(0x18, 1) + insn(0xBF, 1, 2, 1, 5)
    assert disassemble(image) == [
        "(bf) r1 = addr_space_cast(r2, 3, 2)",
        "(18) r1 = 0x500000000",
        "",
    ]


def test_symbols_are_read_only_for_calls_that_need_them() -> None:
    reads = []

    def symbols() -> KernelSymbols:
        reads.append(1)
        return KernelSymbols(b"ffffffff81000000 T __bpf_call_base\nffffffff81000100 T fn\n")

    calls = CallNames(0, (), symbols)
    assert disassemble(insn(0x85, imm=1) + insn(0x85, src=1, off=4, imm=9), "<", calls) == [
        "(85) call bpf_map_lookup_elem#1",
        "(85) call pc+4",
    ]
    assert not reads
    assert disassemble(insn(0x85, src=2, imm=256) * 2, "<", calls) == ["(85) call fn#256"] * 2
    assert disassemble(insn(0x85, imm=256), "<", calls) == ["(85) call fn#256"]
    assert len(reads) == 1


def test_subprograms_need_no_symbols_of_the_kernel() -> None:
    def read(size: int) -> bytes:
        raise AssertionError

    names = {0x1000: "bpf_prog_0123456789abcdef_sub"}
    calls = CallNames(1, (0x1000,), lambda: KernelSymbols(b"", read, lambda addresses: names))
    assert disassemble(insn(0x85, src=1, off=4, imm=0), "<", calls) == [
        "(85) call pc+4#bpf_prog_0123456789abcdef_sub"
    ]


def test_symbols_that_cannot_be_had() -> None:
    calls = CallNames(2, (), lambda: None)
    assert disassemble(insn(0x85, src=1, off=-1, imm=-1), "<", calls) == [
        "(85) call pc-1#0xffffffffffffffff"
    ]


def test_helper_names() -> None:
    names = helper_names()
    assert len(names) == len(set(names)) == 212
    assert names[0] == "bpf_unspec"
    assert names[1] == "bpf_map_lookup_elem"
    assert names[12] == "bpf_tail_call"
    assert names[181] == "bpf_loop"
    assert names[211] == "bpf_cgrp_storage_delete"
    assert all(name.startswith("bpf_") and name.isidentifier() for name in names)
    assert helper_names() is names


def test_decode() -> None:
    image = insn(0x07, 10, 3, -8, -1) + insn(0x18, 1, 2, 0, 7) + insn(0, imm=9)
    expected = [(0x07, 10, 3, -8, -1), (0x18, 1, 2, 0, 7), (0, 0, 0, 0, 9)]
    assert decode(image) == expected
    assert decode(big_endian(image), ">") == expected
    assert decode(image + b"\x95") == expected


def test_image_starts() -> None:
    assert list(Image(insn(0x95) * 3).starts()) == [0, 1, 2]
    assert list(Image(insn(0x95) + insn(0x18) + insn(0) + insn(0x95)).starts()) == [0, 1, 3]
    assert list(Image(b"").starts()) == []


@given(st.binary(max_size=400), st.sampled_from("<>"))
def test_any_bytes(data: bytes, order: str) -> None:
    image = Image(data, order)
    texts = disassemble(data, order)
    assert len(texts) == image.count == len(data) // 8
    starts = list(image.starts())
    assert [slot for slot, text in enumerate(texts) if text] == starts
    assert all("\n" not in text for text in texts)
    for slot in starts[:-1]:
        # An instruction's text does not depend on its neighbours.
        alone = disassemble(image.data[8 * slot : 8 * slot + 16], order)
        assert alone[0] == texts[slot]
    again = [image.split(slot) for slot in range(image.count)]
    assert again == decode(data, order)


@given(st.binary(max_size=400))
def test_byte_orders_agree(data: bytes) -> None:
    usable = data[: len(data) // 8 * 8]
    assert disassemble(usable) == disassemble(big_endian(usable), ">")
