"""Control flow as a drawing: every block and jump is in it, and a huge function is cut."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pybpftool.cfg.graph import EXIT, FIRST_BLOCK, Function
from pybpftool.page.flow import MOST_BLOCKS, flow_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(function: Function, texts: list[str]) -> ElementTree.Element:
    text = flow_svg(function, texts, lambda slot: f"code-1-{slot}")
    # In HTML the name space is known.
    return ElementTree.fromstring(text.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"'))


def function(count: int, arcs: list[tuple[int, int, str]]) -> Function:
    """Blocks of one instruction each; ``arcs`` are (block, block, kind) from 0 on, -1 the exit."""
    found = [(0, FIRST_BLOCK, "entry")]
    for source, target, kind in arcs:
        to = EXIT if target < 0 else target + FIRST_BLOCK
        found.append((source + FIRST_BLOCK, to, kind))
    return Function(0, 0, count, list(range(count)), found, False)


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in svg.iter(f"{SVG}text")]


def test_a_loop_with_a_way_out() -> None:
    flow = function(4, [(0, 1, "next"), (1, 2, "false"), (1, 3, "true"), (2, 1, "jump"),
                        (3, -1, "exit")])  # fmt: skip
    lines = ["(b7) r0 = 0", "(15) if r1 == 0x0 goto pc+1", "(05) goto pc-2", "(95) exit"]
    svg = drawn(flow, lines)
    assert texts(svg) == ["0", "1 if r1 == 0x0", "2", "3 exit"]
    paths = [(path.get("class"), path.get("d") or "") for path in svg.iter(f"{SVG}path")]
    assert [kind for kind, _ in paths] == [None, "l", "t"]
    assert paths[0][1].count("M") == 2  # 0 to 1 and 1 to 2
    assert [g.get("class") for g in svg.iter(f"{SVG}g")] == ["b", "b", "b", "b x"]
    assert [a.get("href") for a in svg.iter(f"{SVG}a")] == [f"#code-1-{n}" for n in range(4)]


def test_calls_stand_in_their_block() -> None:
    flow = Function(0, 0, 3, [0, 2], [(0, 2, "entry"), (2, 3, "next"), (3, 1, "exit")], False)
    lines = [
        "(85) call bpf_map_lookup_elem#1",
        "(85) call pc+3#bpf_prog_0123_<b>&",
        "(95) exit",
    ]
    svg = drawn(flow, lines)
    assert texts(svg)[0] == "0-1 call bpf_map_lookup_elem; call bpf_prog_0123_<b>&"[:51] + "…"
    (title,) = svg.iter(f"{SVG}title")
    assert title.text == "0-1 call bpf_map_lookup_elem; call bpf_prog_0123_<b>&"


def test_blocks_that_nothing_leads_to_are_faint() -> None:
    flow = function(3, [(0, 2, "jump"), (1, 2, "next"), (2, -1, "exit")])
    svg = drawn(flow, ["(05) goto pc+1", "(b7) r0 = 1", "(95) exit"])
    assert [g.get("class") for g in svg.iter(f"{SVG}g")] == ["b", "b u", "b x"]


def test_one_block_needs_no_drawing() -> None:
    assert flow_svg(function(1, [(0, -1, "exit")]), ["(95) exit"]) == ""


def test_a_huge_function_is_cut_and_says_so() -> None:
    count = 50_000
    arcs = [(at, at + 1, "false") for at in range(count - 1)]
    arcs += [(at, count - 1, "true") for at in range(count - 1)]
    arcs.append((count - 1, -1, "exit"))
    lines = ["(15) if r1 == 0x0 goto pc+1"] * (count - 1) + ["(95) exit"]
    text = flow_svg(function(count, arcs), lines)
    assert text.count("<rect") == MOST_BLOCKS
    assert f"{count - MOST_BLOCKS} blocks more, from instruction {MOST_BLOCKS} on" in text
    assert len(text) < 40_000


@given(
    st.integers(2, 40).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=60),
        )
    )
)
def test_lines_to_different_blocks_never_lie_on_one_another(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    count, jumps = case
    arcs = [(source, target, "jump") for source, target in jumps]
    svg = drawn(function(count, arcs), ["(05) goto pc+1"] * count)
    seen: dict[tuple[int, int], int] = {}  # (lane, row of pixels) -> end of the line
    for path in svg.iter(f"{SVG}path"):
        found = re.search(r"M(\d+) (\d+)V(\d+)M\d+ (\d+)H", path.get("d") or "")
        if found is None:
            continue
        lane, first, last, end = map(int, found.groups())
        for y in range(first, last + 1):
            assert seen.setdefault((lane, y), end) == end
    lanes = {lane for lane, _ in seen}
    width = int(svg.get("width") or 0)
    assert all(0 < lane < width for lane in lanes)
