"""`net show` of constructed kernel answers: netlink messages packed by hand."""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.recorder import record_networks
from pybpftool.kernel.recording import RecordingKernel
from pybpftool.uapi.bpf import ATTACH_TYPES
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeattached import (
    AttachedKernel,
    attribute,
    link_message,
    number,
    tc_message,
    text,
)

LINKS = (18, 0, 0)
QDISC, CLASS, FILTER = 38, 42, 46
NETFILTER = 10
ROOT, INGRESS, EGRESS = 0xFFFFFFFF, 0xFFFFFFF2, 0xFFFFFFF3


def xdp(mode: int, **ids: int) -> bytes:
    """The attributes of IFLA_XDP."""
    numbers = {"prog": 4, "drv": 5, "skb": 6, "hw": 7}
    data = attribute(2, number(mode, "B"))
    return data + b"".join(attribute(numbers[k], number(v)) for k, v in ids.items())


def bpf_filter(id: int | None, name: str | None, *actions: bytes) -> bytes:
    """The options of a BPF classifier."""
    data = attribute(10, bytes(8))
    data += attribute(7, text(name)) if name is not None else b""
    data += attribute(11, number(id)) if id is not None else b""
    if actions:
        listed = b"".join(attribute(n, action) for n, action in enumerate(actions, 1))
        data += attribute(1, listed)
    return data


def action(kind: str, id: int = 0, name: str = "") -> bytes:
    """One action of a filter."""
    options = attribute(2, bytes(20))
    options += attribute(6, text(name)) if name else b""
    options += attribute(9, number(id)) if id else b""
    return attribute(1, text(kind)) + attribute(2, options)


@pytest.fixture
def kernel() -> AttachedKernel:
    kernel = AttachedKernel()
    kernel.message(
        "",
        LINKS,
        link_message(1, "lo", xdp(0)),
        link_message(2, "eth0", xdp(1, prog=5)),
        link_message(3, "eth1", xdp(2, prog=6)),
        link_message(4, "nic", xdp(3, prog=7)),
        link_message(5, "both", xdp(4, skb=5, drv=6, hw=7)),
        link_message(6, "none"),
        link_message(7, "odd", xdp(9, prog=9)),
    )
    for index in range(1, 8):
        kernel.message("", (CLASS, index, 0))
        kernel.message("", (QDISC, index, 0))
        for parent in (ROOT, INGRESS, EGRESS):
            kernel.message("", (FILTER, index, parent))
    kernel.prog(5, type=6, name=b"five\0")
    return kernel


def sections(kernel: AttachedKernel, *words: str) -> dict[str, list[str]]:
    """The text of `net show` by sections."""
    result = run("net", "show", *words, kernel=kernel)
    assert result.status == 0, result.errors
    found: dict[str, list[str]] = {}
    name = ""
    for line in result.text.splitlines():
        if line in ("xdp:", "tc:", "flow_dissector:", "netfilter:"):
            name = line[:-1]
            found[name] = []
        elif line:
            found[name].append(line)
    return found


def record(kernel: AttachedKernel, *words: str) -> dict[str, Any]:
    (only,) = run("-j", "net", "show", *words, kernel=kernel).json
    assert isinstance(only, dict)
    return only


def test_empty() -> None:
    kernel = AttachedKernel()
    kernel.message("", LINKS, link_message(1, "lo"))
    assert run("net", kernel=kernel).text == "xdp:\n\ntc:\n\nflow_dissector:\n\nnetfilter:\n\n"
    assert record(kernel) == {"xdp": [], "tc": [], "flow_dissector": [], "netfilter": []}


def test_xdp(kernel: AttachedKernel) -> None:
    assert sections(kernel)["xdp"] == [
        "eth0(2) driver id 5",
        "eth1(3) generic id 6",
        "nic(4) offload id 7",
        "both(5) generic id 5 driver id 6 offload id 7",
        "odd(7)",
    ]
    rows = record(kernel)["xdp"]
    assert rows[0] == {"devname": "eth0", "ifindex": 2, "mode": "driver", "id": 5}
    assert rows[3] == {
        "devname": "both",
        "ifindex": 5,
        "multi_attachments": [
            {"mode": "generic", "id": 5},
            {"mode": "driver", "id": 6},
            {"mode": "offload", "id": 7},
        ],
    }
    assert rows[4] == {"devname": "odd", "ifindex": 7}


def test_one_device(kernel: AttachedKernel) -> None:
    kernel.indices["eth1"] = 3
    assert sections(kernel, "dev", "eth1")["xdp"] == ["eth1(3) generic id 6"]
    assert len(record(kernel, "d", "eth1")["xdp"]) == 1


def test_tcx_and_netkit(kernel: AttachedKernel) -> None:
    kernel.devices[2, ATTACH_TYPES.index("tcx_ingress")] = [(5, 0, 0, 0), (6, 9, 12, 3)]
    kernel.devices[2, ATTACH_TYPES.index("netkit_peer")] = [(5, 0, 13, 0)]
    assert sections(kernel)["tc"] == [
        "eth0(2) tcx/ingress five prog_id 5 ",
        "eth0(2) tcx/ingress prog_id 6 prog_flags 1 8 link_id 12 link_flags 1 2 ",
        "eth0(2) netkit/peer five prog_id 5 link_id 13 ",
    ]
    rows = record(kernel)["tc"]
    assert rows[0] == {
        "devname": "eth0",
        "ifindex": 2,
        "kind": "tcx/ingress",
        "name": "five",
        "prog_id": 5,
        "prog_flags": [],
        "link_id": 0,
        "link_flags": [],
    }
    assert "name" not in rows[1] and rows[1]["prog_flags"] == [1, 8]
    assert kernel.opened == 0


def test_filters(kernel: AttachedKernel) -> None:
    kernel.message("", (CLASS, 2, 0), tc_message(40, 2, 0x10001, "htb"), tc_message(40, 2, 2, None))
    kernel.message(
        "",
        (QDISC, 2, 0),
        tc_message(36, 2, 0x10000, "htb", bytes(12)),
        tc_message(36, 2, 0xFFFF0000, "clsact"),
        tc_message(36, 2, 0, "noqueue"),
    )
    kernel.message("", (FILTER, 2, 0x10001), tc_message(44, 2, 1, "bpf", bpf_filter(5, "a.o:[x]")))
    kernel.message("", (FILTER, 2, 2), tc_message(44, 2, 1, "bpf", bpf_filter(6, None)))
    kernel.message(
        "",
        (FILTER, 2, 0x10000),
        tc_message(44, 2, 1, "u32", bytes(16)),
        tc_message(44, 2, 1, "bpf"),
        tc_message(44, 2, 1, "bpf", bpf_filter(None, "cbpf")),
    )
    acts = (action("bpf", 5, "act1"), action("gact"), action("bpf", 6), action("bpf"))
    kernel.message("", (FILTER, 2, EGRESS), tc_message(44, 2, 1, "bpf", bpf_filter(5, "x", *acts)))
    assert sections(kernel)["tc"] == [
        "eth0(2) htb a.o:[x] id 5",
        "eth0(2) unknown id 6",
        "eth0(2) htb cbpf",
        "eth0(2) clsact/egress x id 5 act [{act1 id 5}{ id 6}{}] ",
    ]
    rows = record(kernel)["tc"]
    assert rows[0] == {"devname": "eth0", "ifindex": 2, "kind": "htb", "name": "a.o:[x]", "id": 5}
    assert rows[3]["act"] == [{"name": "act1", "id": 5}, {"id": 6}, {}]


def test_the_same_handle_on_two_devices(kernel: AttachedKernel) -> None:
    """A kernel answers with the qdiscs of all devices; each filter is shown once nevertheless."""
    for owner in (2, 3):
        kernel.message("", (QDISC, owner, 0), tc_message(36, owner, 0x10000, "htb"))
    kernel.message("", (FILTER, 3, 0x10000), tc_message(44, 3, 1, "bpf", bpf_filter(5, "x")))
    assert [row for row in sections(kernel)["tc"] if row.startswith("eth1")] == [
        "eth1(3) htb x id 5"
    ]


@pytest.mark.parametrize("tells_of_one", [False, True])
@pytest.mark.parametrize("others", [(), (1,), (4, 5)])
def test_a_recording_answers_for_each_device(
    kernel: AttachedKernel, tmp_path: Path, tells_of_one: bool, others: tuple[int, ...]
) -> None:
    kernel.tells_qdiscs_of_one = tells_of_one
    for index in others:
        kernel.message("", (QDISC, index, 0), tc_message(36, index, 0, "noqueue"))
    kernel.indices.update({"lo": 1, "eth0": 2, "eth1": 3})
    kernel.message("", (QDISC, 3, 0), tc_message(36, 3, 0xFFFF0000, "clsact"))
    kernel.message("", (FILTER, 3, INGRESS), tc_message(44, 3, 1, "bpf", bpf_filter(5, "x")))
    recording = RecordingKernel(kernel)
    record_networks(recording)
    saved = tmp_path / "net.zip"
    saved.write_bytes(recording.archive())
    for device in ("lo", "eth0", "eth1"):
        live = run("net", "show", "dev", device, kernel=kernel)
        again = run("--snapshot", str(saved), "net", "show", "dev", device)
        assert (again.status, again.out) == (live.status, live.out) == (0, live.out)
    assert "eth1(3) clsact/ingress x id 5" in again.text
    assert "eth1(3) clsact/ingress x id 5" in run("net", kernel=kernel).text


def test_device_that_vanishes(kernel: AttachedKernel) -> None:
    for key in list(kernel.dumps[""]):
        if key[1] == 2:
            del kernel.dumps[""][key]  # refused with ENODEV from now on
    kernel.message("", (QDISC, 3, 0), tc_message(36, 3, 0xFFFF0000, "clsact"))
    kernel.message("", (FILTER, 3, INGRESS), tc_message(44, 3, 1, "bpf", bpf_filter(5, "x")))
    assert sections(kernel)["tc"] == ["eth1(3) clsact/ingress x id 5"]


def netfilter(kernel: AttachedKernel) -> None:
    for id, row in enumerate([(10, 3, 10, 0), (2, 4, 5, 1), (2, 0, -200, 0), (2, 0, -300, 0)], 1):
        kernel.link(id, NETFILTER, struct.pack("<IIiI", *row), prog=id + 4)
    kernel.link(9, 6)


def test_flow_dissector_and_netfilter(kernel: AttachedKernel) -> None:
    kernel.dissectors[""] = 5
    netfilter(kernel)
    found = sections(kernel)
    assert found["flow_dissector"] == ["id 5"]
    assert found["netfilter"] == [
        "\tip prerouting prio -300 prog_id 8",
        "\tip prerouting prio -200 prog_id 7",
        "\tip postrouting prio 5 flags 0x1 prog_id 6",
        "\tip6 output prio 10 prog_id 5",
    ]
    rows = record(kernel)
    assert rows["flow_dissector"] == [{"id": 5}]
    assert rows["netfilter"][0] == {"pf": 2, "hook": 0, "prio": -300, "flags": 0, "id": 8}


def test_resolve(kernel: AttachedKernel) -> None:
    kernel.dissectors[""] = 5
    netfilter(kernel)
    acts = action("bpf", 5, "act1")
    kernel.message("", (QDISC, 2, 0), tc_message(36, 2, 0xFFFF0000, "clsact"))
    kernel.message("", (FILTER, 2, EGRESS), tc_message(44, 2, 1, "bpf", bpf_filter(5, "x", acts)))
    result = run("--resolve", "net", kernel=kernel)
    for expected in (
        "eth0(2) driver id 5 (five)\n",
        "clsact/egress x id 5 (five) act [{act1 id 5 (five)}] \n",
        "id 5 (five)\nnetfilter",
        "prio 10 prog_id 5 (five)\n",
        "eth1(3) generic id 6\n",
    ):
        assert expected in result.text
    (row,) = run("--resolve", "-j", "net", kernel=kernel).json
    assert row["xdp"][0]["prog_name"] == row["flow_dissector"][0]["prog_name"] == "five"
    assert row["tc"][0]["prog_name"] == row["tc"][0]["act"][0]["prog_name"] == "five"
    assert row["netfilter"][-1]["prog_name"] == "five" and "prog_name" not in row["xdp"][1]
    assert kernel.opened == 0


def test_other_namespaces(kernel: AttachedKernel) -> None:
    blue = "/run/netns/blue"
    kernel.namespaces = [
        ("", 100, "", 1, "init"),
        (blue, 200, "blue", 0, ""),
        ("/proc/50/ns/net", 300, "", 50, "gone"),
        ("/proc/60/ns/net", 400, "", 60, "odd"),
    ]
    kernel.message(blue, LINKS, link_message(2, "veth", xdp(1, prog=5)))
    kernel.dissectors["/proc/60/ns/net"] = KernelError.of("cannot query", errno.EPERM)
    kernel.files["/proc/60/ns/net"] = b""
    kernel.is_live = True
    assert sections(kernel, "netns", "blue")["xdp"] == ["veth(2) driver id 5"]
    result = run("net", "show", "all", kernel=kernel)
    assert result.status != 0 and result.errors.count("\n") == 1
    assert result.text.startswith("netns 100  pid 1 (init)  own\nxdp:\neth0(2) driver id 5\n")
    assert "\nnetns 200  name blue\nxdp:\nveth(2) driver id 5\n\ntc:\n" in result.text
    assert result.text.endswith("flow_dissector:\n\nnetfilter:\n\n")
    assert "gone" not in result.text
    rows = run("-j", "net", "show", "all", kernel=kernel).json
    assert rows[0]["netns"] == {"inode": 100, "pid": 1, "comm": "init", "own": True}
    assert rows[1]["netns"] == {"inode": 200, "name": "blue", "own": False}
    assert list(rows[2]) == ["error"] and rows[3] == {"netfilter": []}


def test_netfilter_links_that_may_not_be_listed(
    kernel: AttachedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kind: str) -> Any:
        raise KernelError.of(f"cannot list {kind}s", errno.EPERM)

    monkeypatch.setattr(kernel, "objects", refuse)
    for words in (["show"], ["show", "all"]):
        result = run("-j", "net", *words, kernel=kernel)
        assert result.status == 255 and not result.err
        assert [list(row) for row in result.json[-1]["netfilter"]] == [["error"]]
    result = run("net", "show", kernel=kernel)
    assert result.status == 255 and result.text.endswith("netfilter:\n\n")
    assert result.errors.count("\n") == 1


def test_mistakes(kernel: AttachedKernel) -> None:
    for words in (
        ["show", "dev"],
        ["show", "dev", "nope"],
        ["show", "nonsense"],
        ["show", "netns", "nope"],
        ["show", "all", "more"],
        ["attach", "xdp", "id", "5", "dev", "eth0"],
        ["detach", "xdp", "dev", "eth0"],
        ["nonsense"],
    ):
        result = run("net", *words, kernel=kernel)
        assert result.status != 0 and not result.out
        assert_one_sentence(result)


def test_refusals(kernel: AttachedKernel) -> None:
    kernel.dissectors[""] = KernelError.of("cannot query the flow dissector", errno.EPERM)
    result = run("net", kernel=kernel)
    assert result.status != 0 and not result.out
    assert_one_sentence(result, "flow dissector")


@pytest.mark.parametrize("cut", [17, 24, 40])
def test_cut_messages(kernel: AttachedKernel, cut: int) -> None:
    whole = link_message(2, "eth0", xdp(1, prog=5))
    kernel.dumps[""][LINKS] = [struct.pack("=I", cut) + whole[4:cut]]
    result = run("net", kernel=kernel)
    # What is left of it is either a device without attributes or no message at all.
    assert result.status == 0 or assert_one_sentence(result, "netlink")


def test_help() -> None:
    result = run("net", "help", kernel=AttachedKernel())
    assert result.status == 0 and "net attach" in result.errors


def test_what_is_refused_is_named_once(kernel: AttachedKernel) -> None:
    kernel.devices[2, ATTACH_TYPES.index("tcx_ingress")] = [(5, 0, 0, 0)]
    whole = run("-j", "net", "show", kernel=kernel).json[0]
    assert whole["tc"]

    def refused(ifindex: int, attach_type: int, netns: str) -> NoReturn:
        raise KernelError("the kernel does not tell", errno.EIO)

    kernel.device_programs = refused  # type: ignore[method-assign]
    kernel.namespaces = [("", 4026531840, "", 1, "systemd")]
    for words in (["net", "show"], ["-j", "net", "show"], ["net", "show", "all"]):
        result = run(*words, kernel=kernel)
        assert result.status == 255
        assert result.errors == "Error: the kernel does not tell\n"
    found = run("-j", "net", "show", kernel=kernel).json[0]
    assert found == {**whole, "tc": []}
    unseen = run("attachments", kernel=kernel).errors
    assert "the kernel does not tell" in unseen
