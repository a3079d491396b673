"""Network namespaces of programs of netfilter, whose links do not tell them."""

from __future__ import annotations

import struct

from pybpftool.errors import KernelError
from tests.support.cli import run
from tests.support.hosts import Host, host

PREROUTING, OUTPUT = 0, 3
Rows = list[tuple[int, int, int, int]]


def with_links(*hooks: tuple[int, int, int]) -> Host:
    """A host with links of netfilter of program 2: family, hook, priority."""
    kernel = host()
    for id, row in enumerate(hooks, 40):
        kernel.link(id, 10, struct.pack("<IIiI", *row, 0), prog=2)
    return kernel


def told(kernel: Host) -> dict[int, str | None]:
    rows = run("-j", "attachments", "--filter", "hook=netfilter*", kernel=kernel).json
    return {row["link_id"]: row.get("netns") for row in rows}


def answers(kernel: Host, **found: Rows) -> None:
    """What namespaces answer, by their names; the others have no such question."""
    paths = {"": found.get("own"), "/run/netns/blue": found.get("blue")}

    def netfilter_programs(netns: str) -> Rows:
        rows = paths[netns]
        if rows is None:
            raise KernelError("no such question", 22)
        return rows

    kernel.netfilter_programs = netfilter_programs  # type: ignore[method-assign]
    kernel.namespaces = [("", 1, "", 1, "init"), ("/run/netns/blue", 2, "blue", 0, "")]
    kernel.dumps["/run/netns/blue"] = {(18, 0, 0): []}


LINKS = ((2, PREROUTING, -7), (10, OUTPUT, 5), (2, PREROUTING, 9))


def test_each_program_is_found_in_its_namespace() -> None:
    kernel = with_links(*LINKS, (2, PREROUTING, -7))
    answers(
        kernel,
        own=[(2, 0, -7, 2), (2, 0, 0, 99), (2, 9, -7, 2), (99, -9, 0, 2)],
        blue=[(10, 3, 5, 2), (2, 0, -7, 2)],
    )
    # One is found nowhere; of two that are alike, each namespace has one.
    assert told(kernel) == {40: None, 41: "blue", 42: "?", 43: "blue"}


def test_where_there_is_no_other_namespace_nothing_is_asked() -> None:
    assert told(with_links(*LINKS)) == {40: None, 41: None, 42: None}


def test_kernels_that_cannot_be_asked() -> None:
    kernel = with_links(*LINKS)
    answers(kernel)
    assert told(kernel) == {40: "?", 41: "?", 42: "?"}
    assert "netfilter" not in run("attachments", kernel=kernel).errors
