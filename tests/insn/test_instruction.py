"""BPF instructions as records."""

from __future__ import annotations

import pytest

from pybpftool.insn.dump import insn_texts
from pybpftool.insn.instruction import Instruction, Instructions
from pybpftool.insn.program import XlatedProgram
from tests.support.recorded import programs


@pytest.fixture(params=sorted(programs()))
def prog(request: pytest.FixtureRequest) -> XlatedProgram:
    return programs()[request.param].xlated()


def test_each_has_its_text_and_place(prog: XlatedProgram) -> None:
    insns = Instructions(prog)
    texts = insn_texts(prog)
    assert len(insns) == len([text for text in texts if text])
    assert [(insn.pc, insn.text) for insn in insns] == [
        (pc, text) for pc, text in enumerate(texts) if text
    ]
    assert str(insns).splitlines() == [f"{pc:4}: {text}" for pc, text in enumerate(texts) if text]
    assert insns[-1].text == texts[-1]
    assert insns.between(0, len(texts)) == list(insns)


def test_lines_are_those_of_the_records(prog: XlatedProgram) -> None:
    insns = Instructions(prog)
    begins = set(prog.lines().insn_offs) if prog.btf is not None else set()
    for insn, before in zip(list(insns)[1:], insns):
        if insn.pc not in begins and insn.pc - 1 not in begins:
            assert insn.line == before.line
    if prog.btf is None:
        assert all(insn.line is None for insn in insns)


def test_lines_have_text_file_and_number() -> None:
    prog = next(p.xlated() for p in programs().values() if p.record["line_info"] and p.btf())
    line = Instructions(prog)[0].line
    assert line is not None
    assert line.number > 0
    assert str(line) == line.text == line.text.lstrip()
    assert line.file


def test_loads_have_64_bits_and_name_maps() -> None:
    insns = Instructions(
        XlatedProgram(bytes.fromhex("1811000007000000 0000000001000000".replace(" ", "")))
    )
    assert len(insns) == 1
    assert insns[0].imm == 1 << 32 | 7
    assert insns[0].map_id == 7
    plain = Instructions(XlatedProgram(bytes.fromhex("18010000ffffffff00000000ffffffff")))
    assert plain[0].imm == (1 << 64) - 1
    assert plain[0].map_id is None
    with pytest.raises(IndexError):
        insns.at(1)


def test_those_of_an_opcode(prog: XlatedProgram) -> None:
    insns = Instructions(prog)
    for code in {insn.code for insn in insns}:
        assert list(insns.of_code(code)) == [insn for insn in insns if insn.code == code]
    assert list(insns.of_code(0xFF)) == []


def test_calls_know_their_kind() -> None:
    def kind(text: str) -> str | None:
        return Instructions(XlatedProgram(bytes.fromhex(text)))[0].call_kind

    assert kind("8500000005000000") == "helper"
    assert kind("8510000001000000") == "subprogram"
    assert kind("8520000001000000") == "kfunc"
    assert kind("9500000000000000") is None


def test_they_print_and_compare() -> None:
    insns = Instructions(XlatedProgram(bytes.fromhex("b7000000010000009500000000000000")))
    assert repr(insns[1]) == "<1: (95) exit>"
    assert insns[0] == Instruction(0, 0xB7, 0, 0, 0, 1, "(b7) r0 = 1")
    assert repr(insns) == "<2 BPF instructions>"
