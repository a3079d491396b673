"""Programs as a library gives them."""

from __future__ import annotations

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
    assert (found[1].uid, found[1].load_time) == (3, 9)
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
