"""Programs that count: what they are made of, and what is refused."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import struct

import pytest

from pybpftool.control import create, profile
from pybpftool.control.profile import METRICS, Profile
from pybpftool.errors import KernelError
from pybpftool.kernel import syscall
from pybpftool.kernel.interface import BpfObject
from pybpftool.kernel.syscall import Buffer
from pybpftool.uapi import bpf as uapi
from tests.support.fakekernel import FakeKernel

BY_NAME = {metric.name: metric for metric in METRICS}


class Live(FakeKernel):
    """A kernel of two processors that takes all programs, and remembers what it was asked.

    Each processor has three runs, in which a counter ran half of the time.
    """

    is_live = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.files["/sys/devices/system/cpu/possible"] = b"0-1\n"
        self.codes: list[bytes] = []
        self.events: list[tuple[int, int, int, int]] = []  # type, config, CPU, leader
        self.enabled: list[int] = []
        self.refuses: dict[int, int] = {}
        self.says = b""
        self.most_in_group = 99
        self.closed: list[int] = []
        self.numbers = itertools.count(1000)
        self.target = BpfObject("prog", 7, 5, self.prog(7, btf_id=3, nr_func_info=1).info)
        self.arrays[7]["func_info"] = struct.pack("=2I", 0, 12)
        monkeypatch.setattr(profile, "bpf", self.bpf)
        monkeypatch.setattr(create, "bpf", self.bpf)
        monkeypatch.setattr(profile, "perf_event_open", self.perf_event_open)
        monkeypatch.setattr(fcntl, "ioctl", lambda fd, *rest: self.enabled.append(fd))
        monkeypatch.setattr(os, "close", self.closed.append)

    def bpf(self, cmd: int, address: int, size: int) -> int:
        data = ctypes.string_at(address, size)
        if cmd == uapi.BPF_PROG_LOAD:
            _, count, insns, _ = struct.unpack_from("=IIQQ", data)
            self.codes.append(ctypes.string_at(insns, count * 8))
            assert struct.unpack_from("=Ii", data, 108) == (12, self.target.fd)
            level, _, log = struct.unpack_from("=IIQ", data, 24)
            if level:
                ctypes.memmove(log, self.says + b"\0", len(self.says) + 1)
        if cmd in self.refuses:
            return -self.refuses[cmd]
        if cmd == uapi.BPF_MAP_CREATE:
            (self.value_size,) = struct.unpack_from("=I", data, 8)
        if cmd == uapi.BPF_MAP_LOOKUP_ELEM:
            _, _, value, _ = struct.unpack("=I4xQQQ", data)
            values = struct.pack("=Q", 3) + struct.pack("=3Q", 30, 100, 50) * 4
            ctypes.memmove(value, values[: self.value_size] * 2, self.value_size * 2)
        if cmd in (uapi.BPF_MAP_UPDATE_ELEM, uapi.BPF_MAP_LOOKUP_ELEM):
            return 0
        return next(self.numbers)

    def perf_event_open(self, attr: Buffer, pid: int, cpu: int, leader: int = -1) -> int:
        type, _, config = struct.unpack_from("=IIQ", attr.data)
        members = 1 + sum(event[3] == leader for event in self.events)
        if leader >= 0 and members >= self.most_in_group:
            return -errno.EINVAL
        self.events.append((type, config, cpu, leader))
        return next(self.numbers)

    def count(self, *names: str) -> Profile:
        return profile.profile(
            self, self.target, [BY_NAME[name] for name in names], lambda: None, lambda text: None
        )


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Live:
    return Live(monkeypatch)


def assert_all_closed(kernel: Live) -> None:
    assert sorted(kernel.closed) == list(range(1000, next(kernel.numbers)))


def test_sums_of_all_processors(kernel: Live) -> None:
    found = kernel.count("cycles", "task-clock")
    assert found.run_cnt == 6
    assert [reading[1:] for reading in found.readings] == [(60, 200, 100)] * 2
    assert [reading.value for reading in found.readings] == [120] * 2
    assert_all_closed(kernel)


def test_an_event_that_cannot_be_enabled(kernel: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(KernelError, match="cannot let the events of CPU 0 count: Inappropriate"):
        kernel.count("task-clock")
    assert_all_closed(kernel)


def test_events_are_grouped_by_processor(kernel: Live) -> None:
    kernel.count("cycles", "llc_misses", "task-clock")
    kinds = [(0, 0), (3, 2 | 1 << 16), (1, 1)]
    assert [event[:3] for event in kernel.events] == [
        (*kind, cpu) for cpu in (0, 1) for kind in kinds
    ]
    first, second = kernel.enabled
    assert [event[3] for event in kernel.events] == [-1, first, first, -1, second, second]


def test_events_that_do_not_fit_one_group_take_turns(kernel: Live) -> None:
    kernel.most_in_group = 2
    kernel.count("cycles", "instructions", "l1d_loads")
    assert [event[3] >= 0 for event in kernel.events] == [False, True, False] * 2
    assert len(kernel.enabled) == 4


def test_the_programs(kernel: Live) -> None:
    """Each reads every event; no jump leads out of them, the stack suffices."""
    kernel.count("cycles", "instructions", "itlb_misses", "dtlb_misses")
    for code in kernel.codes:
        insns = [struct.unpack("<BBhi", code[at : at + 8]) for at in range(0, len(code), 8)]
        assert [insn[0] for insn in insns[-2:]] == [0xB7, 0x95]
        assert sum(insn[0] == 0x85 and insn[3] == 55 for insn in insns) == 4
        for at, (opcode, _, offset, _) in enumerate(insns):
            if opcode in (0x15, 0x55):
                assert at + 1 + offset == len(insns) - 2
        offsets = [insn[2] for insn in insns if insn[0] == 0x62]
        assert all(-512 <= offset < 0 and offset % 8 == 0 for offset in offsets)


@pytest.mark.parametrize(
    ("cmd", "number", "says", "sentence"),
    [
        (uapi.BPF_PROG_LOAD, errno.EINVAL, b"", "this kernel has no BPF trampolines"),
        (
            uapi.BPF_PROG_LOAD,
            errno.EINVAL,
            b"Cannot recursively attach\nprocessed 0 insns (limit 1)\n",
            "the kernel attaches nothing to it: Cannot recursively attach$",
        ),
        (uapi.BPF_PROG_LOAD, errno.E2BIG, b"", "cannot profile program 7: Argument list"),
        (uapi.BPF_RAW_TRACEPOINT_OPEN, 524, b"", "this kernel has no BPF trampolines"),
        (uapi.BPF_RAW_TRACEPOINT_OPEN, errno.EBUSY, b"", "cannot attach to program 7: Device"),
        (uapi.BPF_MAP_UPDATE_ELEM, errno.EBUSY, b"", "cannot put a perf event into a map"),
        (uapi.BPF_MAP_LOOKUP_ELEM, errno.EFAULT, b"", "cannot read what was counted"),
        (uapi.BPF_MAP_CREATE, errno.EPERM, b"", "this needs the capability CAP_BPF"),
    ],
)
def test_what_is_refused(kernel: Live, cmd: int, number: int, says: bytes, sentence: str) -> None:
    kernel.refuses[cmd] = number
    kernel.says = says
    with pytest.raises(KernelError, match=sentence):
        kernel.count("cycles")
    assert_all_closed(kernel)


@pytest.mark.parametrize(
    ("capabilities", "sentence"),
    [
        (0, "needs the capabilities CAP_BPF and CAP_PERFMON"),
        (1 << 39, "needs the capabilities CAP_BPF and CAP_PERFMON"),
        (1 << 39 | 1 << 38, "no BPF trampolines"),
        (1 << 21, "no BPF trampolines"),
    ],
)
def test_who_is_refused(
    kernel: Live, monkeypatch: pytest.MonkeyPatch, capabilities: int, sentence: str
) -> None:
    monkeypatch.setattr(syscall, "effective_capabilities", lambda: capabilities)
    kernel.refuses[uapi.BPF_PROG_LOAD] = errno.EPERM
    with pytest.raises(KernelError, match=sentence):
        kernel.count("cycles")


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("cycles", errno.ENOENT, "cannot count cycles on CPU 0: this machine has no such hardware"),
        ("cycles", errno.EACCES, "this needs the capability CAP_PERFMON"),
        ("task-clock", errno.EPERM, "this needs the capability CAP_PERFMON"),
        ("task-clock", errno.EMFILE, "Too many open files"),
    ],
)
def test_counters_that_are_refused(
    kernel: Live, monkeypatch: pytest.MonkeyPatch, name: str, number: int, sentence: str
) -> None:
    monkeypatch.setattr(profile, "perf_event_open", lambda *words: -number)
    with pytest.raises(KernelError, match=sentence):
        kernel.count(name)
    assert_all_closed(kernel)
