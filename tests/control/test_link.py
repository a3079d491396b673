"""Links that lose their target."""

from __future__ import annotations

import errno

import pytest

from pybpftool.control import link
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import BpfObject, Kernel
from tests.support.fakekernel import FakeKernel


class Live(Kernel):
    is_live = True


OBJ = BpfObject("link", 5, 3, b"")


def test_a_recorded_kernel_is_refused() -> None:
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        link.detach(FakeKernel(), OBJ)


def test_the_request_and_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def answer(cmd: int, address: int, size: int) -> int:
        asked.append((cmd, size))
        return -errno.EOPNOTSUPP

    monkeypatch.setattr(link, "bpf", answer)
    with pytest.raises(KernelError, match="cannot detach link 5: Operation not supported"):
        link.detach(Live(), OBJ)
    assert asked == [(34, 4)]
    monkeypatch.setattr(link, "bpf", lambda *_: 0)
    link.detach(Live(), OBJ)
