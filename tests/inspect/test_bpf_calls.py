"""Calls of bpf(2) in words."""

from __future__ import annotations

import struct

import pytest

from pybpftool.control.bpf_calls import BpfCall
from pybpftool.inspect.bpf_calls import command_name, error_name, fields, layout, row
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi.bpf_attr import COMMANDS, LINK_ARM_AT, LINK_ARMS


def test_commands_stand_at_their_numbers() -> None:
    for name in COMMANDS:
        assert command_name(getattr(uapi, name)) == name
    assert command_name(len(COMMANDS)) == f"command {len(COMMANDS)}"
    assert command_name(-1) == "command -1"


def attr_of(line: str, values: dict[str, int | bytes], start: int = 0) -> bytes:
    data = bytearray(256)
    end = 0
    for name, kind, at, size in layout(line, start):
        value = values.get(name, 0)
        if isinstance(value, bytes):
            data[at : at + len(value)] = value
        else:
            struct.pack_into("=q" if size == 8 else "=i" if kind == "i" else "=I", data, at, value)
        end = at + size
    return bytes(data[:end])


def test_a_program() -> None:
    values: dict[str, int | bytes] = {
        "prog_type": uapi.PROG_TYPES.index("xdp"), "insn_cnt": 2, "insns": 0x1000,
        "license": 0x2000,
        "prog_flags": 1 << 4 | 1 << 30, "prog_name": b"drop", "prog_token_fd": -1,
    }  # fmt: skip
    attr = attr_of(COMMANDS["BPF_PROG_LOAD"], values)
    found = {name: value for name, _, value in fields(uapi.BPF_PROG_LOAD, attr, "GPL")}
    assert found == {
        "prog_type": "xdp", "insn_cnt": 2, "insns": 0x1000, "license": "GPL",
        "prog_flags": ["sleepable", "0x40000000"], "prog_name": "drop", "prog_token_fd": -1,
    }  # fmt: skip
    # An older caller gives less.
    assert [name for name, _, _ in fields(uapi.BPF_PROG_LOAD, attr[:8])] == [
        "prog_type",
        "insn_cnt",
    ]
    assert fields(uapi.BPF_PROG_LOAD, attr[:3]) == []


@pytest.mark.parametrize(
    ("attach", "arm"),
    [
        ("tcx_ingress", "tcx"),
        ("cgroup_inet_egress", "cgroup"),
        ("lsm_cgroup", "cgroup"),
        ("lsm_mac", "tracing"),
        ("trace_fentry", "tracing"),
        ("trace_kprobe_multi", "kprobe_multi"),
        ("perf_event", "perf_event"),
        ("netfilter", "netfilter"),
    ],
)
def test_arms_of_links(attach: str, arm: str) -> None:
    number = uapi.ATTACH_TYPES.index(attach)
    head = struct.pack("=4I", 3, 4, number, 0)
    tail = dict(LINK_ARMS.values())[arm]
    values: dict[str, int | bytes] = {
        name: at for at, (name, *_) in enumerate(layout(tail, LINK_ARM_AT), 1)
    }
    attr = head + attr_of(tail, values, LINK_ARM_AT)[LINK_ARM_AT:]
    found = {name: value for name, _, value in fields(uapi.BPF_LINK_CREATE, attr)}
    assert found == {
        "prog_fd": 3, "target_fd": 4, "attach_type": attach,
        **{f"{arm}.{name}": value for name, value in values.items()},
    }  # fmt: skip


def test_rows() -> None:
    call = BpfCall(1_500_000_000, 7, 8, "x", uapi.BPF_OBJ_GET, 16,
                   struct.pack("=QII", 0x1000, 0, 1 << 3), '/sys/fs/bpf/a', -2)  # fmt: skip
    found = row(call)
    assert found.pop("words") == 'pathname="/sys/fs/bpf/a", file_flags=rdonly'
    assert found == {
        "time": 1.5, "event": "call", "command": "BPF_OBJ_GET", "size": 16,
        "attr": {"pathname": "/sys/fs/bpf/a", "file_flags": ["rdonly"]},
        "result": -2, "error": "ENOENT", "pid": 7, "tid": 8, "comm": "x",
    }  # fmt: skip
    unread = row(call._replace(attr=b"", text="", result=0))
    assert unread["words"] == "?" and "attr" not in unread and "error" not in unread
    assert "pathname=0x1000" in row(call._replace(text=""))["words"]
    assert (error_name(524), error_name(99999)) == ("ENOTSUPP", "99999")
