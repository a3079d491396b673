"""``attachments``: recorded kernels, what several listings tell, hostile names, refusals."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.attachment import Attachment, order
from tests.support.attachments_union import compare
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeattached import attribute, link_message, number, tc_message, text
from tests.support.fakeprogs import add_prog
from tests.support.hosts import add_tcx, host
from tests.support.owners_golden import KERNELS, answer, cases

TABLES = [row for row in cases() if "attachments" in row[1].split()]


@pytest.mark.parametrize(("kernel", "command", "text"), TABLES, ids=lambda each: each[:60])
def test_recorded_kernels(kernel: str, command: str, text: str) -> None:
    assert answer(kernel, command) == text


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_union_of_the_listings(kernel: str) -> None:
    path = str(KERNELS[kernel])

    def ask(*words: str) -> Any:
        return run("-j", "--snapshot", path, *words).json

    assert len(ask("attachments")) >= (2 if kernel == "host" else 80)
    assert compare(ask, ask("attachments"), [""]) == []


def xdp(prog: int) -> bytes:
    """IFLA_XDP of a device with a program in generic mode."""
    return attribute(2, number(2, "B")) + attribute(4, number(prog))


def test_links_of_xdp_in_two_namespaces() -> None:
    """A link tells the number of its device alone, which each namespace counts for itself."""
    kernel = host()
    kernel.namespaces = [("", 1, "", 1, "init"), ("/run/netns/blue", 2, "blue", 0, "")]
    for netns, name in (("", "eth0"), ("/run/netns/blue", "eth1")):
        kernel.message(netns, (18, 0, 0), link_message(2, name, xdp(3)))
    kernel.link(21, 6, struct.pack("<I", 2), prog=3)
    kernel.link(22, 6, struct.pack("<I", 2), prog=3)
    rows = run("-j", "attachments", "--filter", "hook=xdp", kernel=kernel).json
    assert [(row["dev"], row.get("netns"), row["link_id"]) for row in rows] == [
        ("eth0", None, 21), ("eth1", "blue", 22)
    ]  # fmt: skip


def test_a_namespace_that_ends_meanwhile() -> None:
    kernel = host()
    kernel.namespaces = [("", 1, "", 1, "init"), ("/proc/9/ns/net", 2, "", 9, "gone")]
    kernel.dissectors["/proc/9/ns/net"] = KernelError("cannot open it", errno.ENOENT)
    assert run("attachments", kernel=kernel).status == 2  # a recording does not change
    kernel.is_live = True
    kernel.files["/proc/self/status"] = b"CapEff:\tffffffffffffffff\n"
    result = run("attachments", kernel=kernel)
    assert (result.status, result.err) == (0, b"")
    kernel.files["/proc/9/ns/net"] = b""
    result = run("attachments", kernel=kernel)
    assert (result.status, result.errors.count("network namespace of gone(9)")) == (2, 1)


def test_the_same_program_twice_in_a_cgroup() -> None:
    kernel = host()
    kernel.root = "/cg"
    rows = [(0, 2, 2), (0, 2, 2)]
    kernel.trees["/cg"] = [("/cg/a", 1, rows, "")]
    for id in (31, 32):
        kernel.link(id, 3, struct.pack("<QI", 77, 0), prog=2)
    kernel.cgroup_ids = lambda root: {77: "/cg/a"}  # type: ignore[method-assign]
    found = run("-j", "attachments", "--filter", "hook=cgroup*", kernel=kernel).json
    assert [(row["cgroup"], row["position"], row["link_id"]) for row in found] == [
        ("/a", 1, 31), ("/a", 2, 32)
    ]  # fmt: skip


def test_an_action_of_a_filter_that_is_no_program() -> None:
    """``net show`` leaves it out, as upstream's does."""
    kernel = host()
    kernel.message("", (18, 0, 0), link_message(2, "eth0"))
    kernel.message("", (38, 2, 0), tc_message(36, 2, 0xFFFF0000, "clsact"))
    for parent in (0xFFFFFFFF, 0xFFFFFFF3):
        kernel.message("", (46, 2, parent))
    action = attribute(1, text("bpf")) + attribute(
        2, attribute(6, text("a.o")) + attribute(9, number(2))
    )
    options = attribute(2, attribute(1, action))
    kernel.message("", (46, 2, 0xFFFFFFF2), tc_message(44, 2, 1, "matchall", options))
    assert run("-j", "net", "show", kernel=kernel).json[0]["tc"] == []
    (row,) = run("-j", "attachments", "--filter", "dev=eth0", kernel=kernel).json
    assert row.items() >= {
        "hook": "clsact/ingress", "prog_id": 2, "detail": "matchall action a.o"
    }.items()  # fmt: skip
    acts = run("-j", "why", "prog", "id", "2", kernel=kernel).json["acts_at"]
    assert [act["hook"] for act in acts if act.get("dev") == "eth0"] == ["clsact/ingress"]


IN_USE, TO_BE_FREED = 1, 2  # enum bpf_struct_ops_state


@pytest.mark.parametrize("state", [IN_USE, TO_BE_FREED])
def test_a_qdisc_that_is_made_of_programs(state: int) -> None:
    kernel = host()
    btf = BtfBuilder()
    u32, char = btf.add_int("unsigned int", 4), btf.add_int("char", 1)
    hook = btf.add_ptr(btf.add_func_proto(u32, []))
    name = btf.add_array(char, u32, 16)
    ops = btf.add_struct("Qdisc_ops", 24, [("enqueue", hook, 0), ("id", name, 64)])
    value = btf.add_struct(
        "bpf_struct_ops_Qdisc_ops", 32, [("refcnt", u32, 0), ("state", u32, 32), ("data", ops, 64)]
    )
    kernel.btfs[1] = kernel.files["/sys/kernel/btf/vmlinux"] = btf.build()
    kernel.btf_names[1] = "vmlinux"
    add_prog(kernel, 40, b"", name=b"fifo_enqueue", type=27)
    kernel.map(41, type=26, name=b"fifo", key_size=4, value_size=32, max_entries=1,
               btf_vmlinux_value_type_id=value, btf_vmlinux_id=1, btf_id=9)  # fmt: skip
    kernel.elems[41] = {bytes(4): struct.pack("<IIQ16s", 1, state, 40, b"bpf_fifo")}
    kernel.message("", (18, 0, 0), link_message(2, "eth0"), link_message(3, "eth1"))
    kernel.message("", (38, 2, 0), *(tc_message(36, *row) for row in (
        (2, 0x80010000, "bpf_fifo"), (2, 0x80020000, "bpf_fifo"), (3, 0x80030000, "fq_codel")
    )))  # fmt: skip
    rows = run("-j", "attachments", "--filter", "map_id=41", kernel=kernel).json
    (row,) = [row for row in rows if row["hook"] == "qdisc"]
    assert (row["dev"], row["detail"], "prog_id" in row) == ("eth0", "bpf_fifo of map 41", False)
    assert [row["hook"] for row in rows[1:]] == ["struct_ops"] * (state == IN_USE)
    (there,) = run("-j", "why", "dev", "eth0", kernel=kernel).json["programs"]
    assert [part["id"] for part in there["parts"]] == [40]
    tree = run("-j", "why", "map", "id", "41", kernel=kernel).json
    assert ("dev", "eth0") in [(each["kind"], each.get("name")) for each in tree["held_by"]]
    assert "eth0" in [act.get("dev") for act in tree["acts_at"]]
    acts = run("-j", "why", "prog", "id", "40", kernel=kernel).json["acts_at"]
    assert "eth0" in [act.get("dev") for act in acts]
    assert "map 41" not in run("doctor", "unheld", kernel=kernel).text


def test_hooks_of_a_device_in_the_order_of_packets() -> None:
    hooks = ("htb", "tcx/egress", "netkit/primary", "clsact/egress", "tcx/ingress", "netkit/peer",
             "xdp", "clsact/ingress")  # fmt: skip
    rows = [Attachment(hook, "dev", "eth0", 1) for hook in hooks]
    assert [row.hook for row in sorted(rows, key=order)] == [
        *("netkit/peer", "xdp", "tcx/ingress", "clsact/ingress"),
        *("tcx/egress", "clsact/egress", "htb", "netkit/primary"),
    ]


def test_netfilter_in_the_order_of_packets() -> None:
    kernel = host()
    for id, (hook, priority) in enumerate(((4, 9), (0, 5), (0, -7), (3, 0)), 40):
        kernel.link(id, 10, struct.pack("<IIiI", 2, hook, priority, 0), prog=2)
    rows = run("-j", "attachments", "--filter", "hook=netfilter*", kernel=kernel).json
    assert [row["link_id"] for row in rows] == [42, 41, 43, 40]


def test_places_of_a_link_of_many_uprobes_by_symbol() -> None:
    kernel = host()
    kernel.link(40, 12, struct.pack("<QQQQIIIi", 0, 0, 0, 0, 0, 4, 0, 0), prog=2)
    kernel.detail(40, name=b"/bin/tool", offsets=kernel.numbers(0x10, 0x24, 0x28, 0x30),
                  ref_ctr_offsets=bytes(32), cookies=bytes(32))  # fmt: skip
    kernel.places["/bin/tool", 0x10] = {"symbol": "main"}
    kernel.places["/bin/tool", 0x24] = {"symbol": "work", "symbol_offset": 4}
    (row,) = run("-j", "attachments", "--filter", "link_id=40", kernel=kernel).json
    assert row["file"] == [f"/bin/tool+{offset:#x}" for offset in (0x10, 0x24, 0x28, 0x30)]
    assert row["symbol"] == "main, work+0x4"
    assert row["target"] == (
        "4 places: main, work+0x4 (/bin/tool+0x10, /bin/tool+0x24, /bin/tool+0x28, …)"
    )


def test_names_stay_on_their_lines() -> None:
    kernel = host()
    kernel.names[2] = "\x1b[2J\n\u202e"
    add_tcx(kernel, 60, 2, kernel.names[2], 2)
    add_prog(kernel, 70, b"", name=b"\x07\n\xff", type=6)
    kernel.link(71, 1, prog=70)
    kernel.detail(71, name=b"sys\n\x1b]0;x\x07")
    text = run("attachments", kernel=kernel).text
    assert len(text.splitlines()) == 2 + 3
    assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text
    assert len(run("-j", "attachments", kernel=kernel).json) == 3


def test_what_may_not_be_seen() -> None:
    kernel = host()

    def refused(kind: str) -> object:
        raise KernelError(f"cannot list {kind}s: try as root", errno.EPERM)

    kernel.objects = refused  # type: ignore[method-assign,assignment]
    kernel.tasks = KernelError("cannot query the perf events", errno.EPERM)
    result = run("attachments", kernel=kernel)
    assert result.status == 2
    assert sorted(result.errors.splitlines()) == [
        "Not seen: cannot list links: try as root",
        "Not seen: cannot list maps: try as root",
        "Not seen: cannot query the perf events",
    ]
    assert run("-j", "attachments", kernel=kernel).json == []


def test_one_sentence() -> None:
    assert_one_sentence(run("attachments", "eth0", kernel=host()), "unexpected argument 'eth0'")
    assert_one_sentence(
        run("attachments", "--columns", "hok", kernel=host()), "did you mean 'hook'"
    )
