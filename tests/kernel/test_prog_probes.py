"""Programs that a kernel is tried with; the kernel is made up."""

from __future__ import annotations

import ctypes
import os
from errno import EACCES, EPERM
from struct import unpack_from
from types import SimpleNamespace

import pytest

from pybpftool.kernel import prog_probes
from pybpftool.kernel.prog_probes import ProgProbe
from pybpftool.uapi import bpf as uapi

UNPRIVILEGED = ("socket_filter", "cgroup_skb")
"""What users without capabilities may load where kernel.unprivileged_bpf_disabled is 0."""


class Refusing:
    """Loads programs of UNPRIVILEGED types; those that call a helper need an argument."""

    def __init__(self) -> None:
        self.errno = SimpleNamespace(value=0)

    def repeated_call(
        self, cmd: int, address: int, size: int
    ) -> tuple[object, tuple[int, int, int]]:
        assert cmd == uapi.BPF_PROG_LOAD
        return self.load, (cmd, address, size)

    def load(self, cmd: int, address: int, size: int) -> int:
        type, _, insns = unpack_from("=IIQ", ctypes.string_at(address, size))
        if uapi.PROG_TYPES[type] not in UNPRIVILEGED:
            self.errno.value = EPERM
            return -1
        if ctypes.string_at(insns, 1) == b"\x85":
            self.errno.value = EACCES
            return -1
        # As Linux does, it leaves the number of an earlier failure where it is.
        return os.open(os.devnull, os.O_RDONLY)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    made_up = Refusing()
    monkeypatch.setattr(prog_probes, "repeated_call", made_up.repeated_call)
    monkeypatch.setattr(prog_probes, "errno_field", lambda: made_up.errno)
    return made_up


def test_a_type_is_there_though_an_earlier_one_was_refused(refusing: Refusing) -> None:
    """The error number of one question says nothing of the next, which upstream takes it to do."""
    probe = ProgProbe(0, True)
    known = {name for name in uapi.PROG_TYPES[1:] if probe.prog_type(name)}
    assert refusing.errno.value == EPERM
    assert known == set(UNPRIVILEGED)
    assert probe.refused == len(uapi.PROG_TYPES) - 1 - len(UNPRIVILEGED)
    assert probe.helpers("cgroup_skb", [(1, "bpf_map_lookup_elem")]) == ["bpf_map_lookup_elem"]
    assert probe.helpers("xdp", [(1, "bpf_map_lookup_elem")]) == []
    assert all(probe.misc().values())
