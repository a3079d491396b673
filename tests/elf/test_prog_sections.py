"""Program types by sections."""

from __future__ import annotations

import pytest

from pybpftool.elf.prog_sections import find
from pybpftool.uapi.bpf import ATTACH_TYPES, PROG_TYPES
from pybpftool.uapi.prog_sections import PROG_SECTIONS


@pytest.mark.parametrize(
    ("section", "prog_type", "attach_type", "flags"),
    [
        ("socket", "socket_filter", 0, ""),
        ("kprobe", "kprobe", 0, ""),
        ("kprobe/do_sys_open", "kprobe", 0, ""),
        ("kprobe.multi/a*", "kprobe", "trace_kprobe_multi", ""),
        ("uprobe.s//bin/sh:main", "kprobe", 0, "s"),
        ("tc", "sched_cls", 0, ""),
        ("tcx/ingress", "sched_cls", "tcx_ingress", ""),
        ("classifier", "sched_cls", 0, ""),
        ("fentry.s/f", "tracing", "trace_fentry", "bs"),
        ("xdp.frags/devmap", "xdp", "xdp_devmap", "f"),
        ("xdp", "xdp", "xdp", ""),
        ("cgroup/connect_unix", "cgroup_sock_addr", "cgroup_unix_connect", ""),
        ("struct_ops.s/init", "struct_ops", 0, "s"),
    ],
)
def test_found(section: str, prog_type: str, attach_type: str, flags: str) -> None:
    found = find(section)
    assert found is not None
    assert PROG_TYPES[found.prog_type] == prog_type
    assert found.attach_type == (ATTACH_TYPES.index(attach_type) if attach_type else 0)
    assert set(found.flags) == set(flags)


@pytest.mark.parametrize(
    "section", ["", "XDP", "xdp/eth0", "tc/", "kprobes", "kprobe_x", "kprobe.", "tcx", "socket1"]
)
def test_no_convention(section: str) -> None:
    assert find(section) is None


def test_every_row_finds_itself() -> None:
    for name, prog_type, *_ in PROG_SECTIONS:
        found = find(name.replace("+", "/more"))
        assert found is not None
        assert PROG_TYPES[found.prog_type] == prog_type
