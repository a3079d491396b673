"""Making maps."""

from __future__ import annotations

import os

import pytest

from pybpftool.control.create import NewMap, create_map
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.live import LiveKernel
from tests.support import load
from tests.support.fakekernel import FakeKernel

HASH = 1


def test_a_recorded_kernel_gets_no_maps() -> None:
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        create_map(FakeKernel(), NewMap(HASH, "x"))


@pytest.mark.live
def test_create_refusals() -> None:
    kernel = LiveKernel()
    new = NewMap(HASH, "refused")
    with pytest.raises(KernelError, match="does not take these sizes"):
        create_map(kernel, new)
    new.key_size = new.value_size = 4
    new.max_entries = 1
    new.name = "a name with blanks"
    with pytest.raises(KernelError):
        create_map(kernel, new)
    new.name = "fine"
    fd = create_map(kernel, new)
    try:
        assert load.info(fd)[24:28] == b"fine"
    finally:
        os.close(fd)
