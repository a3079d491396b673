"""Open maps as Python mappings: by BTF, as bytes, in batches."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from pybpftool import BpfError, OpenMap
from pybpftool.kernel.interface import Batch, BpfObject
from pybpftool.kernel.live import LiveKernel
from tests.support import load
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel
from tests.support.map_corpus import u32, update_batch

HASH, ARRAY, PERCPU_ARRAY, ARRAY_OF_MAPS = 1, 2, 6, 12


class Kept(FakeKernel):
    """A kernel whose maps have these elements."""

    def __init__(self, elements: dict[bytes, bytes]) -> None:
        super().__init__()
        self.kept = elements

    def elements(self, map: BpfObject) -> Iterator[Batch]:
        keys, values = list(self.kept), list(self.kept.values())
        for at in range(0, len(keys), 2):
            some = keys[at : at + 2]
            yield Batch(b"".join(some), b"".join(values[at : at + 2]), len(some))

    def lookup(self, map: BpfObject, key: bytes | None) -> bytes:
        from errno import ENOENT

        from pybpftool.errors import KernelError

        assert key is not None
        if key not in self.kept:
            raise KernelError.of("no such element", ENOENT)
        return self.kept[key]


@pytest.fixture
def flows() -> OpenMap:
    """A hash with structs as keys and values."""
    btf = BtfBuilder()
    unsigned = btf.add_int("unsigned int", 4)
    signed = btf.add_int("int", 4, SIGNED)
    wide = btf.add_int("__int128", 16, SIGNED)
    double = btf.add_float("double", 8)
    char = btf.add_int("char", 1, SIGNED)
    name = btf.add_array(char, unsigned, 4)
    key = btf.add_struct("flow", 8, [("saddr", unsigned, 0), ("port", unsigned, 32)])
    value = btf.add_struct(
        "counts",
        40,
        [
            ("low", signed, 0, 3), ("rest", unsigned, 3, 29), ("rate", double, 64, 0),
            ("total", wide, 128, 0), ("comm", name, 256, 0),
        ],
    )  # fmt: skip

    def count(low: int, rate: float, total: int, comm: bytes) -> bytes:
        word = (low & 7) | 5 << 3
        return (
            struct.pack("<Ixxxxd", word, rate)
            + total.to_bytes(16, "little", signed=True)
            + comm.ljust(8, b"\0")
        )

    kernel = Kept(
        {
            struct.pack("<II", 1, 0): count(-1, 0.5, -(1 << 100), b"sh"),
            struct.pack("<II", 2, 80): count(3, 1e300, 7, b"cat"),
            struct.pack("<II", 3, 80): count(0, 0.0, 0, b""),
        }
    )
    kernel.btfs[9] = btf.build()
    kernel.map(
        5, type=HASH, key_size=8, value_size=40, max_entries=64, name=b"flows", btf_id=9,
        btf_key_type_id=key, btf_value_type_id=value,
    )  # fmt: skip
    return OpenMap.by_id(5, kernel)


def test_a_map_is_a_mapping(flows: OpenMap) -> None:
    first = {"low": -1, "rest": 5, "rate": 0.5, "total": -(1 << 100), "comm": "sh"}
    assert flows[{"saddr": 1}] == first
    assert flows[struct.pack("<II", 1, 0)] == first
    found = flows.get({"saddr": 2, "port": 80})
    assert found is not None and found["comm"] == "cat"
    assert flows.get({"saddr": 2}) is None and flows.get({"saddr": 2}, 3) == 3
    assert {"saddr": 3, "port": 80} in flows and {"saddr": 3} not in flows
    with pytest.raises(KeyError) as caught:
        flows[{"saddr": 9}]
    assert caught.value.args == ({"saddr": 9},)
    assert len(flows) == 3
    keys = [{"saddr": 1, "port": 0}, {"saddr": 2, "port": 80}, {"saddr": 3, "port": 80}]
    assert list(flows) == list(flows.keys()) == keys
    assert [key for key, _ in flows.items()] == keys
    assert [value["total"] for value in flows.values()] == [-(1 << 100), 7, 0]
    assert [len(keys) for keys, _ in flows.batches()] == [2, 1]
    assert repr(flows) == "<OpenMap 5 hash 'flows'>"


def test_what_was_read_can_be_written(flows: OpenMap) -> None:
    for (key, value), (raw_key, raw_value) in zip(flows.items(), flows.raw.items()):
        assert flows.encode_key(key) == raw_key
        assert flows.encode_value(value) == raw_value
    assert flows.encode_key("{.port = 0x50}") == struct.pack("<II", 0, 80)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ({"sadr": 1}, "which has no member 'sadr'"),
        ({"saddr": 1 << 32}, "does not fit 'saddr'"),
        ({"saddr": -1}, "does not fit 'saddr'"),
        ({"saddr": "one"}, "which has no 'one'"),
        ({"saddr": object()}, "values of object have no place in a map"),
        ({None: 1}, "None does not name a member"),
        ([1, 2, 3], "has only 2 members"),
        (7, "needs braces"),
        (b"12345", "needs braces"),
        ("{.port}", "cannot read the initializer"),
    ],
)
def test_keys_that_do_not_fit(flows: OpenMap, key: object, part: str) -> None:
    with pytest.raises(BpfError, match=part) as caught:
        flows[key]
    assert type(caught.value) is BpfError


def test_without_btf_there_are_bytes_and_integers() -> None:
    kernel = Kept({u32(7): b"12345678"})
    kernel.map(5, type=ARRAY, key_size=4, value_size=8, max_entries=9)
    with OpenMap.by_id(5, kernel) as opened:
        assert dict(opened.items()) == {u32(7): b"12345678"} == dict(opened.raw)
        assert opened[7] == opened[u32(7)] == b"12345678"
        for wrong, part in ((b"1", "has no BTF to encode"), (1 << 33, "does not fit 4 bytes")):
            with pytest.raises(BpfError, match=part):
                opened[wrong]
    assert kernel.opened == 0


def test_maps_of_maps_hold_ids() -> None:
    kernel = Kept({u32(0): u32(77)})
    kernel.map(5, type=ARRAY_OF_MAPS, key_size=4, value_size=4, max_entries=9)
    assert OpenMap.by_id(5, kernel)[0] == 77


def test_per_cpu_values_are_lists() -> None:
    kernel = Kept({u32(1): b"cpu0.\0\0\0cpu1.\0\0\0"})
    kernel.files["/sys/devices/system/cpu/possible"] = b"0-1\n"
    kernel.map(5, type=PERCPU_ARRAY, key_size=4, value_size=5, max_entries=3)
    opened = OpenMap.by_id(5, kernel)
    assert opened[1] == opened.raw[u32(1)] == [b"cpu0.", b"cpu1."]
    assert list(opened.items()) == [(u32(1), [b"cpu0.", b"cpu1."])]


def test_what_is_pinned_must_be_a_map() -> None:
    kernel = FakeKernel()
    kernel.prog(3)
    kernel.pins["prog"] = {3: ["/sys/fs/bpf/prog"]}
    with pytest.raises(BpfError, match="is a prog, not a map"):
        OpenMap.pinned("/sys/fs/bpf/prog", kernel)
    assert kernel.opened == 0


def test_a_closed_map_says_so() -> None:
    kernel = Kept({u32(n): u32(n) for n in range(6)})
    kernel.map(5, type=HASH, key_size=4, value_size=4, max_entries=9)
    map = OpenMap.by_id(5, kernel)
    raw, items, halfway = map.raw, map.items(), iter(map.items())
    assert next(halfway) == (u32(0), u32(0)) == next(iter(items))
    map.close()
    map.close()
    assert kernel.opened == 0
    looks: list[Callable[[], object]] = [
        lambda: map[1],
        lambda: 1 in map,
        lambda: len(map),
        lambda: list(map),
        lambda: list(items),
        lambda: raw[u32(1)],
        lambda: list(raw.values()),
        lambda: list(halfway),
    ]
    for look in looks:
        with pytest.raises(BpfError, match=r"^map 5 is closed$"):
            look()
    assert map.info.id == 5 and map.decode(u32(7)) == u32(7)


def test_a_map_closes_with_the_last_reference() -> None:
    kernel = Kept({u32(n): u32(n) for n in range(6)})
    kernel.map(5, type=HASH, key_size=4, value_size=4, max_entries=9)
    views: list[Callable[[OpenMap], object]] = [
        lambda map: map[u32(1)] and map.raw,
        iter,
        lambda map: iter(map.raw.values()),
        lambda map: map.items(),
    ]
    for view in views:
        seen = view(OpenMap.by_id(5, kernel))
        assert kernel.opened == 1
        del seen
        assert kernel.opened == 0
    borrowed = OpenMap(kernel, kernel.open("map", 5))
    del borrowed
    assert kernel.opened == 1  # of who opened it


@pytest.mark.live
def test_a_map_of_the_running_kernel() -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    pair = btf.add_struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    kernel = LiveKernel()
    with (
        load.btf_load(btf.build()) as description,
        load.map_create(
            "hash", 4, 8, 5000, name="typed", btf=description, btf_key=number, btf_value=pair
        ) as fd,
        load.temp_bpffs() as place,
    ):
        keys = [u32(n) for n in range(5000)]
        update_batch(fd, keys, [struct.pack("=ii", n, -n) for n in range(5000)])
        with OpenMap.by_id(load.object_id(fd, "map"), kernel) as opened:
            assert dict(opened.items()) == {n: {"a": n, "b": -n} for n in range(5000)}
            assert opened.raw[u32(7)] == struct.pack("=ii", 7, -7)
            assert len(opened) == 5000 and opened[3] == {"a": 3, "b": -3}
        load.obj_pin(fd, f"{place}/typed")
        again = OpenMap.pinned(f"{place}/typed", kernel)
        assert again.info.id == opened.info.id
        again.close()
        again.close()
