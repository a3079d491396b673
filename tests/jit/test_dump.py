"""Dumps of machine code against what upstream (LLVM) printed of the same programs."""

from __future__ import annotations

import json
import re

import pytest

from pybpftool.errors import BpfError
from pybpftool.jit.program import JitedProgram
from tests.support.jited import TARGET, as_json, plain
from tests.support.recorded import programs

# Upstream cuts a line of /proc/kallsyms after 255 characters and loses the rest.
LONG_SYMBOL = re.compile(r"\b(bpf_prog_\w{227})\w+")
JSON_TARGET = re.compile(r',"target":"[^"]*"')


@pytest.mark.parametrize("name", programs())
def test_plain_is_upstream_s(name: str) -> None:
    prog = programs()[name]
    mine = LONG_SYMBOL.sub(r"\1", plain(prog.jited(), opcodes=True, linum=True))
    assert TARGET.sub("", mine) == prog.plain


@pytest.mark.parametrize("name", programs())
def test_json_is_upstream_s(name: str) -> None:
    prog = programs()[name]
    mine = LONG_SYMBOL.sub(r"\1", as_json(prog.jited(), opcodes=True))
    assert JSON_TARGET.sub("", mine) == prog.json


@pytest.mark.parametrize("name", programs())
def test_pretty_json_says_the_same(name: str) -> None:
    prog = programs()[name].jited()
    compact = as_json(prog, opcodes=True, linum=True)
    pretty = as_json(prog, opcodes=True, linum=True, pretty=True)
    assert json.loads(pretty) == json.loads(compact)
    from pybpftool.output.jsontext import pretty as layout

    assert pretty == layout(json.loads(compact))


def test_without_opcodes_and_numbers() -> None:
    text = plain(programs()["count_ports"].jited())
    assert "; if (!seen)\n" in text
    assert "line_num" not in text
    assert "\n\t" not in text


def test_targets_have_names() -> None:
    text = plain(programs()["count_ports"].jited())
    assert re.search(r"callq\t0x[0-9a-f]+ <bpf_prog_[0-9a-f]{16}_count>\n", text)
    assert re.search(r"callq\t0x[0-9a-f]+ <__htab_map_lookup_elem>\n", text)
    base = programs()["count_ports"].record["ksyms"][0]
    for target, name in re.findall(r"j\w+\t0x([0-9a-f]+) <\+0x([0-9a-f]+)>", text):
        assert int(target, 16) in {base + int(name, 16)} | {
            ksym + int(name, 16) for ksym in programs()["count_ports"].record["ksyms"]
        }
    insns = json.loads(as_json(programs()["count_ports"].jited()))[0]["insns"]
    assert {insn["operation"] for insn in insns if "target" in insn} >= {"callq", "ja", "jne"}
    assert all(list(insn)[-1] == "target" for insn in insns if "target" in insn)


def test_a_target_within_another_function() -> None:
    # jmp to the second byte of the second function
    image = bytes.fromhex("e901000000") + b"\x90\x90\xc3"
    prog = JitedProgram(image, func_lens=(5, 3), ksyms=(0x1000, 0x1005))
    assert "jmp\t0x1006 <0x0000000000001005+0x1>\n" in plain(prog)
    # and to a place nobody knows
    prog = JitedProgram(bytes.fromhex("e900100000"), func_lens=(5,), ksyms=(0x1000,))
    assert plain(prog) == "0x0000000000001000:\n   0:\tjmp\t0x2005\n\n"


def test_hidden_addresses() -> None:
    """With kernel.kptr_restrict there are lengths of functions, but no addresses."""
    recorded = programs()["count_ports"]
    text = plain(recorded.jited(ksyms=()))
    assert text.count("unknown:\n") == 2
    assert "int count_ports(struct xdp_md * ctx):\nunknown:\n" in text
    assert "; " not in text
    assert "callq\t" in text
    assert "<bpf_prog" not in text
    assert "<+0x" in text


def test_functions_that_are_not_told() -> None:
    recorded = programs()["pt_alu64"]
    text = plain(recorded.jited(func_lens=(), ksyms=()))
    assert text.startswith("   0:\tnopl\t(%rax,%rax)\n")
    assert not text.endswith("\n\n")
    insns = json.loads(as_json(recorded.jited(func_lens=(), ksyms=())))
    assert list(insns[0]) == ["pc", "operation", "operands"]
    (function,) = json.loads(as_json(recorded.jited()))
    assert [(i["pc"], i["operation"]) for i in function["insns"]] == [
        (i["pc"], i["operation"]) for i in insns
    ]


def test_no_symbols() -> None:
    recorded = programs()["pt_alu64"]
    text = plain(recorded.jited(symbols=None))
    assert text.startswith("0x%016x:\n" % recorded.record["ksyms"][0])


def test_symbols_are_not_read_for_nothing() -> None:
    def read() -> None:
        raise AssertionError

    plain(programs()["pt_alu64"].jited(ksyms=(), symbols=read))


def test_instructions_without_operands() -> None:
    prog = JitedProgram(b"\xc3\x90", func_lens=(2,))
    (function,) = json.loads(as_json(prog))
    assert function == {
        "name": "unknown",
        "insns": [
            {"pc": "0x0", "operation": "retq", "operands": [None]},
            {"pc": "0x1", "operation": "nop", "operands": [None]},
        ],
    }


def test_data_among_code() -> None:
    prog = JitedProgram(b"\x90\x06\xc3\x48", func_lens=(4,))
    assert plain(prog, opcodes=True) == (
        "unknown:\n   0:\tnop\n\t90 \n   1:\t.byte\t0x06\n\t06 \n   2:\tretq\n\tc3 \n"
        "   3:\t.byte\t0x48\n\t48 \n\n"
    )


def test_intel_syntax() -> None:
    text = plain(programs()["pt_atomics"].jited(), syntax="intel")
    assert ":\tmov\trbp, rsp\n" in text
    # Both syntaxes have the same boundaries.
    pcs = re.findall(r"^ *([0-9a-f]+):\t", text, re.M)
    assert pcs == re.findall(r"^ *([0-9a-f]+):\t", plain(programs()["pt_atomics"].jited()), re.M)


def test_another_machine() -> None:
    # A recording of an arm64 kernel, read anywhere.
    image = bytes.fromhex("fd7bbfa904000014c0035fd6c0035fd6")
    prog = JitedProgram(image, func_lens=(16,), ksyms=(0x10000,), machine="aarch64")
    assert plain(prog) == (
        "0x0000000000010000:\n   0:\tstp\tx29, x30, [sp, #-0x10]!\n   4:\tb\t#0x10014\n"
        "   8:\tret\n   c:\tret\n\n"
    )


def test_lengths_beyond_the_image() -> None:
    prog = JitedProgram(b"\x90\xc3", func_lens=(1, 100, 7), ksyms=(1, 2, 3))
    assert [f.code for f in prog.functions()] == [b"\x90", b"\xc3", b""]
    assert plain(prog).count(":\t") == 2


def test_line_records_that_do_not_fit() -> None:
    recorded = programs()["count_ports"]
    addresses = recorded.record["line_addresses"]
    bad = recorded.jited(line_addresses=[addresses[0], addresses[1] + (1 << 30), *addresses[2:]])
    assert bad.has_bad_lines()
    assert "; if" not in plain(bad)
    assert not recorded.jited().has_bad_lines()
    assert not recorded.jited(line_addresses=addresses[:-1]).has_bad_lines()
    assert "; if" not in plain(recorded.jited(line_addresses=addresses[:-1]))


def test_an_instruction_without_machine_code_loses_its_own_line_alone() -> None:
    recorded = programs()["count_ports"]
    addresses = list(recorded.record["line_addresses"])
    addresses[1] = addresses[2]
    few = recorded.jited(line_addresses=addresses)
    assert not few.has_bad_lines()
    assert plain(few).count("\n; ") == plain(recorded.jited()).count("\n; ") - 1


def test_a_function_without_records_takes_no_lines_from_others() -> None:
    """As what the verifier adds to a program that throws."""
    recorded = programs()["count_ports"]
    whole = recorded.jited()
    more = recorded.jited(
        image=whole.image + b"\xc3",
        func_lens=(*whole.func_lens, 1),
        ksyms=(*whole.ksyms, whole.ksyms[0] + (1 << 20)),
    )
    assert not more.has_bad_lines()
    assert plain(more).count("\n; ") == plain(whole).count("\n; ")


def test_line_records_between_instructions() -> None:
    recorded = programs()["count_ports"]
    addresses = list(recorded.record["line_addresses"])
    addresses[1] += 1  # within an instruction: shown before the next one
    text = plain(recorded.jited(line_addresses=addresses))
    assert text.count("; ") == plain(recorded.jited()).count("; ")
    assert text != plain(recorded.jited())


def test_fewer_function_records_than_functions() -> None:
    recorded = programs()["count_ports"]
    text = plain(recorded.jited(func_info=recorded.bytes("func_info")[:8]))
    assert "int count_ports(struct xdp_md * ctx):\n" in text
    assert "int count(__u16 port):\n" not in text


def test_unknown_machine_prints_nothing() -> None:
    with pytest.raises(BpfError, match="vax"):
        plain(JitedProgram(b"\x90", machine="vax"))
