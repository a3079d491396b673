"""Graphs as DOT: upstream's names and labels, and whether Graphviz takes all of them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from pybpftool.adapters import graphviz as graphviz_adapter
from pybpftool.cfg.dot import label_text, shorten_path, write_call_graph, write_dot
from pybpftool.cfg.listing import Listing
from pybpftool.errors import BpfError
from pybpftool.insn.program import XlatedProgram
from tests.support.asm import assemble, exit_, ja, label
from tests.support.hostile import HOSTILE, hostile_program, needs_dot
from tests.support.randprog import random_program
from tests.support.recorded import compiled, programs


def dot_of(prog: XlatedProgram, opcodes: bool = False, linum: bool = False) -> str:
    parts: list[str] = []
    write_dot(parts.append, Listing(prog), opcodes, linum)
    return "".join(parts)


def draw(text: str) -> str:
    """The SVG; fails on a warning, too."""
    run = subprocess.run(
        ["dot", "-Tsvg"], input=text.encode("utf-8", "replace"), capture_output=True, check=False
    )
    assert run.stderr == b""
    assert run.returncode == 0
    return run.stdout.decode()


def nodes(text: str) -> dict[str, str]:
    return dict(re.findall(r'^\t(fn_\d+_bb_\d+) (\[.*?"\];)$', text, re.M | re.S))


@pytest.mark.parametrize("name", programs())
def test_nodes_are_upstream_s(name: str) -> None:
    """Where upstream sees the same blocks: programs of one function with its line info right."""
    prog = programs()[name]
    mine, theirs = nodes(dot_of(prog.xlated())), nodes(prog.visual)
    for node, text in theirs.items():
        if not node.startswith("fn_0"):
            continue
        # Upstream cuts an instruction at 63 characters and so loses the end of its row,
        # leaves an empty row after a 64-bit load, and draws early exits into other blocks.
        is_cut = any(len(line) > 66 for line in mine.get(node, "").split("\n"))
        if is_cut or "| }" in text or len(mine) != len(theirs):
            continue
        assert mine[node].replace("; unreachable\\l\\\n", "") == text


def test_some_nodes_were_compared() -> None:
    same = 0
    for prog in programs().values():
        mine, theirs = nodes(dot_of(prog.xlated())), nodes(prog.visual)
        same += sum(mine.get(node) == text for node, text in theirs.items())
    assert same > 150


@needs_dot
@pytest.mark.parametrize("name", programs())
def test_graphviz_takes_recorded_programs(name: str) -> None:
    prog = programs()[name].xlated()
    svg = draw(dot_of(prog, opcodes=True, linum=True))
    assert svg.count('class="node') == dot_of(prog).count("shape=")


@needs_dot
@pytest.mark.parametrize("index", range(0, 60, 4))
def test_graphviz_takes_compiled_programs(index: int) -> None:
    _, code, _ = compiled()[index]
    draw(dot_of(XlatedProgram(code)))


@needs_dot
@pytest.mark.parametrize("seed", range(20))
def test_graphviz_takes_random_programs(seed: int) -> None:
    draw(dot_of(XlatedProgram(random_program(seed)), opcodes=True))


@needs_dot
@pytest.mark.parametrize("text", HOSTILE)
def test_graphviz_takes_hostile_source_lines(text: str) -> None:
    dot = dot_of(hostile_program(text), linum=True)
    dot.encode()  # nothing is left that UTF-8 lacks
    assert not set("\u202e\u2066\u200b\u2028") & set(dot)
    svg = draw(dot)
    # The picture is well-formed.
    import xml.dom.minidom

    xml.dom.minidom.parseString(svg)
    if text.isascii() and text.isprintable() and text.strip():
        shown = re.sub(r"<[^>]*>", "", svg).replace("&#160;", " ").replace("&#45;", "-")
        import html

        assert text.replace(" ", "") in html.unescape(shown).replace(" ", "").replace("\xa0", "")


def test_edges_are_told_apart() -> None:
    text = dot_of(XlatedProgram(assemble([ja(1), label("l"), exit_(), ja("l")])))
    # Block 4 leads back into 3: backwards, but no loop.
    assert 'fn_0_bb_2:s -> fn_0_bb_4:n [style="solid,bold", color=black' in text
    assert "comment" not in text
    prog = programs()["loops"]
    text = dot_of(prog.xlated())
    assert text.count('class="true"') == text.count('class="false"')
    assert text.count('comment="loop"') == 3
    assert 'color=red, weight=10, constraint=true, arrowhead=empty, class="false"' in text
    assert text.count('[style="invis", constraint=true];') == 1
    assert text.startswith('digraph "DOT graph for eBPF program" {\nsubgraph "cluster_0" {\n')


def test_unreachable_blocks_say_so() -> None:
    text = dot_of(XlatedProgram(assemble([exit_(), label("l"), ja("l")])))
    assert 'fn_0_bb_3 [shape=record,style="filled,dashed"' in text
    assert "; unreachable\\l" in text
    assert 'fn_0_bb_2 [shape=record,style=filled,label="{\\\n0: (95) exit\\l\\\n}"];' in text


def test_source_lines_of_subprograms() -> None:
    text = dot_of(programs()["count_ports"].xlated(), linum=True)
    main, sub = text.split('subgraph "cluster_1"')
    assert "; int count_ports(struct xdp_md * ctx):\\l" in main
    assert "; int count(__u16 port):\\l" in sub
    assert "static\\ __noinline\\ int\\ count(__u16\\ port)" in sub
    assert "static" not in main
    assert re.search(r"; \[.*ports\.bpf\.c line:\d+ col:\d+\]", sub)
    assert re.search(r"fn_0_bb_\d+ -> fn_1_bb_0 \[style=\"dashed\"", text)


def test_only_some_functions() -> None:
    parts: list[str] = []
    write_dot(parts.append, Listing(programs()["count_ports"].xlated()), only={1})
    text = "".join(parts)
    assert "cluster_1" in text
    assert "fn_0" not in text


def test_call_graph() -> None:
    parts: list[str] = []
    write_call_graph(parts.append, Listing(programs()["callbacks"].xlated()))
    text = "".join(parts)
    assert 'fn_0 [label="callbacks\\n' in text
    assert 'class="callback"' in text
    if shutil.which("dot"):
        draw(text)


def test_limit_on_large_graphs() -> None:
    many = assemble([item for i in range(600) for item in (label(f"l{i}"), ja(0))] + [exit_()])
    parts: list[str] = []
    write_dot(parts.append, Listing(XlatedProgram(many)), limit=True)
    assert "\tnslimit=0.4160;\n" in "".join(parts)
    assert "nslimit" not in dot_of(XlatedProgram(many))


@pytest.mark.parametrize(
    "path,expected",
    [
        ("short.c", ("short.c", False)),
        ("x" * 32, ("x" * 32, False)),
        (
            "/home/user/project/src/deeply/nested/prog.bpf.c",
            ("/src/deeply/nested/prog.bpf.c", True),
        ),
        ("/dir/" + "n" * 40 + ".c", ("/" + "n" * 40 + ".c", True)),
        ("n" * 40, ("n" * 40, False)),
        ("/w/" + "a" * 30, ("/w/" + "a" * 30, False)),
        ("/é/" + "b" * 31, ("/" + "b" * 31, True)),
    ],
)
def test_shorten_path(path: str, expected: tuple[str, bool]) -> None:
    assert shorten_path(path) == expected


def test_label_text() -> None:
    assert label_text('a "b" {c} <d>|e\\ f') == "\\ ".join(
        ["a", '\\"b\\"', "\\{c\\}", "\\<d\\>\\|e\\\\", "f"]
    )


@needs_dot
@pytest.mark.parametrize("form,magic", [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pictures(form: str, magic: bytes) -> None:
    assert graphviz_adapter.picture("digraph { a -> b }", form).startswith(magic)


@needs_dot
def test_what_graphviz_refuses() -> None:
    with pytest.raises(BpfError, match="'dot' failed"):
        graphviz_adapter.picture("digraph { a -> ", "svg")


def test_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BpfError, match="the program 'dot', which is not installed"):
        graphviz_adapter.picture("digraph {}", "svg")
