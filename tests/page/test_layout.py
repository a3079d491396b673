"""The graph of the page: every object is in it, and lines lead where objects do."""

from __future__ import annotations

import struct

from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.owners import Graph
from pybpftool.page.drawing import svg
from pybpftool.page.layout import HOOK, MAP, OWNER, PROG, of_graph
from tests.support.fakeprogs import add_prog
from tests.support.hosts import Host, host, load_map


def scene() -> Host:
    kernel = host()
    kernel.map(9, type=3, key_size=4, value_size=4, max_entries=2, name=b"jumps")
    kernel.elems[9] = {bytes(4): struct.pack("<I", 3)}
    add_prog(kernel, 31, load_map(2, 9), name=b"caller", type=6, maps=(9,))
    return kernel


def test_every_object_has_a_box() -> None:
    layout = of_graph(Graph(Inventory(scene())))
    names = {node.name for column in layout.columns for node in column}
    assert {f"prog-{id}" for id in (1, 2, 3, 31)} <= names
    assert {f"map-{id}" for id in (7, 8, 9)} <= names
    assert [node.text for node in layout.columns[HOOK]] == ["tcx/ingress dev eth0"]
    assert {node.text for node in layout.columns[OWNER]} == {
        "unit:agent.service", "comm:other", "nobody that can be seen"
    }  # fmt: skip
    assert len(layout.columns[PROG]) == 4 and len(layout.columns[MAP]) == 3


def test_lines() -> None:
    layout = of_graph(Graph(Inventory(scene())))
    lines = {(line.start, line.end, line.kind) for line in layout.lines}
    assert ("hook-tcx/ingress dev eth0", "prog-2", "") in lines
    assert ("prog-2", "map-7", "") in lines
    assert ("map-7", "owner-unit:agent.service", "owner") in lines
    assert ("map-9", "prog-3", "slot") in lines
    assert ("prog-3", "owner-comm:other", "owner") in lines
    # Its map has the same owner: the line goes on from there.
    assert ("prog-2", "owner-unit:agent.service", "owner") not in lines


def test_drawing_has_a_path_a_line() -> None:
    layout = of_graph(Graph(Inventory(scene())))
    text = svg(layout)
    assert text.count("<path") == len(layout.lines)
    assert text.count('<g class="node') == sum(map(len, layout.columns))
    assert text.count("<svg") == text.count("</svg>") == 1


def test_nothing_at_all() -> None:
    kernel = Host()
    assert "<svg" in svg(of_graph(Graph(Inventory(kernel))))
