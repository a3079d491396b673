"""Dumps of translated programs: layouts, prototypes, source lines."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpftool.btf.table import Btf
from pybpftool.insn import dump
from pybpftool.insn.dump import XlatedProgram, dump_json, dump_plain, insn_texts
from pybpftool.insn.symbols import KernelSymbols
from pybpftool.output.jsontext import JsonStream
from pybpftool.output.stream import Output
from tests.support.btfbuild import BtfBuilder

FIXTURE = Path(__file__).parents[2] / "fixtures" / "insn"
CASES = sorted(FIXTURE.glob("dumps/*"))
KALLSYMS = FIXTURE.joinpath("kallsyms.txt").read_bytes()

JSON, PRETTY, OPCODES, LINUM = 1, 2, 4, 8
WORDS = {"plain": 0, "json": JSON, "pretty": JSON | PRETTY, "opcodes": OPCODES, "linum": LINUM}


def dumped(prog: XlatedProgram, flags: int) -> str:
    with tempfile.TemporaryFile() as file:
        out = Output(file.fileno())
        if flags & JSON:
            stream = JsonStream(out, bool(flags & PRETTY))
            dump_json(stream, prog, bool(flags & OPCODES), bool(flags & LINUM))
            out.write("\n")
        else:
            dump_plain(out, prog, bool(flags & OPCODES), bool(flags & LINUM))
        out.flush()
        file.seek(0)
        return file.read().decode("utf-8", "surrogateescape")


def program(case: dict[str, Any]) -> XlatedProgram:
    return XlatedProgram(
        bytes.fromhex(case["insns"]),
        case["nr_jited_ksyms"],
        case["jited_ksyms"],
        bytes.fromhex(case["func_info"]),
        8,
        bytes.fromhex(case["line_info"]),
        case["line_info_rec_size"],
        Btf.from_bytes(bytes.fromhex(case["btf"])),
        lambda: KernelSymbols(KALLSYMS),
    )


@pytest.mark.parametrize("run", [1, 3, 8192])
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_equals_upstream(folder: Path, run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "_RUN", run)
    monkeypatch.setattr(dump, "_MANY_RECORDS", run)
    prog = json.loads(folder.joinpath("program.json").read_text())
    answers = sorted(folder.glob("expected/*"))
    assert len(answers) == 8
    for answer in answers:
        flags = sum(WORDS[word] for word in answer.name.split("-"))
        assert (
            dumped(program(prog), flags).encode("utf-8", "surrogateescape") == answer.read_bytes()
        )


def test_there_are_recordings() -> None:
    assert len(CASES) == 14


def insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


EXIT = insn(0x95)


def described(
    insns: bytes, functions: list[tuple[int, str]], lines: list[tuple[int, str, str, int]]
) -> XlatedProgram:
    """A program with functions ``(slot, name)`` and lines ``(slot, file, source, packed)``."""
    builder = BtfBuilder()
    number = builder.add_int("int", 4, 1)
    signature = builder.add_func_proto(number, [("ctx", number)])
    func_info = b"".join(
        struct.pack("<2I", slot, builder.add_func(name, signature) if name else number + 99)
        for slot, name in functions
    )
    line_info = b"".join(
        struct.pack("<4I", slot, builder.string(file), builder.string(source), packed)
        for slot, file, source, packed in lines
    )
    btf = Btf.from_bytes(builder.build())
    return XlatedProgram(insns, func_info=func_info, line_info=line_info, btf=btf)


PROGRAM = described(
    insn(0x18, 1, 1, 0, 7) + insn(0) + insn(0xB7, 0, imm=-1) + EXIT,
    [(0, "main"), (2, "sub")],
    [(0, "a.c", "  x = map;", 3 << 10 | 5), (3, "a.c", "return 100%;", 4 << 10)],
)


def test_plain() -> None:
    assert dumped(PROGRAM, 0) == (
        "int main(int ctx):\n"
        "; x = map;\n"
        "   0: (18) r1 = map[id:7]\n"
        "int sub(int ctx):\n"
        "   2: (b7) r0 = -1\n"
        "; return 100%;\n"
        "   3: (95) exit\n"
    )


def test_plain_with_everything() -> None:
    assert dumped(PROGRAM, OPCODES | LINUM) == (
        "int main(int ctx):\n"
        "; x = map; [file:a.c line_num:3 line_col:5]\n"
        "   0: (18) r1 = map[id:7]\n"
        "       18 11 00 00 07 00 00 00 00 00 00 00 00 00 00 00\n"
        "int sub(int ctx):\n"
        "   2: (b7) r0 = -1\n"
        "       b7 00 00 00 ff ff ff ff\n"
        "; return 100%; [file:a.c line_num:4 line_col:0]\n"
        "   3: (95) exit\n"
        "       95 00 00 00 00 00 00 00\n"
    )


def test_json() -> None:
    assert json.loads(dumped(PROGRAM, JSON | OPCODES | LINUM)) == [
        {
            "proto": "int main(int ctx)",
            "src": "x = map;",
            "file": "a.c",
            "line_num": 3,
            "line_col": 5,
            "disasm": "(18) r1 = map[id:7]",
            "opcodes": {
                "code": "0x18",
                "src_reg": "0x1",
                "dst_reg": "0x1",
                "off": ["0x00", "0x00"],
                "imm": ["0x07"] + ["0x00"] * 11,
            },
        },
        {
            "proto": "int sub(int ctx)",
            "disasm": "(b7) r0 = -1",
            "opcodes": {
                "code": "0xb7",
                "src_reg": "0x0",
                "dst_reg": "0x0",
                "off": ["0x00", "0x00"],
                "imm": ["0xff"] * 4,
            },
        },
        {
            "src": "return 100%;",
            "file": "a.c",
            "line_num": 4,
            "disasm": "(95) exit",
            "opcodes": {
                "code": "0x95",
                "src_reg": "0x0",
                "dst_reg": "0x0",
                "off": ["0x00", "0x00"],
                "imm": ["0x00"] * 4,
            },
        },
    ]


def test_pretty_inside_of_another_document() -> None:
    with tempfile.TemporaryFile() as file:
        out = Output(file.fileno())
        stream = JsonStream(out, True)
        stream.begin_object()
        stream.name("insns")
        dump_json(stream, XlatedProgram(insn(0x05, off=-1)), True, False)
        stream.end()
        out.flush()
        file.seek(0)
        text = file.read().decode()
    assert text == (
        "{\n"
        '    "insns": [{\n'
        '            "disasm": "(05) goto pc-1",\n'
        '            "opcodes": {\n'
        '                "code": "0x05",\n'
        '                "src_reg": "0x0",\n'
        '                "dst_reg": "0x0",\n'
        '                "off": ["0xff","0xff"\n'
        "                ],\n"
        '                "imm": ["0x00","0x00","0x00","0x00"\n'
        "                ]\n"
        "            }\n"
        "        }\n"
        "    ]\n"
        "}"
    )


def test_big_endian_offsets_keep_their_bytes() -> None:
    prog = XlatedProgram(struct.pack(">BBhi", 0x55, 0x12, 258, 3), byteorder=">")
    (record,) = json.loads(dumped(prog, JSON | OPCODES))
    assert record["disasm"] == "(55) if r1 != 0x3 goto pc+258"
    assert record["opcodes"]["src_reg"] == "0x2"
    assert record["opcodes"]["off"] == ["0x01", "0x02"]
    assert record["opcodes"]["imm"] == ["0x00", "0x00", "0x00", "0x03"]


def test_load_that_the_end_cuts_off() -> None:
    prog = XlatedProgram(EXIT + insn(0x18, 1, 0, 0, 5))
    assert dumped(prog, OPCODES).endswith("   1: (18) r1 = 0x5\n       18 01 00 00 05 00 00 00\n")
    assert json.loads(dumped(prog, JSON | OPCODES))[1]["opcodes"]["imm"] == [
        "0x05",
        "0x00",
        "0x00",
        "0x00",
    ]


def test_no_instructions() -> None:
    assert dumped(XlatedProgram(b""), 0) == ""
    assert dumped(XlatedProgram(b""), JSON) == "[]\n"


def test_without_btf_neither_prototypes_nor_lines() -> None:
    prog = XlatedProgram(EXIT, func_info=bytes(8), line_info=bytes(16))
    assert dumped(prog, LINUM) == "   0: (95) exit\n"


def test_numbers_of_more_than_three_digits() -> None:
    lines = dumped(XlatedProgram(EXIT * 10001), 0).splitlines()
    assert lines[999] == " 999: (95) exit"
    assert lines[1000] == "1000: (95) exit"
    assert lines[10000] == "10000: (95) exit"


def test_prototypes_in_turn() -> None:
    # The second record lies behind the first one's slot, so it blocks the third.
    prog = described(EXIT * 4, [(1, "one"), (0, "zero"), (2, "two")], [])
    assert "one" in dumped(prog, 0)
    assert "two" not in dumped(prog, 0)
    # A type that is not a function has no text but uses up its record.
    prog = described(EXIT * 4, [(1, ""), (2, "two")], [])
    assert dumped(prog, 0).count(":\n") == 1
    # A record beyond the program, one in the second half of a load.
    assert ":\n" not in dumped(described(EXIT * 4, [(9, "nine")], []), 0)
    prog = described(insn(0x18) + insn(0) + EXIT, [(1, "half"), (2, "two")], [])
    assert ":\n" not in dumped(prog, 0)


def test_function_records_of_another_size() -> None:
    prog = described(EXIT * 2, [(0, "main"), (1, "sub")], [])
    prog.func_info = b"".join(
        prog.func_info[at : at + 8] + b"\xee" * 8 for at in range(0, len(prog.func_info), 8)
    )
    prog.func_info_rec_size = 16
    assert dumped(prog, 0).count(":\n") == 2
    prog.func_info_rec_size = 4
    assert prog.functions() == []


def test_symbol_names_are_escaped_in_json() -> None:
    text = b'ffffffff81000000 T __bpf_call_base\nffffffff81001000 t od"d%\\name\n'
    prog = XlatedProgram(insn(0x85, imm=0x1000), symbols=lambda: KernelSymbols(text))
    assert insn_texts(prog) == ['(85) call od"d%\\name#4096']
    assert dumped(prog, 0) == '   0: (85) call od"d%\\name#4096\n'
    assert json.loads(dumped(prog, JSON)) == [{"disasm": '(85) call od"d%\\name#4096'}]


def test_strings_of_any_bytes() -> None:
    prog = described(EXIT, [], [(0, "a\udcff.c", '\x01"\udcfe %s\n', 1 << 10)])
    assert dumped(prog, LINUM) == (
        '; \x01"\udcfe %s\n [file:a\udcff.c line_num:1 line_col:0]\n   0: (95) exit\n'
    )
    (record,) = json.loads(dumped(prog, JSON | LINUM))
    assert record["src"] == '\x01"\udcfe %s\n'
    assert record["file"] == "a\udcff.c"


@settings(deadline=None)
@given(
    st.binary(max_size=300),
    st.lists(st.tuples(*[st.integers(0, 60)] * 4), max_size=30),
    st.lists(st.tuples(*[st.integers(0, 40)] * 2), max_size=6),
    st.sampled_from("<>"),
)
def test_any_program(
    insns: bytes,
    lines: list[tuple[int, int, int, int]],
    functions: list[tuple[int, int]],
    order: str,
) -> None:
    btf = described(EXIT, [(0, "main")], [(0, "a.c", "x();", 1)]).btf
    prog = XlatedProgram(
        insns,
        func_info=b"".join(struct.pack(order + "2I", *record) for record in functions),
        line_info=b"".join(struct.pack(order + "4I", *record) for record in lines),
        btf=btf,
        byteorder=order,
    )
    texts = [text for text in insn_texts(prog) if text]
    for flags in (JSON, JSON | PRETTY, JSON | OPCODES | LINUM):
        records = json.loads(dumped(prog, flags))
        assert [record["disasm"] for record in records] == texts
    shown = [line for line in dumped(prog, 0).splitlines() if line[:4].strip().isdigit()]
    assert [line.partition(": ")[2] for line in shown] == texts
