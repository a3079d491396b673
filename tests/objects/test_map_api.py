"""The library: keys and values of maps as bytes and as Python values, in batches."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

import pybpftool
from pybpftool import BpfError, KernelError, OpenMap
from pybpftool.kernel.live import LiveKernel
from pybpftool.objects.map import maps, value_types
from tests.support import load
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel
from tests.support.map_corpus import u32, update_batch

pytestmark = pytest.mark.live


@pytest.fixture
def typed() -> Iterator[load.Fd]:
    """A hash of 5,000 elements with BTF."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    pair = btf.add_struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    with (
        load.btf_load(btf.build()) as description,
        load.map_create(
            "hash", 4, 8, 5000, name="typed", btf=description, btf_key=number, btf_value=pair
        ) as fd,
    ):
        keys = [u32(n) for n in range(5000)]
        update_batch(fd, keys, [struct.pack("=ii", n, -n) for n in range(5000)])
        yield fd


def test_bytes(typed: load.Fd) -> None:
    with OpenMap.by_id(load.object_id(typed, "map")) as opened:
        assert opened.info.name == "typed" and opened.info.type_name == "hash"
        items = dict(opened.items())
        assert items == {u32(n): struct.pack("=ii", n, -n) for n in range(5000)}
        assert sorted(opened) == sorted(items) == sorted(opened.keys())
        assert opened[u32(7)] == struct.pack("=ii", 7, -7)
        with pytest.raises(KeyError):
            opened[u32(99999)]
        batches = list(opened.batches())
        assert len(batches) > 1 and sum(len(keys) for keys, _ in batches) == 5000
        # It was opened for reading.
        with pytest.raises(KernelError, match="Operation not permitted"):
            opened[u32(7)] = bytes(8)
        assert "typed" in repr(opened)


def test_python_values(typed: load.Fd) -> None:
    with OpenMap.by_id(load.object_id(typed, "map")) as opened:
        decoded = dict(opened.decoded_items())  # type: ignore[arg-type]
        assert decoded == {n: {"a": n, "b": -n} for n in range(5000)}
        pairs = [pair for keys, values in opened.decoded_batches() for pair in zip(keys, values)]
        assert dict(pairs) == decoded  # type: ignore[arg-type]
        raw = opened[opened.encode_key("=3")]
        assert isinstance(raw, bytes)
        assert opened.decode(raw) == {"a": 3, "b": -3}
        assert opened.encode_value("{.b = 2}") == struct.pack("=ii", 0, 2)


def test_changes(typed: load.Fd) -> None:
    with OpenMap.by_id(load.object_id(typed, "map"), writable=True) as opened:
        opened[u32(1)] = opened.encode_value("{5, 6}")
        assert load.map_lookup(typed, u32(1), 8) == struct.pack("=ii", 5, 6)
        del opened[u32(1)]
        with pytest.raises(KeyError):
            del opened[u32(1)]


def test_per_cpu_values_are_lists() -> None:
    cpus = load.possible_cpus()
    with load.map_create("percpu_array", 4, 5, 3) as fd:
        load.map_update(fd, u32(1), b"".join(b"cpu%d\0\0\0\0" % cpu for cpu in range(cpus)))
        with OpenMap.by_id(load.object_id(fd, "map")) as opened:
            assert opened[u32(1)] == [b"cpu%d\0" % cpu for cpu in range(cpus)]
            assert [key for key, _ in opened.items()] == [u32(0), u32(1), u32(2)]
            with pytest.raises(BpfError, match="no BTF"):
                next(opened.decoded_items())


def test_pinned_and_closed(typed: load.Fd) -> None:
    with load.temp_bpffs() as place:
        load.obj_pin(typed, f"{place}/typed")
        opened = OpenMap.pinned(f"{place}/typed")
        assert opened.info.id == load.object_id(typed, "map")
        opened.close()
        opened.close()
        with load.prog_load(
            "socket_filter", bytes.fromhex("b7000000000000009500000000000000")
        ) as p:
            load.obj_pin(p, f"{place}/prog")
        with pytest.raises(BpfError, match="is a prog, not a map"):
            OpenMap.pinned(f"{place}/prog")


def test_listing(typed: load.Fd) -> None:
    number = load.object_id(typed, "map")
    (found,) = [row for row in maps(LiveKernel()) if row.id == number]
    assert (found.key_size, found.value_size, found.max_entries) == (4, 8, 5000)
    assert repr(found) == f"<Map {number} hash 'typed'>"
    assert pybpftool.maps is maps


def test_a_recorded_kernel_keeps_no_elements() -> None:
    kernel = FakeKernel()
    kernel.map(3, type=1, key_size=4, value_size=4)
    with pytest.raises(BpfError, match="keeps no elements"):
        OpenMap.by_id(3, kernel)
    assert kernel.opened == 0
    (row,) = maps(kernel)
    assert value_types(kernel, row) is None
