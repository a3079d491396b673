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
    monkeypatch.setattr(net, "_acknowledged", lambda *request: sent.append(request))
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


class FakeSocket:
    """One answer to whatever is sent."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer
        self.is_closed = False

    def send(self, data: bytes) -> None:
        pass

    def recv(self, size: int) -> bytes:
        if isinstance(self.answer, OSError):
            raise self.answer
        answer, self.answer = self.answer, b""
        return answer

    def close(self) -> None:
        self.is_closed = True


def message(type: int, payload: bytes = b"") -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), type, 0, 0, 0) + payload


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (message(16) + message(2, bytes(4)), ""),
        (message(2, struct.pack("=i", -errno.EBUSY)), "cannot .*: Device or resource busy"),
        (OSError(errno.EBUSY, "busy"), "cannot .*: Device or resource busy"),
        (message(16), "cannot .*: the kernel does not say"),
    ],
)
def test_acknowledged(answer: bytes | OSError, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sock = FakeSocket(answer)
    monkeypatch.setattr(net, "opened", lambda netns, protocol: sock)
    if words:
        with pytest.raises(KernelError, match=words):
            net.detach(Live(), "xdp", 9)
    else:
        net.detach(Live(), "xdp", 9)
    assert sock.is_closed
