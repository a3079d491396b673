"""`token show` of constructed mounts."""

from __future__ import annotations

from errno import ENOENT

import pytest

from pybpftool.errors import KernelError
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

MOUNTS = b"""\
proc /proc proc rw,nosuid 0 0
none /sys/fs/bpf bpf rw,nosuid,mode=700 0 0
bpf /run/a\\040b\\134 bpf rw,delegate_cmds=map_create:prog_load:0x40,delegate_maps=any 0 0
none /tmp/all bpf\trw,delegate_progs=a:b:c:d:e,delegate_attachs=any 0 0
none /x tmpfs rw,delegate_cmds=any 0 0
none /tmp/x\rnone\040/y bpf rw,mode=700 0 0
"""


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.files["/proc/mounts"] = MOUNTS
    return kernel


def test_text(kernel: FakeKernel) -> None:
    result = run("token", kernel=kernel)
    assert (result.status, result.err) == (0, b"")
    rows = result.text.split("token_info  ")[1:]
    assert [row.split("\n")[0] for row in rows] == ["/run/a b\\", "/tmp/all"]
    assert rows[0] == (
        "/run/a b\\\n"
        "\tallowed_cmds:\n"
        f"\t  {'map_create':20}{'prog_load':20}{'0x40':20}\n"
        "\tallowed_maps:\n"
        f"\t  {'any':20}\n"
        "\tallowed_progs:\n"
        "\tallowed_attachs:\n"
    )
    # Four a line.
    assert f"\n\t  {'a':20}{'b':20}{'c':20}{'d':20}\n\t  {'e':20}\n" in rows[1]


def test_json(kernel: FakeKernel) -> None:
    assert run("-j", "token", "list", kernel=kernel).json == [
        {
            "token_info": "/run/a b\\",
            "allowed_cmds": ["map_create", "prog_load", "0x40"],
            "allowed_maps": ["any"],
            "allowed_progs": [],
            "allowed_attachs": [],
        },
        {
            "token_info": "/tmp/all",
            "allowed_cmds": [],
            "allowed_maps": [],
            "allowed_progs": ["a", "b", "c", "d", "e"],
            "allowed_attachs": ["any"],
        },
    ]


def test_none(kernel: FakeKernel) -> None:
    kernel.files["/proc/mounts"] = b"\nproc /proc proc rw 0 0\nbroken\n"
    assert run("token", "show", kernel=kernel).out == b""
    assert run("-j", "token", "show", kernel=kernel).json == []


def test_errors(kernel: FakeKernel) -> None:
    assert_one_sentence(run("token", "show", "all", kernel=kernel), "'all'")
    assert_one_sentence(run("token", "make", kernel=kernel), "'make'")
    kernel.files["/proc/mounts"] = KernelError("no /proc here", ENOENT)
    assert_one_sentence(run("token", kernel=kernel), "no /proc here")
    assert run("-j", "token", kernel=kernel).json == {"error": "no /proc here"}


def test_mounts_without_a_source(kernel: FakeKernel) -> None:
    """The kernel writes an empty field, which getmntent(3) takes for none."""
    kernel.files["/proc/mounts"] = b" /run/x bpf rw,delegate_cmds=any 0 0\n"
    (found,) = run("-j", "token", "show", kernel=kernel).json
    assert (found["token_info"], found["allowed_cmds"]) == ("/run/x", ["any"])
