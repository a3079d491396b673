"""Iterators over objects, against the walk over ids by a binding of the tests' own."""

from __future__ import annotations

import contextlib
import struct

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import object_iter, own_programs
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


@pytest.mark.live
def test_cookies_of_perf_events() -> None:
    attr = struct.pack("=IIQ", 1, 64, 9).ljust(64, b"\0")  # the software event "dummy"
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context
        ids = {}
        for cookie in (0, 5, 0x1122334455667788):
            prog = keep(load.prog_load("perf_event", asm.ret(0), name="pybt_cookie"))
            event = keep(load.perf_event_open(attr, 0, -1))
            link = load.link_create(prog, event, "perf_event", 0, struct.pack("=Q", cookie))
            ids[load.object_id(keep(link), "link")] = cookie
        other = keep(load.prog_load("raw_tracepoint", asm.ret(0), name="pybt_iter"))
        bare = load.object_id(keep(load.raw_tracepoint_open(other, "cpuhp_enter")), "link")
        try:
            found = object_iter.perf_cookies()
        except KernelError as error:
            pytest.skip(str(error))
    assert {id: found[id] for id in ids} == ids
    assert bare not in found


def test_a_kernel_without() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_programs, "mapped", lambda: None)
        patch.setattr(own_programs, "bpf", lambda *_: -1)
        with pytest.raises(KernelError, match="no iterator walks over maps"):
            object_iter.iterated("map")
        with pytest.raises(KernelError, match="no iterator walks over links"):
            object_iter.perf_cookies()
