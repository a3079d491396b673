"""Maps that a program changes through the library."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pybpftool import BpfError, WritableMap
from pybpftool.kernel.live import LiveKernel
from tests.support import load
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel


def test_a_recorded_kernel_has_none() -> None:
    kernel = FakeKernel()
    kernel.map(5, type=1, key_size=4, value_size=4)
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        WritableMap.by_id(5, kernel)
    kernel.pins["map"] = {5: ["/sys/fs/bpf/map"]}
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        WritableMap.pinned("/sys/fs/bpf/map", kernel)
    assert kernel.opened == 0


@pytest.mark.live
def test_elements_are_set_and_deleted() -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    pair = btf.add_struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    with (
        load.btf_load(btf.build()) as description,
        load.map_create(
            "hash", 4, 8, 9, name="typed", btf=description, btf_key=number, btf_value=pair
        ) as fd,
        WritableMap.by_id(load.object_id(fd, "map"), LiveKernel()) as opened,
    ):
        opened[1] = {"a": 5, "b": -6}
        assert load.map_lookup(fd, struct.pack("=i", 1), 8) == struct.pack("=ii", 5, -6)
        assert opened[1] == {"a": 5, "b": -6}
        del opened[1]
        with pytest.raises(KeyError):
            del opened[1]
        opened.freeze()
        with pytest.raises(BpfError, match="Operation not permitted"):
            opened[2] = [1, 2]


@pytest.mark.live
def test_a_closed_map_changes_no_other_that_took_its_descriptor() -> None:
    kernel = LiveKernel()
    with load.map_create("hash", 4, 4, 2) as fd, load.map_create("hash", 4, 4, 2) as other:
        with WritableMap.by_id(load.object_id(fd, "map"), kernel) as opened:
            opened[1] = 1
        with WritableMap.by_id(load.object_id(other, "map"), kernel) as second:
            second[1] = 2
            changes: list[Callable[[], object]] = [
                lambda: opened.update(1, 3),
                opened.pop,
                lambda: opened.push(3),
                opened.freeze,
                lambda: opened.__delitem__(1),
                lambda: len(opened),
            ]
            for change in changes:
                with pytest.raises(BpfError, match=r"^map \d+ is closed$"):
                    change()
            assert second[1] == struct.pack("=i", 2)


@pytest.mark.live
def test_a_queue_gives_back_what_was_pushed() -> None:
    with (
        load.map_create("queue", 0, 4, 2) as fd,
        WritableMap.by_id(load.object_id(fd, "map"), LiveKernel()) as queue,
    ):
        queue.push(b"one.")
        queue.push(b"two.")
        assert [queue.pop(), queue.pop()] == [b"one.", b"two."]
        with pytest.raises(IndexError, match="is empty"):
            queue.pop()
