"""`cgroup show` and `cgroup tree` of constructed kernel answers."""

from __future__ import annotations

import pytest

import pybpftool.control.cgroup as control_cgroup
from pybpftool.objects.cgroup import SHOWN_TYPES, attach_type_number
from pybpftool.uapi.bpf import ATTACH_TYPES
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeattached import AttachedKernel

EGRESS = ATTACH_TYPES.index("cgroup_inet_egress")
LSM = ATTACH_TYPES.index("lsm_cgroup")
HEADER = "ID       AttachType      AttachFlags     Name           \n"


@pytest.fixture
def kernel() -> AttachedKernel:
    kernel = AttachedKernel()
    kernel.prog(5, type=8, name=b"egress\0")
    kernel.prog(6, type=8)
    kernel.prog(9, type=29, name=b"hook\0", attach_btf_obj_id=1, attach_btf_id=2)
    kernel.cgroups["/cg/a"] = [(EGRESS, 5, 2), (EGRESS, 6, 1), (999, 5, 0), (EGRESS, 404, 0)]
    kernel.cgroups["/cg/empty"] = []
    return kernel


def with_btf(kernel: AttachedKernel) -> AttachedKernel:
    builder = BtfBuilder()
    proto = builder.add_func_proto(0, [])
    assert builder.add_func("bpf_lsm_socket_bind", proto, 1) == 2
    kernel.btfs[1] = builder.build()
    kernel.btf_names[1] = "vmlinux"
    kernel.files["/sys/kernel/btf/vmlinux"] = b""
    return kernel


def test_show(kernel: AttachedKernel) -> None:
    assert run("cgroup", "show", "/cg/a", kernel=kernel).text == (
        HEADER
        + "5        cgroup_inet_egress multi           egress         \n"
        + "6        cgroup_inet_egress override                       \n"
        + "5        type 999                        egress         \n"
    )
    assert run("cgroup", "show", "/cg/a", "effective", kernel=kernel).text == (
        "ID       AttachType      Name           \n"
        "5        cgroup_inet_egress egress         \n"
        "6        cgroup_inet_egress                \n"
        "5        type 999        egress         \n"
    )
    rows = run("-j", "cgroup", "list", "/cg/a", kernel=kernel).json
    assert rows[0] == {
        "id": 5,
        "attach_type": "cgroup_inet_egress",
        "attach_flags": "multi",
        "name": "egress",
        "attach_btf_obj_id": 0,
        "attach_btf_id": 0,
    }
    assert rows[2]["attach_type"] == 999 and len(rows) == 3
    assert "attach_flags" not in run("-j", "cg", "s", "/cg/a", "eff", kernel=kernel).json[0]
    assert kernel.opened == 0


def test_empty(kernel: AttachedKernel) -> None:
    assert run("cgroup", "show", "/cg/empty", kernel=kernel).out == b""
    assert run("-j", "cgroup", "show", "/cg/empty", kernel=kernel).out == b"[]\n"


def test_flags(kernel: AttachedKernel) -> None:
    kernel.cgroups["/cg/f"] = [
        (EGRESS, 5, 0),
        (EGRESS, 5, 3),
        (EGRESS, 5, 0x42),
        (EGRESS, 5, 0x40),
        (EGRESS, 5, 0x43),
    ]
    rows = run("-j", "cgroup", "show", "/cg/f", kernel=kernel).json
    shown = ["", "unknown(3)", "multi,preorder", "preorder", "unknown(43)"]
    assert [row["attach_flags"] for row in rows] == shown


def test_lsm_hooks(kernel: AttachedKernel) -> None:
    kernel.cgroups["/cg/l"] = [(EGRESS, 5, 2), (LSM, 9, 2), (EGRESS, 6, 2)]
    lines = run("cgroup", "show", "/cg/l", kernel=kernel).text.splitlines()
    assert lines[2].endswith("hook            attach_btf_obj_id=1 attach_btf_id=2")
    with_btf(kernel)
    lines = run("cgroup", "show", "/cg/l", kernel=kernel).text.splitlines()
    # Upstream's own: the empty name of type 0, until a hook has told which BTF is the kernel's.
    assert lines[1].endswith("egress          " + " " * 15)
    assert lines[2].endswith("hook            bpf_lsm_socket_bind")
    assert lines[3] == "6        cgroup_inet_egress multi                          "
    rows = run("-j", "cgroup", "show", "/cg/l", kernel=kernel).json
    assert [row.get("attach_btf_name") for row in rows] == ["", "bpf_lsm_socket_bind", None]
    kernel.btf_names[1] = "some_module"
    rows = run("-j", "cgroup", "show", "/cg/l", kernel=kernel).json
    assert [row.get("attach_btf_name") for row in rows] == ["", None, ""]
    kernel.btf_names[1] = "vmlinux"
    kernel.btfs[1] = b"damaged"
    rows = run("-j", "cgroup", "show", "/cg/l", kernel=kernel).json
    assert rows[1].get("attach_btf_name") is None


def test_tree(kernel: AttachedKernel) -> None:
    kernel.trees["/cg"] = [
        ("/cg", 0, [(EGRESS, 5, 2)], ""),
        ("/cg/a", 1, [], "cannot query the programs attached to '/cg/a': Permission denied"),
        ("/cg/a/b", 2, [(EGRESS, 6, 1)], ""),
    ]
    result = run("cgroup", "tree", kernel=kernel)
    assert result.status != 0 and "'/cg/a'" in result.errors
    assert result.text == (
        "CgroupPath\n"
        + HEADER
        + "/cg\n5        cgroup_inet_egress multi           egress         \n"
        + "/cg/a/b\n    6        cgroup_inet_egress override                       \n"
    )
    rows = run("-j", "cgroup", "tree", "/cg/", kernel=kernel).json
    assert [next(iter(row)) for row in rows] == ["cgroup", "error", "cgroup"]
    assert rows[2]["programs"][0]["attach_flags"] == "override"
    assert "AttachFlags" not in run("cgroup", "tree", "/cg", "effective", kernel=kernel).text


def test_mistakes(kernel: AttachedKernel) -> None:
    kernel.root = None
    for words in (
        ["show"],
        ["show", "/cg/none"],
        ["show", "/cg/a", "nonsense"],
        ["show", "/cg/a", "effective", "effective"],
        ["tree"],
        ["attach", "/cg/a", "cgroup_device", "id", "5"],
        ["detach", "/cg/a"],
        ["nonsense"],
    ):
        result = run("cgroup", *words, kernel=kernel)
        assert result.status != 0
        assert_one_sentence(result)
    result = run("cgroup", "tree", "/none", kernel=kernel)
    assert result.status != 0 and result.text.startswith("CgroupPath\n")
    assert list(run("-j", "cgroup", "tree", "/none", kernel=kernel).json[0]) == ["error"]


def test_help() -> None:
    result = run("cgroup", "help", kernel=AttachedKernel())
    assert result.status == 0 and "cgroup tree" in result.errors


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("cgroup_inet_egress", "cgroup_inet_egress"),
        ("ingress", "cgroup_inet_ingress"),
        ("egr", "cgroup_inet_egress"),
        ("dev", "cgroup_device"),
        ("connect4", "cgroup_inet4_connect"),
        ("sendmsg6", "cgroup_udp6_sendmsg"),
        # The first in the order of numbers whose input name the word begins.
        ("sock_", "cgroup_inet_sock_create"),
        ("cgroup_unix_c", "cgroup_unix_connect"),
        ("xdp", "xdp"),
    ],
)
def test_attach_type_words(word: str, name: str) -> None:
    number = attach_type_number(word)
    assert number is not None and ATTACH_TYPES[number] == name


def test_attach_types() -> None:
    assert attach_type_number("cgroup_inet_e") is None
    assert attach_type_number("nonsense") is None
    names = [ATTACH_TYPES[number] for number in SHOWN_TYPES]
    missing = [name for name in ATTACH_TYPES if name.startswith("cgroup_") and name not in names]
    assert missing == [] and names[-1] == "lsm_cgroup" and len(set(names)) == len(names)


def test_every_attach_type_takes_some_type_of_programs() -> None:
    """What `attachments` asks cgroups for, by the programs that are loaded."""
    from pybpftool.objects.cgroup import SHOWN_TYPES, attach_types
    from pybpftool.uapi.bpf import ATTACH_TYPES, PROG_TYPES

    every = [attach_types({name}) for name in PROG_TYPES]
    assert sorted(number for each in every for number in each) == sorted(SHOWN_TYPES)
    assert attach_types(PROG_TYPES) == SHOWN_TYPES
    assert attach_types(()) == ()
    names = [ATTACH_TYPES[number] for number in attach_types({"cgroup_skb", "xdp", "lsm"})]
    assert names == ["cgroup_inet_ingress", "cgroup_inet_egress", "lsm_cgroup"]
    assert len(attach_types({"cgroup_sock_addr"})) == 17


def test_what_follows_a_detach_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a line of `attach` that was copied."""
    called = []
    monkeypatch.setattr(AttachedKernel, "is_live", True)
    monkeypatch.setattr(control_cgroup, "detach", lambda *given: called.append(given[1:]))
    kernel = AttachedKernel()
    prog = kernel.prog(5, type=8)
    words = ("cgroup", "detach", "/cg", "egress", "id", "5")
    assert run(*words, "multi", kernel=kernel).out == b""
    assert run("-j", *words, "no", "more", kernel=kernel).json is None
    assert called == [("/cg", prog, 1)] * 2
