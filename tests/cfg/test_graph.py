"""The graph against brute force, and the cases that brute force has no opinion on."""

from __future__ import annotations

import pytest

from pybpftool.cfg.graph import ENTRY, EXIT, Cfg, Function
from pybpftool.errors import FormatError
from pybpftool.insn.disasm import Image
from tests.support import flow_brute as brute
from tests.support.asm import (
    R0,
    R1,
    Label,
    Ref,
    assemble,
    exit_,
    gotox,
    insn,
    ja,
    jeq,
    label,
    ld_imm64,
    ld_map_value,
    mov64,
)
from tests.support.randprog import random_program
from tests.support.recorded import compiled

RANDOM = 300


def node(function: Function, number: int) -> object:
    if number == ENTRY:
        return "entry"
    return "exit" if number == EXIT else function.bounds(number)[0]


def check(code: bytes, starts: list[int]) -> None:
    cfg = Cfg.build(Image(code), starts)
    expected = brute.analyse(code, starts)
    assert [f.begin for f in cfg.functions] == brute.function_starts(code, starts)
    for function, wanted in zip(cfg.functions, expected):
        blocks = function.blocks
        assert {(b.begin, b.end) for b in blocks} == wanted.blocks
        assert [b.number for b in blocks] == list(range(2, function.node_count))
        edges = {(node(function, a), node(function, b), kind) for a, b, kind in function.arcs}
        assert edges == wanted.edges
        assert len(function.arcs) == len(set(function.arcs))
        seen = brute.reachable(wanted.edges)
        assert {b.begin for b in blocks if b.is_reachable} == seen - {"entry", "exit"}


def check_dominators(code: bytes, starts: list[int]) -> None:
    for function in Cfg.build(Image(code), starts).functions:
        edges = {(node(function, a), node(function, b), k) for a, b, k in function.arcs}
        names = [node(function, n) for n in range(function.node_count)]
        idom = function.dominators()
        for number, name in enumerate(names):
            above = {other for other in names if brute.dominates(edges, other, name)}
            if not above:
                assert idom[number] == -1
                continue
            chain = {name}
            at = number
            while at != ENTRY:
                at = idom[at]
                chain.add(names[at])
            assert chain == above
        retreating = 0
        for edge in function.edges:
            source, target = names[edge.source], names[edge.target]
            assert edge.is_back == brute.dominates(edges, target, source)
            assert edge.is_retreating or not edge.is_back
            if edge.is_retreating:
                retreating += 1
                assert brute.on_cycle(edges, source, target)
        # Without the retreating edges there is no cycle left.
        rest = {
            (names[e.source], names[e.target], e.kind)
            for e in function.edges
            if not e.is_retreating
        }
        live = brute.reachable(edges)
        for a, b, _ in rest:
            assert a not in live or not brute.on_cycle(rest, a, b)
        for loop in function.loops():
            header = names[loop.header]
            assert loop.header in loop.blocks
            for member in loop.blocks:
                assert brute.dominates(edges, header, names[member])


@pytest.mark.parametrize(
    "name,code,starts", compiled(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_compiled_programs(name: str, code: bytes, starts: list[int]) -> None:
    check(code, starts)
    # The functions are found without their records, too.
    check(code, [])


@pytest.mark.parametrize("seed", range(RANDOM))
def test_random_programs(seed: int) -> None:
    check(random_program(seed), [])


@pytest.mark.parametrize("seed", range(40))
def test_dominators_of_random_programs(seed: int) -> None:
    check_dominators(random_program(seed, 25), [])


@pytest.mark.parametrize("index", range(0, 60, 6))
def test_dominators_of_compiled_programs(index: int) -> None:
    _, code, starts = compiled()[index]
    check_dominators(code, starts)


def test_loops_of_a_compiled_program() -> None:
    code, starts = next((c, s) for n, c, s in compiled() if n == "loops_O2_v3")
    (function,) = Cfg.build(Image(code), starts).functions
    loops = function.loops()
    assert len(loops) == 3
    # One is nested in another.
    sets = [set(loop.blocks) for loop in loops]
    assert sum(a < b for a in sets for b in sets) == 1


def test_calls_and_callbacks() -> None:
    code, starts = next((c, s) for n, c, s in compiled() if n == "callbacks_O2_v3")
    cfg = Cfg.build(Image(code), starts)
    kinds = {(call.caller, call.callee, call.kind) for call in cfg.calls}
    assert any(kind == "callback" for _, _, kind in kinds)
    for call in cfg.calls:
        function = cfg.functions[call.caller]
        assert function.begin <= call.slot < function.end


def test_early_exit_goes_to_exit() -> None:
    code = assemble([jeq(R1, 0, "on"), exit_(), label("on"), mov64(R0, 0), exit_()])
    (function,) = Cfg.build(Image(code)).functions
    assert [(e.source, e.target, e.kind) for e in function.edges] == [
        (0, 2, "entry"),
        (2, 3, "false"),
        (2, 4, "true"),
        (3, 1, "exit"),
        (4, 1, "exit"),
    ]


def table(id: int) -> bytes:
    return ld_map_value(R1, id)


def test_gotox_goes_to_its_table() -> None:
    code = assemble([table(7), gotox(R1), mov64(R0, 1), exit_(), mov64(R0, 2), exit_()])
    tables = {7: [5, 3, 5, 1, 99], 8: [4]}
    (function,) = Cfg.build(Image(code), (), tables).functions
    assert not function.has_unknown_targets
    # Slot 1 is within an instruction, 99 outside of the code.
    assert function.heads == [0, 3, 5]
    assert [a for a in function.arcs if a[2] == "indirect"] == [
        (2, 3, "indirect"),
        (2, 4, "indirect"),
    ]


def test_gotox_without_a_load_goes_to_all_tables() -> None:
    code = assemble([gotox(R1), exit_(), exit_()])
    (function,) = Cfg.build(Image(code), (), {7: [1], 8: [2]}).functions
    assert [a[1] for a in function.arcs if a[2] == "indirect"] == [3, 4]


def test_gotox_to_places_unknown() -> None:
    code = assemble([gotox(R1), mov64(R0, 1), label("l"), ja("l")])
    (function,) = Cfg.build(Image(code)).functions
    assert function.has_unknown_targets
    assert all(block.is_reachable for block in function.blocks)
    assert function.dominators()[ENTRY] == ENTRY
    assert function.dominates(ENTRY, 4)
    assert [(e.source, e.is_back) for e in function.edges if e.is_retreating] == [(4, True)]


def test_unreachable_code_has_no_dominator() -> None:
    code = assemble([exit_(), label("l"), ja("l")])
    (function,) = Cfg.build(Image(code)).functions
    assert function.dominators()[3] == -1
    assert not function.dominates(ENTRY, 3)
    assert [block.is_reachable for block in function.blocks] == [True, False]
    assert function.loops() == []


@pytest.mark.parametrize(
    "code,message",
    [
        (b"", "no instructions"),
        (ja(5) + exit_(), "instruction 0 jumps to slot 6"),
        (ja(-2) + exit_(), "instruction 0 jumps to slot -1"),
        (ja(1) + ld_imm64(R1, 1) + exit_(), "jumps to slot 2"),
        (insn(0x85, 0, 1, 40, 1) + exit_(), "calls slot 41"),
        (insn(0x85, 0, 1, 0, 1) + exit_() + ja(-3), "instruction 2 jumps to slot 0"),
    ],
)
def test_what_is_no_program(code: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Cfg.build(Image(code))


def test_hidden_callback_is_left_out() -> None:
    # Without addresses the kernel zeroes the distance: it points into the load itself.
    code = assemble([insn(0x18, 1, 4) + insn(0), exit_()])
    assert Cfg.build(Image(code)).calls == []


def far_program(numbered: bool) -> tuple[bytes, int]:
    """A call over more than 65536 slots, whose 16 bits of offset are not enough."""
    gap = [mov64(R0, 1)] * 70_000
    items: list[bytes | Label | Ref] = [
        Ref(0x85, 0, 1, 0, 1, "far"),
        *gap,
        exit_(),
        label("far"),
        mov64(R0, 2),
        exit_(),
    ]
    target = 1 + len(gap) + 1
    off = (target - 1 + 0x8000) % 65536 - 0x8000
    items[0] = insn(0x85, 0, 1, off, 1 if numbered else 0)
    return assemble(items), target


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("with_records", [True, False])
def test_far_calls(numbered: bool, with_records: bool) -> None:
    code, target = far_program(numbered)
    cfg = Cfg.build(Image(code), [0, target] if with_records else [])
    assert [f.begin for f in cfg.functions] == [0, target]
    assert [(call.slot, call.callee) for call in cfg.calls] == [(0, 1)]


def test_big_endian() -> None:
    items = [insn(0x15, 1, 0, 1, 0, "big"), insn(0x95, order="big"), insn(0x05, 0, 0, -3, 0, "big")]
    (function,) = Cfg.build(Image(b"".join(items), ">")).functions
    assert [(a, b) for a, b, _ in function.arcs] == [(0, 2), (2, 3), (2, 4), (3, 1), (4, 2)]
