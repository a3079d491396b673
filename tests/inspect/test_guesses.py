"""What may hold a program that nothing is seen to hold."""

from __future__ import annotations

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect import guesses
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.owners import Graph
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.cli import run
from tests.support.fakeprogs import add_prog
from tests.support.hosts import Host, host


def with_callbacks(field: str, *, is_held: bool = True) -> Host:
    """A host whose program 40 is held by nothing and uses map 41, which has a value of a struct."""
    kernel = host()
    btf = BtfBuilder()
    inner = btf.add_struct(field, 4, [("opaque", btf.add_int("int", 4, SIGNED), 0)])
    value = btf.add_struct("value", 4, [("field", inner, 0)])
    kernel.btfs[42] = btf.build()
    kernel.map(41, type=2, key_size=4, value_size=4, max_entries=1, name=b"later",
               btf_id=42, btf_value_type_id=value)  # fmt: skip
    if is_held:
        kernel.held["map"][41] = [(50, "agent")]
    add_prog(kernel, 40, b"", name=b"called", type=6, maps=(41,))
    return kernel


@pytest.mark.parametrize("field", ["bpf_timer", "bpf_wq", "bpf_task_work"])
def test_a_map_with_timers_may_hold_it(field: str) -> None:
    graph = Graph(Inventory(with_callbacks(field)))
    assert [(edge.holder, edge.how) for edge in graph.up["prog", 40]] == [
        (("map", 41), "a timer or the like in it may call it")
    ]
    assert graph.roots(("prog", 40)) == {("pid", 50)}
    result = run("doctor", "unheld", kernel=with_callbacks(field))
    assert "prog 40" not in result.text


@pytest.mark.parametrize("kernel", [
    with_callbacks("bpf_spin_lock"), with_callbacks("bpf_timer", is_held=False)
])  # fmt: skip
def test_other_maps_do_not(kernel: Host) -> None:
    assert ("prog", 40) not in Graph(Inventory(kernel)).up
    result = run("doctor", "unheld", kernel=kernel)
    assert "prog 40" in result.text and guesses.beyond("xdp") in result.text


def test_a_program_of_iterators() -> None:
    kernel = host()
    btf = BtfBuilder()
    proto = btf.add_func_proto(0, [])
    function, other = btf.add_func("bpf_iter_task", proto), btf.add_func("tcp_connect", proto)
    kernel.files["/sys/kernel/btf/vmlinux"] = btf.build()
    for id, target in ((40, function), (41, other)):
        add_prog(kernel, id, b"", name=b"it", type=26, attach_btf_id=target)
    kernel.holding = lambda name: [(50, "agent")] if name == "bpf_iter" else []  # type: ignore[method-assign]
    graph = Graph(Inventory(kernel))
    assert [edge.holder for edge in graph.up["prog", 40]] == [("pid", 50)]
    assert ("prog", 41) not in graph.up

    def refused(name: str) -> list[tuple[int, str]]:
        raise KernelError("not recorded", 0)

    kernel.holding = refused  # type: ignore[method-assign]
    assert ("prog", 40) not in Graph(Inventory(kernel)).up


def test_a_map_that_an_iterator_walks_over() -> None:
    kernel = host()
    for id, type in ((40, 1), (41, 27)):  # a hash, a ring buffer
        kernel.map(id, type=type, key_size=4, value_size=4, max_entries=1, name=b"m")
    kernel.holding = lambda name: [(50, "agent")] if name == "bpf_iter" else []  # type: ignore[method-assign]
    graph = Graph(Inventory(kernel))
    assert [edge.holder for edge in graph.up["map", 40]] == [("pid", 50)]
    assert ("map", 41) not in graph.up


def test_processes_are_looked_at_once_for_iterators() -> None:
    kernel = host()
    for id in range(40, 50):
        kernel.map(id, type=1, key_size=4, value_size=4, max_entries=1, name=b"m")
    asked: list[str] = []

    def holding(name: str) -> list[tuple[int, str]]:
        asked.append(name)
        return [(50, "agent")]

    kernel.holding = holding  # type: ignore[method-assign]
    graph = Graph(Inventory(kernel))
    assert all(graph.up["map", id] for id in range(40, 50))
    assert asked.count("bpf_iter") == 1


ARRAY, RINGBUF, ARENA = 2, 27, 33


def with_memory(*rows: tuple[int, int, str]) -> Host:
    """A host with maps that memory may be of (40 to 42) and one that it may not (43)."""
    kernel = host()
    for id, type, flags in ((40, ARRAY, 1 << 10), (41, RINGBUF, 0), (42, ARENA, 0), (43, ARRAY, 0)):
        kernel.map(id, type=type, key_size=4, value_size=4, max_entries=1, map_flags=flags,
                   name=b"m")  # fmt: skip
    kernel.held["map"][42] = [(51, "keeper")]
    kernel.mapped_maps = lambda: list(rows)  # type: ignore[method-assign]
    return kernel


def holders(kernel: Host) -> dict[int, list[tuple[object, str]]]:
    up = Graph(Inventory(kernel)).up
    return {id: [(edge.holder[1], edge.how) for edge in up.get(("map", id), ())]
            for id in (40, 41, 42, 43)}  # fmt: skip


def test_memory_holds_the_map_that_it_is_of() -> None:
    found = holders(with_memory((40, 50, "agent"), (42, 50, "agent"), (99, 50, "agent")))
    assert found == {40: [(50, "it is in its memory")], 41: [], 42: [(51, "")], 43: []}


def test_memory_of_which_nobody_knows_the_map_may_hold_those_that_nothing_holds() -> None:
    kernel = with_memory((0, 50, "agent"))
    kernel.pins["map"] = {41: ["/sys/fs/bpf/ring"]}
    maybe = "it has a map in its memory, maybe this one"
    found = holders(kernel)
    assert found == {40: [(50, maybe)], 41: [("/sys/fs/bpf/ring", "")], 42: [(51, "")], 43: []}


def test_memory_of_a_recording_that_is_older_than_the_question() -> None:
    kernel = with_memory()

    def refused() -> list[tuple[int, int, str]]:
        raise KernelError("not recorded", 0)

    kernel.mapped_maps = refused  # type: ignore[method-assign]
    graph = Graph(Inventory(kernel))
    assert ("map", 40) not in graph.up and not [s for s in graph.unseen if "recorded" in s]


def test_what_nobody_can_look_at() -> None:
    assert guesses.beyond("cgroup_skb").startswith("a cgroup that was removed")
    assert guesses.beyond("xdp").startswith("a network namespace")
    assert guesses.beyond("raw_tracepoint") == guesses.ON_ITS_WAY
    assert "AF_XDP" in guesses.beyond("xskmap") and "next boot" in guesses.beyond("prog_array")
    kernel = host()
    add_prog(kernel, 40, b"", name=b"lonely", type=8)
    result = run("-j", "why", "prog", "id", "40", kernel=kernel)
    assert result.json["may_be_held_by"] == guesses.beyond("cgroup_skb")
