"""``owners``: each object once, by who holds it."""

from __future__ import annotations

from typing import Any

import pytest

from pybpftool.inspect.owners import processes_hidden
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.hosts import add_tcx, host, twin
from tests.support.owners_golden import KERNELS, answer, cases

TABLES = [row for row in cases() if "owners" in row[1].split()]


@pytest.mark.parametrize(("kernel", "command", "text"), TABLES, ids=lambda each: each[:60])
def test_recorded_kernels(kernel: str, command: str, text: str) -> None:
    assert answer(kernel, command) == text


def test_each_object_counts_once() -> None:
    path = str(KERNELS["host"])

    def ask(*words: str) -> Any:
        return run("-j", "--snapshot", path, *words).json

    rows, progs, maps = ask("owners"), ask("prog", "show"), ask("map", "show")
    assert sum(row["progs"] for row in rows) == len(progs)
    assert sum(row["maps"] for row in rows) == len(maps)
    memory = sum(each["bytes_memlock"] for each in [*progs, *maps])
    assert sum(row["bytes_memlock"] for row in rows) == memory


def test_owners_of_a_host() -> None:
    kernel = host()
    twin(kernel, 30, holder="leaky", run_time_ns=5_000_000, run_cnt=7)
    twin(kernel, 31, holder="leaky", run_time_ns=1_000_000, run_cnt=3)
    kernel.pins["map"] = {8: ["/sys/fs/bpf/dir/config"]}
    rows = {tuple(row["owner"]): row for row in run("-j", "owners", kernel=kernel).json}
    assert rows["unit:agent.service",]["maps"] == 1
    assert rows["unit:agent.service",]["links"] == 1
    assert rows["unit:agent.service",]["pids"] == [50]
    leaky = rows["comm:leaky",]
    assert (leaky["progs"], leaky["run_time_ns"], leaky["run_cnt"]) == (2, 6_000_000, 10)
    assert leaky["bytes_memlock"] == leaky["bytes_progs"] + leaky["bytes_maps"] > 0
    assert rows["pin:/sys/fs/bpf/dir",]["maps"] == 1
    assert rows["nobody that can be seen",]["progs"] == 1
    assert sum(row["progs"] for row in rows.values()) == 5


def test_a_map_of_two_owners_stands_in_their_row() -> None:
    kernel = host()
    kernel.held["map"] = {7: [(50, "agent"), (51, "other")]}
    rows = {tuple(row["owner"]): row for row in run("-j", "owners", kernel=kernel).json}
    assert rows["comm:other", "unit:agent.service"]["maps"] == 1
    assert "comm:other, unit:agent.service" in run("owners", kernel=kernel).text


def test_what_a_device_alone_keeps() -> None:
    kernel = host()
    add_tcx(kernel, 60, 1, "eth0", 2)
    del kernel.held["link"][60]
    kernel.pins["link"] = {60: ["/sys/fs/bpf/tcx/link"]}
    owners = {row["owner"][0] for row in run("-j", "owners", kernel=kernel).json}
    assert "pin:/sys/fs/bpf/tcx" in owners


def test_order_filter_and_names() -> None:
    kernel = host()
    twin(kernel, 30, holder="\x1b[31m\nred")
    text = run("owners", "--sort", "-progs", "--columns", "owner,progs", kernel=kernel).text
    assert "\x1b" not in text and "comm:\\x1b[31m\\x0ared" in text
    found = run("-j", "owners", "--filter", "owner=unit:*", kernel=kernel).json
    assert [row["owner"] for row in found] == [["unit:agent.service"]]
    assert_one_sentence(run("owners", "of", kernel=host()), "unexpected argument 'of'")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "tells nothing"),
        ({"self/status": b"x\nCapEff:\t0\n"}, "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"),
        ({"self/status": b"x\nCapEff:\t80000\n"}, "the capability CAP_DAC_READ_SEARCH ("),
        ({"self/status": b"x\nCapEff:\t4\n"}, "the capability CAP_SYS_PTRACE ("),
        ({"self/status": b"x\nCapEff:\t80002\n"}, "outside of this pid namespace"),
        ({"self/status": b"x\nCapEff:\t80002\n", "2/comm": b"sh\n"}, "outside of this pid"),
        ({"self/status": b"x\nCapEff:\t80004\n", "2/comm": b"kthreadd\n"}, ""),
    ],
)
def test_why_processes_are_not_seen(files: dict[str, bytes], sentence: str) -> None:
    kernel = FakeKernel()
    kernel.files.update({f"/proc/{name}": text for name, text in files.items()})
    assert processes_hidden(kernel) == ""  # a recording says what its recorder saw
    kernel.is_live = True
    found = processes_hidden(kernel)
    assert sentence in found and bool(found) == bool(sentence)
