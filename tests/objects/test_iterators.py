"""`iter list`: iterators of recorded kernels, and of one made by hand."""

from __future__ import annotations

import struct
from errno import EPERM

import pytest

from pybpftool.errors import KernelError
from tests.support import golden
from tests.support.cli import run
from tests.support.fakeattached import AttachedKernel

ITER, XDP = 4, 6


def kernel() -> AttachedKernel:
    """Iterators over tasks of one process, and over a map that is pinned and held; an XDP link."""
    made = AttachedKernel()
    made.prog(7, type=26, name=b"dump_it")
    made.link(1, ITER, struct.pack("<QIIII", 0, 4, 0, 0, 1234))
    made.detail(1, name=b"task")
    made.link(2, XDP, struct.pack("<I", 3))
    made.link(3, ITER, struct.pack("<QII", 0, 12, 55), prog=9)
    made.detail(3, name=b"bpf_map_elem")
    made.pins["link"] = {3: ["/sys/fs/bpf/one", "/sys/fs/bpf/two"]}
    made.held["link"] = {3: [(77, "reader")]}
    return made


def test_text() -> None:
    result = run("iter", "list", kernel=kernel())
    assert (result.status, result.err) == (0, b"")
    assert result.text == (
        "1: target_name task  pid 1234  prog 7 (dump_it)\n"
        "3: target_name bpf_map_elem  map_id 55  prog 9\n"
        "\tpinned /sys/fs/bpf/one\n\tpinned /sys/fs/bpf/two\n\tpids reader(77)\n"
    )


def test_json() -> None:
    first, second = run("-j", "iter", "list", kernel=kernel()).json
    assert first == {
        "id": 1,
        "target_name": "task",
        "pid": 1234,
        "prog_id": 7,
        "prog_name": "dump_it",
        "pinned": [],
    }
    assert (second["map_id"], second["pinned"]) == (55, ["/sys/fs/bpf/one", "/sys/fs/bpf/two"])
    assert second["pids"] == [{"pid": 77, "comm": "reader"}]


def test_one_that_is_refused_does_not_end_the_list() -> None:
    made = kernel()
    made.details[1] = KernelError.of("cannot get the details of link 1", EPERM)
    result = run("-j", "iter", "list", kernel=made)
    assert result.status == 255
    error, second = result.json
    assert "link 1" in error["error"] and second["id"] == 3


@pytest.mark.parametrize("name", ["link/debian-6.1", "link/debian-6.12"])
def test_recorded_kernels_list_the_iterators_among_their_links(name: str) -> None:
    snapshot = str(golden.FIXTURES / name / "snapshot.zip")
    links = run("-j", "-f", "--snapshot", snapshot, "link", "show").json
    expected = [link for link in links if link["type"] == "iter"]
    found = run("-j", "--snapshot", snapshot, "iter", "list").json
    assert expected and len(found) == len(expected)
    for link, row in zip(expected, found):
        del link["type"]
        assert {key: row[key] for key in link} == link
