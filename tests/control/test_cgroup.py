"""Programs on cgroups."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pybpftool.control import cgroup
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import BpfObject, Kernel
from tests.support.fakekernel import FakeKernel


class Live(Kernel):
    is_live = True


PROG = BpfObject("prog", 7, 3, b"")


def test_a_recorded_kernel_is_refused(tmp_path: Path) -> None:
    for change in (cgroup.attach, cgroup.detach):
        with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
            change(FakeKernel(), str(tmp_path), PROG, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cgroup.attach, "cannot attach program 7 to"),
        (cgroup.detach, "cannot detach program 7 from"),
    ],
)
def test_refusals(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Callable[[Kernel, str, BpfObject, int], None],
    words: str,
) -> None:
    monkeypatch.setattr(cgroup, "bpf", lambda *_: -errno.EBADF)
    with pytest.raises(KernelError, match=words) as raised:
        change(Live(), str(tmp_path), PROG, 1)
    assert raised.value.errno == errno.EBADF
    assert str(tmp_path) in str(raised.value)
    with pytest.raises(KernelError, match="nowhere"):
        change(Live(), str(tmp_path / "nowhere"), PROG, 1)
    monkeypatch.setattr(cgroup, "bpf", lambda *_: 0)
    change(Live(), str(tmp_path), PROG, 1)
