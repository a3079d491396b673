"""Programs as a library gives them."""

from __future__ import annotations

from errno import ENOENT

import pytest

import pybpftool
from pybpftool.errors import KernelError
from pybpftool.objects.prog import ProgramReader, by_name, by_tag, programs
from tests.support.fakekernel import FakeKernel


def test_programs() -> None:
    kernel = FakeKernel()
    kernel.prog(2, name=b"two", maps=(5, 6), created_by_uid=3, load_time=9)
    kernel.prog(1, name=b"one", memlock=None)
    found = list(pybpftool.programs(kernel))
    assert [(prog.id, prog.name, prog.memlock) for prog in found] == [
        (1, "one", None),
        (2, "two", 4096),
    ]
    assert found[1].map_ids == (5, 6)
    assert (found[1].type, found[1].type_name) == (1, "socket_filter")
    assert (found[1].created_by_uid, found[1].load_time) == (3, 9)
    assert kernel.opened == 0
    assert programs is pybpftool.programs


@pytest.mark.parametrize(("order", "bits"), [("<", 1), (">", 1 << 31)])
def test_the_gpl_bit(order: str, bits: int) -> None:
    kernel = FakeKernel(order)
    kernel.prog(1, gpl_compatible=bits)
    kernel.prog(2, gpl_compatible=0xFFFFFFFF ^ bits)
    assert [prog.gpl_compatible for prog in programs(kernel)] == [True, False]


def test_by_tag_and_name() -> None:
    kernel = FakeKernel()
    kernel.prog(1, name=b"a", tag=b"\1" * 8)
    kernel.prog(2, name=b"ab", tag=b"\2" * 8)
    kernel.prog(3, name=b"a", tag=b"\2" * 8)
    reader = ProgramReader(kernel)
    assert [obj.id for obj in by_tag(kernel, b"\2" * 8)] == [2, 3]
    assert [obj.id for obj in by_name(kernel, reader, "a")] == [1, 3]
    assert [obj.id for obj in by_name(kernel, reader, "")] == []


def test_a_listing_that_is_left_early_closes_what_it_opened() -> None:
    kernel = FakeKernel()
    for id in (1, 2, 3):
        kernel.prog(id)
    listing = programs(kernel)
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert kernel.opened == 0


def test_btf_is_read_once() -> None:
    kernel = FakeKernel()
    reader = ProgramReader(kernel)
    with pytest.raises(KernelError):
        reader.btf(5)
    from tests.support.btfbuild import BtfBuilder

    kernel.btfs[5] = BtfBuilder().build()
    assert reader.btf(5) is reader.btf(5)


def test_a_record_tells_what_a_listing_shows() -> None:
    kernel = FakeKernel()
    kernel.prog(1, name=b"one", load_time=5_000_000_000, created_by_uid=3)
    kernel.held["prog"] = {1: [(7, "agent")]}
    (prog,) = programs(kernel)
    assert prog.pids == [(7, "agent")]
    assert prog.loaded_at == (kernel.boot_time_ns() + prog.load_time) // 10**9
    assert prog.json()["loaded_at"] == prog.loaded_at
    assert "\n\tpids agent(7)\n" in prog.text()
    assert prog == next(iter(programs(kernel)))
    brief = ProgramReader(kernel).read(kernel.all["prog"][1], is_brief=True)
    assert brief.header_text() == prog.header_text()
    assert brief.memlock is None and brief.loaded_at is None


def test_what_an_older_kernel_does_not_tell() -> None:
    kernel = FakeKernel()
    kernel.prog(1, verified_insns=9)
    obj = kernel.all["prog"][1]
    read = ProgramReader(kernel).read
    assert read(obj).verified_insns == 9
    obj.info = obj.info[:216]
    assert read(obj).verified_insns is None
    obj.info = obj.info[:100]
    assert (read(obj).btf_id, read(obj).subprograms) == (0, 0)


def test_a_recording_without_the_clock_or_beyond_any_calendar() -> None:
    class NoClock(FakeKernel):
        def boot_time_ns(self) -> int:
            raise KernelError("no clock", ENOENT)

    kernel = NoClock()
    kernel.prog(1, load_time=5_000_000_000)
    (prog,) = programs(kernel)
    assert prog.loaded_at is None
    assert "loaded_at 5  uid 0" in prog.text()
    assert "loaded_at" not in prog.json()
    far = prog._replace(loaded_at=1 << 62)
    assert "loaded_at 5  uid 0" in far.text()
