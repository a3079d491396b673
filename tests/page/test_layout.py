"""The graph of the page: every object is in it, and lines lead where objects do."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.owner import Owners
from pybpftool.inspect.owners import Graph
from pybpftool.objects.prog_code import CodeReader
from pybpftool.page.document import page
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


def test_maps_that_are_refused_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be listed may be listed a moment later."""
    graph = Graph(Inventory(host()))
    whole = {kind: graph.items(kind) for kind in ("prog", "map")}
    asked: list[str] = []

    def items(_: Graph, kind: str) -> Any:
        asked.append(kind)
        return {} if kind == "map" and asked.count("map") == 1 else whole[kind]

    monkeypatch.setattr(Graph, "items", items)
    layout = of_graph(graph)
    assert layout.columns[MAP] == [] and layout.columns[PROG]


def test_drawing_has_a_path_a_line() -> None:
    layout = of_graph(Graph(Inventory(scene())))
    text = svg(layout)
    assert text.count("<path") == len(layout.lines)
    assert text.count('<g class="node') == sum(map(len, layout.columns))
    assert text.count("<svg") == text.count("</svg>") == 1


def test_nothing_at_all() -> None:
    kernel = Host()
    assert "<svg" in svg(of_graph(Graph(Inventory(kernel))))


def tangled(progs: int) -> Host:
    """Programs that all use the same maps, which nobody else holds, and stand in one array."""
    kernel = host()
    for id in range(1000, 1006):
        kernel.map(id, type=1, key_size=4, value_size=8, max_entries=4, name=b"common")
    kernel.map(1006, type=3, key_size=4, value_size=4, max_entries=progs, name=b"jumps")
    kernel.elems[1006] = {
        struct.pack("<I", at): struct.pack("<I", 5000 + at) for at in range(progs)
    }
    for id in range(5000, 5000 + progs):
        add_prog(kernel, id, b"", name=b"user", type=6, maps=tuple(range(1000, 1007)))
        kernel.held["prog"][id] = [(id, f"owner{id % 7}")]
    return kernel


def work(progs: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the page of such a host asks who owns something, or has a line for a tree."""
    from pybpftool.inspect.tree import Branch

    count = 0

    def counting(known: Any) -> Any:
        def asked(*args: Any) -> Any:
            nonlocal count
            count += 1
            return known(*args)

        return asked

    with monkeypatch.context() as patch:
        patch.setattr(Owners, "of", counting(Owners.of))
        patch.setattr(Branch, "__init__", counting(Branch.__init__))
        kernel = tangled(progs)
        graph = Graph(Inventory(kernel))
        page(graph, CodeReader(kernel, graph.inventory.reader), graph.unseen, "now")
    return count


def test_work_grows_as_the_tangle_does(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (work(progs, monkeypatch) for progs in (50, 200))
    assert large < 5 * small


def test_too_many_lines_are_left_out_fairly(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tangled(40)
    whole = of_graph(Graph(Inventory(kernel)))
    assert whole.left_out == 0
    monkeypatch.setattr("pybpftool.page.layout.MOST_LINES", 100)
    graph = Graph(Inventory(kernel))
    some = of_graph(graph)
    assert len(some.lines) == 100
    assert some.left_out == len(whole.lines) - 100
    assert set(some.lines) < set(whole.lines)
    # No box that had lines is without one.
    assert {line.start for line in some.lines} == {line.start for line in whole.lines}
    text = page(graph, CodeReader(kernel, graph.inventory.reader), [], "now").decode()
    assert f"Of {len(whole.lines)} lines {some.left_out} are left out" in text
    assert text.count("data-a=") == 100
