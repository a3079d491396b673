"""What `snapshot show` tells of rich kernels and of old recordings."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.support.cli import run
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_prog

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    for id in (1, 2):
        add_prog(kernel, id, bytes.fromhex("b7000000070000009500000000000000"))
    return kernel


def test_show_of_a_rich_kernel(kernel: FakeKernel, tmp_path: Path) -> None:
    """Everything that is counted, and everything that is missing."""
    kernel.host = "node\x1b[31m"
    kernel.map(8, type=1, key_size=4, value_size=4, max_entries=9)
    kernel.elems[8] = {struct.pack("=I", n): bytes(4) for n in range(9)}
    kernel.map(9, type=26, key_size=4, value_size=4, max_entries=1)
    kernel.elems[9] = {bytes(4): bytes(4)}
    kernel.arrays[2]["xlated"] = kernel.arrays[2]["jited"] = None
    kernel.files["/proc/kallsyms"] = b"0000000000000000 T __bpf_call_base\n"
    kernel.files["/proc/mounts"] = b"bpf /b bpf rw,delegate_cmds=any 0 0\nproc /proc proc rw 0 0\n"
    rich = {
        "network_namespaces": lambda: [("", 1, "", 4, "")],
        "has_file": lambda path: False,
        "task_fds": lambda: [(5, 3, 1, 2, b"f", 0, 0)] * 3,
        "cgroup_root": lambda: "/c",
        "cgroup_paths": lambda root: [root, root + "/a"],
        "cgroup_tree": lambda *words: [("/c", 0, [(0, 1, 0), (1, 2, 0)], "")],
        "features": lambda *words: {
            "sysctls": None, "syscall": True, "prog_types": {"xdp": True, "kprobe": False},
            "map_types": {"hash": True}, "helpers": {"xdp": ["bpf_a", "bpf_b"]}, "misc": {},
            "refused": 0,
        },
    }  # fmt: skip
    for name, answer in rich.items():
        setattr(kernel, name, answer)
    path = str(tmp_path / "rich.zip")
    said = run("snapshot", "save", path, "elements", "40", kernel=kernel)
    assert said.errors == "The snapshot keeps only the first 5 elements of map 8\n"
    text = run("snapshot", "show", path).text
    assert "host node\\x1b[31m\n" in text
    assert "the snapshot keeps only the first 5 elements of map 8\n" in text
    assert "the kernel withheld xlated of 1 program\n" in text
    assert "the kernel hid the addresses of its symbols\n" in text
    answer = run("-j", "snapshot", "show", path).json
    assert answer["host"] == "node\x1b[31m"
    assert answer["cut_maps"] == [{"id": 8, "elements": 5}]
    assert answer["withheld"] == {"xlated": 1, "jited": 1}
    assert answer["hides_addresses"] is True
    wanted = {"elements": 6, "struct_ops": 1, "iterators": 0, "network_namespaces": 1,
              "perf_events": 3, "cgroups": 2, "cgroup_programs": 2, "tokens": 1,
              "features": 4}  # fmt: skip
    assert {name: answer["counts"][name] for name in wanted} == wanted
    # A recording of the recording tells the same, the refusals of counting too.
    again = str(tmp_path / "again.zip")
    assert run("--snapshot", path, "snapshot", "save", again, "elements", "all").status == 0
    assert run("-j", "snapshot", "show", again).json == answer


@pytest.mark.parametrize("path", sorted(FIXTURES.rglob("*.zip")), ids=str)
def test_older_recordings_are_shown(path: Path) -> None:
    result = run("-j", "snapshot", "show", str(path))
    assert (result.status, result.err) == (0, b"")
    assert result.json["objects"]["prog"] > 0
