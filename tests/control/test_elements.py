"""Changing elements of maps of the running kernel."""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterator

import pytest

from pybpftool.control.elements import BPF_EXIST, BPF_NOEXIST, MapWriter, open_writable
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.live import LiveKernel
from tests.support import load
from tests.support.fakekernel import FakeKernel


def u32(number: int) -> bytes:
    """An index."""
    return struct.pack("=I", number)


@contextlib.contextmanager
def opened(fd: load.Fd) -> Iterator[MapWriter]:
    """A map that a test made, open to be changed."""
    kernel = LiveKernel()
    obj = open_writable(kernel, load.object_id(fd, "map"))
    try:
        yield MapWriter(kernel, obj)
    finally:
        kernel.close(obj)


def test_recorded_maps_cannot_be_changed() -> None:
    kernel = FakeKernel()
    obj = kernel.map(7, type=1, key_size=4, value_size=4)
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        MapWriter(kernel, obj)
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        open_writable(kernel, 7)
    assert kernel.opened == 0


@pytest.mark.live
def test_indexes_have_an_end() -> None:
    with (
        load.map_create("array", 4, 8, 2) as fd,
        opened(fd) as elements,
        pytest.raises(KernelError, match="its indexes end at 1"),
    ):
        elements.update(u32(2), bytes(8))


@pytest.mark.live
def test_element_operations() -> None:
    with load.map_create("hash", 4, 8, 2) as fd, opened(fd) as elements:
        elements.update(u32(1), b"first123", BPF_NOEXIST)
        assert elements.lookup(u32(1)) == b"first123" == load.map_lookup(fd, u32(1), 8)
        with pytest.raises(KernelError, match="an element with this key already") as caught:
            elements.update(u32(1), bytes(8), BPF_NOEXIST)
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(KernelError, match="no element with this key"):
            elements.update(u32(9), bytes(8), BPF_EXIST)
        elements.update(u32(2), bytes(8))
        with pytest.raises(KernelError, match="the map is full"):
            elements.update(u32(3), bytes(8))
        first = elements.next_key(None)
        assert {first, elements.next_key(first)} == {u32(1), u32(2)}
        elements.delete(u32(1))
        with pytest.raises(KernelError, match="no element with this key"):
            elements.delete(u32(1))
        with pytest.raises(KernelError) as missing:
            elements.lookup(u32(1))
        assert missing.value.errno == errno.ENOENT
        with pytest.raises(BpfError, match="a value of map"):
            elements.update(u32(1), b"short")
        elements.freeze()
        with pytest.raises(KernelError) as frozen:
            elements.update(u32(2), bytes(8))
        assert frozen.value.errno == errno.EPERM


@pytest.mark.live
def test_per_cpu_values_are_set_on_all_cpus() -> None:
    cpus = load.possible_cpus()
    with load.map_create("percpu_hash", 4, 5, 2) as fd, opened(fd) as elements:
        elements.update(u32(1), b"abcde")
        assert elements.lookup(u32(1)) == b"abcde\0\0\0" * cpus
        assert load.map_lookup(fd, u32(1), 8 * cpus) == b"abcde\0\0\0" * cpus


@pytest.mark.live
def test_queue() -> None:
    with load.map_create("queue", 0, 4, 2) as fd, opened(fd) as elements:
        elements.update(None, b"one.")
        elements.update(None, b"two.")
        assert elements.lookup(None) == b"one."
        assert [elements.pop(), elements.pop()] == [b"one.", b"two."]
        with pytest.raises(KernelError) as caught:
            elements.pop()
        assert caught.value.errno == errno.ENOENT
        with pytest.raises(KernelError):
            list(elements.batches())
