"""Programs on network devices."""

from __future__ import annotations

import errno
import struct

import pytest

from pybpftool.control import net
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import BpfObject, Kernel
from tests.support.fakekernel import FakeKernel


class Live(Kernel):
    is_live = True


PROG = BpfObject("prog", 7, 3, b"")


def test_a_recorded_kernel_is_refused() -> None:
    for kind in (*net.XDP_FLAGS, *net.TCX):
        with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
            net.attach(FakeKernel(), kind, PROG, 1)
        with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
            net.detach(FakeKernel(), kind, 1)


def test_refusals_of_tcx(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def answer(cmd: int, address: int, size: int) -> int:
        sizes.append(size)
        return -errno.EINVAL

    monkeypatch.setattr(net, "bpf", answer)
    for is_first in (False, True):
        with pytest.raises(KernelError, match="cannot attach the program to the device"):
            net.attach(Live(), "tcx_ingress", PROG, 1, is_first=is_first)
    with pytest.raises(KernelError, match="cannot detach a program from the device"):
        net.detach(Live(), "tcx_egress", 1)
    assert sizes == [20, 32, 20]


def test_requests_for_xdp(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[bytes, str]] = []
    monkeypatch.setattr(net, "netlink_acknowledged", lambda *request: sent.append(request))
    net.attach(Live(), "xdpdrv", PROG, 9)
    net.attach(Live(), "xdpgeneric", PROG, 9, overwrite=True)
    net.detach(Live(), "xdp", 9)
    flags = [struct.unpack("=I", request[-4:])[0] for request, _ in sent]
    assert flags == [4 | 1, 2, 0 | 1]
    assert [what for _, what in sent] == [
        "cannot attach the program to the device",
        "cannot attach the program to the device",
        "cannot detach the program from the device",
    ]
