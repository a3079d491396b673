"""``why``: trees of recorded kernels as they were, hostile names, what may not be seen."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.owners import Graph
from pybpftool.inspect.why import Why
from tests.support import asm
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeprogs import add_prog
from tests.support.hosts import add_tcx, host, load_map
from tests.support.owners_golden import KERNELS, answer, cases
from tests.support.saved import save

WORDS = [row for row in cases() if "why" in row[1].split()]


@pytest.mark.parametrize(("kernel", "command", "text"), WORDS, ids=lambda each: each[:60])
def test_recorded_kernels(kernel: str, command: str, text: str) -> None:
    assert answer(kernel, command) == text


def test_there_are_recordings() -> None:
    assert len(WORDS) >= 20
    assert {row[0] for row in WORDS} == set(KERNELS)


def test_a_recording_of_a_recording_says_the_same(tmp_path: Path) -> None:
    kernel = host()
    path = save(kernel, tmp_path / "host.zip")
    for words in (["prog", "id", "2"], ["map", "flows"], ["link", "20"], ["pid", "50"]):
        live, replayed = run("why", *words, kernel=kernel), run("--snapshot", path, "why", *words)
        assert live.text.splitlines()[0].split()[1] in (words[-1], "7")
        assert (live.text, live.status) == (replayed.text, replayed.status)


def test_tail_calls_in_a_circle() -> None:
    kernel = host()
    code = load_map(2, 9) + asm.mov64(asm.R0, 0) + asm.exit_()
    add_prog(kernel, 31, code, name=b"round", type=6, maps=(9,))
    kernel.map(9, type=3, key_size=4, value_size=4, max_entries=2, name=b"jumps")
    kernel.elems[9] = {struct.pack("<I", 1): struct.pack("<I", 31)}
    text = run("why", "prog", "round", kernel=kernel).text
    assert "map 9 prog_array jumps (slot 1)" in text
    assert "prog 31 xdp round (uses it) (itself)" in text
    tree = run("-j", "why", "map", "jumps", kernel=kernel).json
    assert tree["held_by"][0]["held_by"][0]["again"] is True


@pytest.mark.parametrize(
    ("slots", "told"),
    [
        ([*range(300)], "slots 0-299"),
        ([2, 10, 1, 100], "slots 1-2, 10, 100"),
        ([*range(0, 40, 2)], "slots 0, 2, 4, 6, 8, 10, 12, 14, … (20 in all)"),
        ([5], "slot 5"),
    ],
)
def test_many_slots_are_one_line(slots: list[int], told: str) -> None:
    kernel = host()
    code = load_map(2, 9) + asm.mov64(asm.R0, 0) + asm.exit_()
    add_prog(kernel, 31, code, name=b"round", type=6, maps=(9,))
    kernel.map(9, type=3, key_size=4, value_size=4, max_entries=300, name=b"jumps")
    kernel.elems[9] = {struct.pack("<I", slot): struct.pack("<I", 31) for slot in slots}
    kernel.elems[9][struct.pack("<I", 299)] = struct.pack("<I", 31 if 299 in slots else 1)
    text = run("why", "prog", "round", kernel=kernel).text
    assert f"├─ acts at\n│  └─ map 9 prog_array jumps ({told})\n" in text
    assert f"│  └─ map 9 prog_array jumps ({told})\n│     └─ prog 31 xdp round (" in text
    assert text.count("prog_array jumps (") == 2
    text = run("why", "map", "jumps", kernel=kernel).text
    assert text.count(f"map 9 prog_array jumps ({told}) (itself)\n") == 2
    assert len(text.splitlines()) == 7
    tree = run("-j", "why", "prog", "round", kernel=kernel).json
    for name in ("acts_at", "held_by"):
        assert [branch["how"] for branch in tree[name]] == [f"slot {n}" for n in sorted(slots)]
        assert [branch.get("again", False) for branch in tree[name]] == [
            False, *[True] * (len(slots) - 1)
        ]  # fmt: skip


def test_many_keys_are_one_line() -> None:
    kernel = host()
    kernel.map(9, type=13, key_size=2, value_size=4, max_entries=30, name=b"outer")
    kernel.elems[9] = {bytes([0, n]): struct.pack("<I", 7) for n in range(12)}
    text = run("why", "map", "flows", kernel=kernel).text
    assert "map 9 hash_of_maps outer (keys 00 00, 00 01, 00 02, 00 03, 00 04," in text
    assert text.count("hash_of_maps outer") == 2 and "00 07, … (12 in all))" in text


def test_the_parts_of_a_program_at_a_device() -> None:
    kernel = host()
    add_tcx(kernel, 60, 1, "eth7", 7)  # a program with the functions first() and second()
    for id, link, type, target, function in (
        (40, 70, 28, 1, 4), (41, 71, 28, 1, 3), (42, 72, 28, 41, 3)
    ):  # fmt: skip
        kernel.prog(id, name=b"part%d" % id, type=type, btf_id=9)
        kernel.link(link, 2, struct.pack("<III", 0, target, function), prog=id)
    (row,) = run("-j", "why", "dev", "eth7", kernel=kernel).json["programs"]
    assert [(part["prog"]["id"], part["link_id"], part["detail"]) for part in row["parts"]] == [
        (41, 71, "function first of prog 1"), (40, 70, "function second of prog 1")
    ]  # fmt: skip
    assert [part["prog"]["id"] for part in row["parts"][0]["parts"]] == [42]
    text = run("why", "dev", "eth7", kernel=kernel).text
    assert "   │  ├─ freplace function first of prog 1 (link 71): prog 41 ext part41\n" in text
    # Programs that are in each other, as a recording may say: told as deep as any kernel allows.
    kernel.link(73, 2, struct.pack("<III", 0, 42, 3), prog=41)
    deep = run("-j", "why", "dev", "eth7", kernel=kernel)
    assert deep.status == 0
    assert 5 < deep.text.count('"parts"') < 100
    # A program that is in itself.
    kernel.link(72, 2, struct.pack("<III", 0, 42, 3), prog=42)
    kernel.link(71, 2, struct.pack("<III", 0, 42, 3), prog=1)
    assert run("why", "dev", "eth7", kernel=kernel).status == 0


def test_long_chains_need_no_deep_calls() -> None:
    kernel = host()
    for number in range(3000):
        map, prog = 10_000 + number, 20_000 + number
        kernel.map(map, type=3, key_size=4, value_size=4, max_entries=1)
        kernel.elems[map] = {bytes(4): struct.pack("<I", prog + 1)}
        add_prog(kernel, prog, b"", name=b"link of chain", type=6, maps=(map,))
    result = run("why", "prog", "id", "22999", kernel=kernel)
    assert result.text.count("link of chain") == 2 * 3000 - 1


HOSTILE = "\x1b]0;owned\x07\n\u202etxt.exe\udcff"


def test_names_stay_text() -> None:
    kernel = host()
    kernel.held["prog"][2] = [(50, HOSTILE)]
    kernel.files["/proc/50/cgroup"] = f"0::/{HOSTILE}.service\n".encode("utf-8", "surrogateescape")
    kernel.pins["prog"] = {2: ["/sys/fs/bpf/" + HOSTILE]}
    kernel.names[2] = HOSTILE
    for words in (["prog", "id", "2"], ["pid", "50"], ["link", "20"]):
        result = run("why", *words, kernel=kernel)
        assert "\x1b" not in result.text and "\u202e" not in result.text
        # One line a node: none that a name made.
        assert all(line[0] in "pl│├└ " for line in result.text.splitlines())
        assert json.loads(run("-j", "why", *words, kernel=kernel).out)
    assert "\\x1b]0;owned\\x07\\x0a" in run("why", "prog", "id", "2", kernel=kernel).text


def test_what_may_not_be_seen_is_named_once() -> None:
    kernel = host()
    kernel.tasks = KernelError("cannot query the perf events of tasks: try as root", errno.EPERM)
    kernel.dissectors[""] = KernelError("cannot query the flow dissector", errno.EPERM)
    result = run("why", "prog", "counter", kernel=kernel)
    assert result.status == 2
    lines = result.errors.splitlines()
    assert len(lines) == len(set(lines))
    assert "Not seen: cannot query the perf events of tasks: try as root" in lines
    assert "Not seen: network devices: cannot query the flow dissector" in lines
    tree = run("-j", "why", "prog", "counter", kernel=kernel)
    assert (tree.status, tree.err) == (2, b"")
    assert "network devices: cannot query the flow dissector" in tree.json["unseen"]


def test_nothing_is_only_what_can_be_seen() -> None:
    kernel = host()
    kernel.names[7] = "eth7"
    kernel.indices["eth7"] = 7
    kernel.files["/proc/99/comm"] = b"idle\n"
    kernel.namespaces = [("", 1, "", 1, "init")]
    assert "has no programs\n" in run("why", "dev", "eth7", kernel=kernel).text
    assert "keeps no BPF object alive\n" in run("why", "pid", "99", kernel=kernel).text
    kernel.tasks = KernelError("cannot query the perf events of tasks", errno.EPERM)
    assert "has no programs that can be seen\n" in run("why", "dev", "eth7", kernel=kernel).text
    text = run("why", "pid", "99", kernel=kernel).text
    assert "keeps no BPF object alive that can be seen\n" in text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["after 'why'"]),
        (["prog"], ["expected", "command ends"]),
        (["prog", "id"], ["no program has the name 'id'"]),
        (["link", "eth0"], ["cannot read 'eth0'"]),
        (["prog", "id", "4242"], ["no prog with id 4242"]),
        (["prog", "nosuch"], ["no program has the name 'nosuch'"]),
        (["map", "id", "7", "8"], ["unexpected argument '8'"]),
        (["pid", "1"], ["there is no process 1, or it holds no"]),
        (["pid", "x"], ["cannot read 'x'"]),
        (["pin", "/nothing"], ["pinned at '/nothing'"]),
        (["dev", "nosuch"], ["no network device 'nosuch'"]),
        (["dev", "lo", "in", "x"], ["expected 'netns'"]),
        (["cgroup", "/x"], ["no cgroup2 hierarchy"]),
        (["unit", "x"], ["unknown command 'unit' for 'why'"]),
    ],
)  # fmt: skip
def test_one_sentence(words: list[str], parts: list[str]) -> None:
    assert_one_sentence(run("why", *words, kernel=host()), *parts)
    result = run("-j", "why", *words, kernel=host())
    assert list(result.json) == ["error"]


def test_socket_filters_may_be_at_sockets() -> None:
    kernel = host()
    text = run("why", "prog", "id", "1", kernel=kernel).text
    assert "acts nowhere that the kernel tells of: it may be attached to a socket" in text
    assert "kept alive by nothing that can be seen" in text


def test_a_process_that_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybpftool.inspect.owners.processes_hidden", lambda kernel: "no /proc")
    result = run("why", "pid", "1", kernel=host())
    assert_one_sentence(result, "no process 1 can be seen: no /proc")


def test_a_tree_that_is_cut_says_so() -> None:
    kernel = host()
    code = load_map(2, 9) + asm.mov64(asm.R0, 0) + asm.exit_()
    add_prog(kernel, 31, code, name=b"round", type=6, maps=(9,))
    kernel.map(9, type=3, key_size=4, value_size=4, max_entries=300, name=b"jumps")
    kernel.elems[9] = {struct.pack("<I", slot): struct.pack("<I", 31) for slot in range(300)}
    graph = Graph(Inventory(kernel))
    for most, is_cut in ((5, True), (0, False), (1000, False)):
        why = Why(graph, most)
        why.of_object(("prog", 31))
        assert why.is_cut == is_cut
