"""``owners``: each object once, by who holds it."""

from __future__ import annotations

from typing import Any

import pytest

from pybpftool.inspect.owners import processes_hidden
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_prog
from tests.support.hosts import Host, add_tcx, host, twin
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


def test_a_pin_below_two_mounts_at_one_place_counts_once() -> None:
    kernel = Host()
    add_prog(kernel, 40, b"", name=b"pinned", type=6)
    kernel.pins["prog"] = {40: ["/sys/fs/bpf/x", "/sys/fs/bpf/x"]}
    row = run("-j", "prog", "show", "--columns", "id,owner", kernel=kernel).json[0]
    assert row["owner"] == ["pin:/sys/fs/bpf/x"]


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
        ({}, "/proc is not mounted"),
        ({"self/status": b""}, "tells nothing"),
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


def test_processes_that_nobody_may_look_into_are_named() -> None:
    kernel = Host()
    kernel.closed_processes = lambda: [(1, "in\x1bit")]  # type: ignore[method-assign]
    owners = run("owners", kernel=kernel)
    assert (owners.status, owners.errors) == (0, "")  # nothing that more rights would change
    assert run("doctor", "unheld", kernel=kernel).errors.endswith(
        "Not seen: cannot see what 1 process may hold, which Linux lets nobody look into here:"
        " 1 (in\\x1bit)\n"
    )
    kernel.closed_processes = lambda: [(n, "x") for n in range(20)]  # type: ignore[method-assign]
    assert run("doctor", kernel=kernel).errors.endswith(" 7 (x) and 12 more\n")
    assert run("-j", "doctor", kernel=kernel).json["unseen"][-1].endswith(" 7 (x) and 12 more")


def test_pins_of_another_mount_namespace_belong_to_its_container() -> None:
    kernel = Host()
    add_prog(kernel, 40, b"", name=b"inside", type=6)
    add_prog(kernel, 41, b"", name=b"chance", type=6)
    kernel.pinned_elsewhere = lambda: (  # type: ignore[method-assign]
        [("prog", 40, "/proc/70/root/run/bpf/a", 70, "agent"),
         ("prog", 41, "/proc/71/root/run/bpf/b\x1b", 71, "sh")], True
    )  # fmt: skip
    kernel.files["/proc/70/cgroup"] = b"0::/docker-" + b"ab" * 32 + b".scope\n"
    kernel.files["/proc/71/cgroup"] = b"0::/\n"
    owners = {row["owner"][0]: row["progs"] for row in run("-j", "owners", kernel=kernel).json}
    assert owners == {"container:abababababab": 1, "pin:/proc/71/root/run/bpf": 1}
    result = run("why", "prog", "41", kernel=kernel)
    assert "pin /proc/71/root/run/bpf/b\\x1b (in the mount namespace of process 71 (sh))" in (
        result.text
    )
    # A table asks only where nothing else tells.
    row = run("-j", "prog", "show", "--columns", "id,owner", "--filter", "id=40", kernel=kernel)
    assert row.json[0]["owner"] == ["container:abababababab"]


def test_mount_namespaces_that_may_not_be_looked_at_are_named() -> None:
    kernel = Host()
    kernel.is_live = True
    kernel.files["/proc/self/status"] = b"Name:\tx\nCapEff:\t0000000000000000\n"
    kernel.pinned_elsewhere = lambda: ([], True)  # type: ignore[method-assign]
    result = run("owners", kernel=kernel)
    assert result.status == 2
    text = result.err.decode()
    assert text.count("cannot look for pins in all mount namespaces") == 1
