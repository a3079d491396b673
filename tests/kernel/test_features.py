"""Probing the running kernel."""

from __future__ import annotations

import os
import posix

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel.features import features
from pybpftool.kernel.map_probes import MapProbe
from pybpftool.kernel.prog_probes import LOUD_HELPERS, MISC, kernel_version
from pybpftool.kernel.syscall import effective_capabilities, set_effective_capabilities
from pybpftool.uapi import bpf as uapi
from tests.support.descriptors import descriptors

CAP_PERFMON = 38


@pytest.mark.live
class TestLive:
    def test_what_every_kernel_has(self) -> None:
        before = descriptors()
        found = features(False, False, 0)
        assert descriptors() == before
        assert found["syscall"]
        assert list(found["prog_types"]) == list(uapi.PROG_TYPES[1:])
        assert list(found["map_types"]) == list(uapi.MAP_TYPES[1:])
        assert found["prog_types"]["socket_filter"] and found["map_types"]["hash"]
        assert list(found["helpers"]) == list(uapi.PROG_TYPES[1:])
        assert "bpf_map_lookup_elem" in found["helpers"]["socket_filter"]
        assert "bpf_xdp_adjust_head" in found["helpers"]["xdp"]
        assert "bpf_xdp_adjust_head" not in found["helpers"]["socket_filter"]
        assert found["helpers"]["tracing"] == []
        assert list(found["misc"]) == list(MISC)
        assert found["misc"]["bounded_loops"]

    def test_one_process_finds_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        both = features(False, False, 0)
        monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: {0})
        assert features(False, False, 0) == both

    def test_loud_helpers(self) -> None:
        found = features(True, False, 0)["helpers"]["kprobe"]
        assert not found or set(LOUD_HELPERS) & set(found)
        quiet = features(False, False, 0)["helpers"]["kprobe"]
        assert not set(LOUD_HELPERS) & set(quiet)

    def test_a_capability_that_is_missing(self) -> None:
        ours = effective_capabilities()
        set_effective_capabilities(ours & ~(1 << CAP_PERFMON))
        try:
            with pytest.raises(KernelError, match=r"^probing needs CAP_PERFMON; run it as root"):
                features(False, False, 0)
        finally:
            set_effective_capabilities(ours)

    def test_unprivileged_gives_capabilities_back(self) -> None:
        ours = effective_capabilities()
        found = features(False, True, 0)
        assert effective_capabilities() == ours
        assert not found["prog_types"]["kprobe"] and found["refused"]

    def test_a_device_that_takes_no_programs(self) -> None:
        found = features(False, False, 1)
        assert found["prog_types"] == {"sched_cls": False, "xdp": False}
        assert found["map_types"] == {"hash": False, "array": False}
        assert found["helpers"] == {"sched_cls": [], "xdp": []}
        assert found["sysctls"] is None


@pytest.mark.parametrize(
    ("result", "is_known"),
    [(-524, True), (-22, False), (-1, False)],  # ENOTSUPP: no such operations; EINVAL: no such type
)
def test_struct_ops_maps_of_kernels_before_6_9(
    monkeypatch: pytest.MonkeyPatch, result: int, is_known: bool
) -> None:
    """They refuse a request in which value_type_btf_obj_fd, at byte 72 and v6.9, has a value."""
    asked: list[int] = []

    def bpf(cmd: int, address: int, size: int) -> int:
        assert cmd == uapi.BPF_MAP_CREATE
        asked.append(size)
        return result

    monkeypatch.setattr("pybpftool.kernel.map_probes.bpf", bpf)
    assert MapProbe(0).map_type("struct_ops") is is_known
    assert asked == [72]


@pytest.mark.parametrize(
    ("release", "version", "number"),
    [
        ("6.1.0-13-amd64", "#1 SMP Debian 6.1.55-1 (2023)", (6, 1, 55)),
        ("5.4.300", "#1 SMP", (5, 4, 255)),
        ("6.18.0-rc1+", "#1 SMP", (6, 18, 0)),
        ("odd", "", (0, 0, 0)),
    ],
)
def test_kernel_version(
    monkeypatch: pytest.MonkeyPatch, release: str, version: str, number: tuple[int, int, int]
) -> None:
    info = os.uname()
    fake = os.uname_result((info.sysname, info.nodename, release, version, info.machine))
    monkeypatch.setattr(posix, "uname", lambda: fake)
    major, minor, patch = number
    assert kernel_version() == major << 16 | minor << 8 | patch
