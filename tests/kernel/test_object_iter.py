"""Iterators over objects, against the walk over ids by a binding of the tests' own."""

from __future__ import annotations

import contextlib

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import object_iter, task_iter
from pybpftool.kernel.live import LiveKernel
from tests.support import asm, load


@pytest.mark.live
@pytest.mark.parametrize("kind", ["prog", "map", "link"])
def test_the_same_ids(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context
        for _ in range(20):
            prog = keep(load.prog_load("raw_tracepoint", asm.ret(0), name="pybt_iter"))
            keep(load.map_create("array", 4, 4, 1, name="pybt_iter"))
            keep(load.raw_tracepoint_open(prog, "cpuhp_enter"))
        for _ in range(10):  # others may load and unload meanwhile
            before = load.all_ids(kind)
            try:
                found = LiveKernel().iterated(kind)
            except KernelError as error:
                pytest.skip(str(error))
            if found == before:
                break
        assert found == before
        assert len(found) >= 20


def test_a_kernel_without() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_iter, "mapped", lambda: None)
        patch.setattr(task_iter, "bpf", lambda *_: -1)
        with pytest.raises(KernelError, match="no iterator walks over maps"):
            object_iter.iterated("map")
