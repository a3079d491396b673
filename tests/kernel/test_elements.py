"""Reading whole maps while they change, against a kernel that is played; and the live one."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from pybpftool.ahead import ahead
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import elements
from pybpftool.kernel.elements import MapElements, int_order
from pybpftool.kernel.interface import BpfObject
from pybpftool.kernel.live import LiveKernel
from pybpftool.kernel.syscall import Buffer
from pybpftool.uapi import bpf as uapi
from tests.support import asm, load
from tests.support.fakekernel import FakeKernel
from tests.support.map_corpus import update_batch

HASH, ARRAY, PROG_ARRAY, STACK_TRACE, LPM_TRIE, DEVMAP, CGROUP_STORAGE = 1, 2, 3, 7, 11, 14, 19


class Played(MapElements):
    """Elements of a map that is a list of keys in the kernel's order.

    `meanwhile` runs before every question, as other processes would.
    """

    def __init__(self, type: int, key_size: int, keys: list[bytes], batches: bool = False) -> None:
        kernel = FakeKernel()
        info = kernel.map(5, type=type, key_size=key_size, value_size=4, max_entries=64).info
        obj = BpfObject("map", 5, 3, info)
        super().__init__(kernel, obj)
        self.keys = keys
        self.has_batches = batches
        self.meanwhile: Callable[[], None] = lambda: None
        self.questions = 0
        self.fail: dict[int, int] = {}  # question -> errno

    def _after(self, key: bytes | None) -> bytes | None:
        if key is None or key not in self.keys:
            if key is not None and self.type == CGROUP_STORAGE:
                return None
            at = 0
        else:
            at = self.keys.index(key) + 1
        return self.keys[at] if at < len(self.keys) else None

    def _elem(self, command: int, key: bytes | None, value: Buffer | None, flags: int) -> int:
        self.questions += 1
        self.meanwhile()
        if self.questions in self.fail:
            return -self.fail[self.questions]
        if command == uapi.BPF_MAP_GET_NEXT_KEY:
            following = self._after(key)
            if following is None:
                return -errno.ENOENT
            assert value is not None
            value.data[:] = following
            return 0
        assert command == uapi.BPF_MAP_LOOKUP_ELEM
        if key not in self.keys:
            return -errno.ENOENT
        assert value is not None
        value.data[:] = key[-4:].ljust(4, b"\0")
        return 0

    def _slots(self, begin: int, limit: int) -> tuple[list[int], list[bytes]]:
        results = []
        values = []
        for number in range(begin, begin + limit):
            results.append(-self._elem(uapi.BPF_MAP_LOOKUP_ELEM, u32(number), self._value, 0))
            if not results[-1]:
                values.append(bytes(self._value.data))
        return results, values

    def _lookup_batch(
        self, start: int, end: int, keys: Buffer, values: Buffer, count: int
    ) -> tuple[int, int]:
        self.questions += 1
        self.meanwhile()
        if not self.has_batches:
            return -524, 0
        # The position is in the buffer that _ordered_batches() fills; it is found by its address.
        key = None if not start else self.position(start)
        found = 0
        while found < min(count, 3):
            key = self._after(key)
            if key is None:
                return -errno.ENOENT, found
            keys.data[found * self.key_size : (found + 1) * self.key_size] = key
            values.data[found * 4 : found * 4 + 4] = key[-4:]
            found += 1
        return 0, found

    def position(self, address: int) -> bytes:
        """What stands at an address."""
        import ctypes

        return ctypes.string_at(address, self.key_size)

    def seen(self) -> list[bytes]:
        """The keys of all batches."""
        keys = []
        for batch in self.batches():
            for at in range(0, len(batch.keys), self.key_size):
                keys.append(batch.keys[at : at + self.key_size])
        return keys


def u32(number: int) -> bytes:
    """An index."""
    return struct.pack("=I", number)


def churned(
    played: Played,
    stable: list[bytes],
    every: int,
    place: Callable[[list[bytes]], int],
    comes_back: float = 0.4,
) -> None:
    """Between questions, keys that are not stable go and, with a probability, come back."""
    source = random.Random(7)
    all_keys = list(played.keys)

    def meanwhile() -> None:
        if played.questions % every or played.questions > 2000:
            return
        loose = [key for key in played.keys if key not in stable]
        for key in source.sample(loose, len(loose) // 2):
            played.keys.remove(key)
        for key in all_keys:
            if key not in played.keys and source.random() < comes_back:
                played.keys.insert(place([*played.keys, key]), key)

    played.meanwhile = meanwhile


@pytest.mark.parametrize("map_type", (HASH, CGROUP_STORAGE, STACK_TRACE))
@pytest.mark.parametrize("every", (1, 2, 5))
def test_walk_over_a_changing_map(map_type: int, every: int) -> None:
    """Each stable key exactly once; no key twice."""
    order = list(range(40))
    if map_type != STACK_TRACE:
        random.Random(every).shuffle(order)
    keys = [u32(number) for number in order]
    stable = keys[::4]
    played = Played(map_type, 4, list(keys))

    def place(present: list[bytes]) -> int:
        # Where the kernel would keep it: buckets have their places.
        return sorted(present, key=keys.index).index(present[-1])

    # The storage of a cgroup, once gone, stays away.
    churned(played, stable, every, place, 0 if map_type == CGROUP_STORAGE else 0.4)
    seen = played.seen()
    assert len(seen) == len(set(seen))
    assert set(stable) <= set(seen)
    assert [key for key in seen if key in stable] == stable


@pytest.mark.parametrize("batches", (False, True))
@pytest.mark.parametrize("every", (1, 2, 3))
def test_trie_that_changes(batches: bool, every: int) -> None:
    """Longer prefixes come before what they belong to; the kernel starts over at a gap."""
    keys = [
        struct.pack("=I", length) + bytes((a, b))
        for a in range(6)
        for b, length in ((1, 16), (0, 8))
    ]
    keys.append(struct.pack("=I", 0) + b"\0\0")
    stable = keys[1::3]
    played = Played(LPM_TRIE, 6, list(keys), batches)
    churned(
        played, stable, every, lambda present: sorted(present, key=keys.index).index(present[-1])
    )
    seen = played.seen()
    assert len(seen) == len(set(seen))
    assert [key for key in seen if key in stable] == stable


def test_order_of_a_trie() -> None:
    played = Played(LPM_TRIE, 8, [])
    order = played._lpm_order()

    def key(length: int, *address: int) -> bytes:
        return struct.pack("=I", length) + bytes(address)

    keys = [
        key(32, 10, 0, 0, 1),
        key(24, 10, 0, 0, 77),  # what stands after the prefix says nothing
        key(9, 10, 128, 0, 0),
        key(8, 10, 0, 0, 0),
        key(32, 11, 0, 0, 0),
        key(0, 0, 0, 0, 0),
    ]
    assert sorted(keys, key=order) == keys
    assert len({order(each) for each in keys}) == len(keys)


def test_nothing_stable_ends_with_a_sentence() -> None:
    played = Played(HASH, 4, [u32(1), u32(2)])
    played._patience = lambda: 50  # type: ignore[method-assign]

    def meanwhile() -> None:
        # The key asked from is always gone.
        played.keys = [u32(1), u32(2)] if played.keys[0] != u32(1) else [u32(2), u32(1)]
        played.keys = [key for key in played.keys if key != bytes(played._key.data)] or [u32(3)]

    played.meanwhile = meanwhile
    with contextlib.suppress(BpfError):
        seen = played.seen()
        assert len(seen) == len(set(seen))
    assert played.questions < 1000


def test_errors_while_listing() -> None:
    played = Played(HASH, 4, [u32(number) for number in range(8)])
    played.fail = {2: errno.EINVAL}
    with pytest.raises(KernelError, match="cannot list the keys of map 5: Invalid argument"):
        played.seen()
    played = Played(STACK_TRACE, 4, [u32(number) for number in range(3)])
    played.fail = {2: errno.EOPNOTSUPP}
    batches = list(played.batches())
    assert [(batch.count, batch.values is None, batch.errno) for batch in batches] == [
        (1, True, errno.EOPNOTSUPP),
        (2, False, 0),
    ]


def test_slots_come_in_groups() -> None:
    played = Played(PROG_ARRAY, 4, [u32(number) for number in range(64)])
    errnos = [0, 0, errno.EIO, errno.EIO, errno.ENOENT, 0, errno.ENOENT, errno.EIO]
    values = [b"a", b"b", b"c"]
    found = list(played._grouped(10, errnos, values))
    assert [(batch.keys, batch.values, batch.count, batch.errno) for batch in found] == [
        (u32(10) + u32(11), b"ab", 2, 0),
        (u32(12) + u32(13), None, 2, errno.EIO),
        (u32(15), b"c", 1, 0),
        (u32(17), None, 1, errno.EIO),
    ]
    played = Played(DEVMAP, 4, [u32(number) for number in range(64)])
    assert [batch.errno for batch in played._grouped(0, [errno.ENOENT] * 3 + [0], values)] == [2, 0]


# --- the running kernel -------------------------------------------------------------------------


@contextlib.contextmanager
def opened(fd: load.Fd) -> Iterator[MapElements]:
    """Our view of a map that a test made."""
    kernel = LiveKernel()
    obj = kernel.open("map", load.object_id(fd, "map"))
    try:
        yield MapElements(kernel, obj)
    finally:
        kernel.close(obj)


@pytest.mark.live
@pytest.mark.parametrize("map_type", ("hash", "lru_hash", "percpu_hash", "array", "percpu_array"))
@pytest.mark.parametrize("count", (0, 1, 5000))
def test_all_elements(map_type: str, count: int) -> None:
    cpus = load.possible_cpus() if "percpu" in map_type else 1
    size = 8 * cpus
    entries = {u32(i): struct.pack("=Q", i * 3) * cpus for i in range(count)}
    with load.map_create(map_type, 4, 8, max(count, 1) * (4 if "lru" in map_type else 1)) as fd:
        if count:
            update_batch(fd, list(entries), list(entries.values()))
        with opened(fd) as elements:
            found = {}
            for batch in elements.batches():
                assert batch.values is not None
                for i in range(batch.count):
                    key = batch.keys[i * 4 : i * 4 + 4]
                    assert key not in found
                    found[key] = batch.values[i * size : (i + 1) * size]
        if map_type.endswith("array") and not count:
            entries = {u32(0): bytes(size)}
        assert found == entries


@pytest.mark.live
def test_without_batches_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on kernels before 5.6."""
    with load.map_create("hash", 4, 8, 600) as fd:
        for index in range(500):
            load.map_update(fd, u32(index), struct.pack("=Q", index))
        with opened(fd) as elements:
            with_batches = [(b.keys, b.values) for b in elements.batches()]
            monkeypatch.setattr(MapElements, "_lookup_batch", lambda *arguments: (-22, 0))
            one_by_one = [(b.keys, b.values) for b in elements.batches()]
    assert b"".join(k for k, _ in with_batches) == b"".join(k for k, _ in one_by_one)
    assert b"".join(v or b"" for _, v in with_batches) == b"".join(v or b"" for _, v in one_by_one)


@pytest.mark.live
def test_a_bucket_larger_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybpftool.kernel.elements._BATCH_ELEMENTS", 1)
    with load.map_create("hash", 4, 4, 300) as fd:
        for index in range(300):
            load.map_update(fd, u32(index), u32(index))
        with opened(fd) as elements:
            keys = b"".join(batch.keys for batch in elements.batches())
    assert sorted(keys[at : at + 4] for at in range(0, len(keys), 4)) == sorted(
        map(u32, range(300))
    )


@contextlib.contextmanager
def restless(fd: load.Fd, keys: list[bytes], size: int) -> Iterator[None]:
    """A process that updates and deletes keys as fast as it can."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            source = random.Random(1)
            while os.getppid() != 1:
                for key in source.sample(keys, len(keys) // 4):
                    with contextlib.suppress(OSError):
                        load.map_delete(fd, key)
                for key in source.sample(keys, len(keys) // 3):
                    with contextlib.suppress(OSError):
                        load.map_update(fd, key, bytes(size))
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def lpm_key(number: int) -> bytes:
    """Prefixes of three lengths, so that some contain others."""
    length = (32, 24, 28)[number % 3]
    return struct.pack("=I", length) + struct.pack(">I", number << 8 & 0xFFFFFF00 | 0x0A000000)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("batches", (True, False))
@pytest.mark.parametrize("map_type", ("hash", "lpm_trie"))
def test_dumps_of_a_map_under_fire(
    map_type: str, batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stable key missing, none twice, and every reading ends."""
    if not batches:
        monkeypatch.setattr(MapElements, "_lookup_batch", lambda *arguments: (-22, 0))
    make = u32 if map_type == "hash" else lpm_key
    key_size = len(make(0))
    stable = {make(number) for number in range(2000)}
    loose = [make(number) for number in range(2000, 6000)]
    seconds = float(os.environ.get("PYBPFTOOL_FIRE_SECONDS", "2"))
    with load.map_create(map_type, key_size, 8, 8000, flags=load.F_NO_PREALLOC) as fd:
        for key in stable:
            load.map_update(fd, key, b"stable!!")
        end = time.monotonic() + seconds
        readings = 0
        with restless(fd, loose, 8), opened(fd) as elements:
            while time.monotonic() < end or not readings:
                seen: list[bytes] = []
                for batch in elements.batches():
                    seen += [
                        batch.keys[at : at + key_size] for at in range(0, len(batch.keys), key_size)
                    ]
                assert len(seen) == len(set(seen))
                assert stable <= set(seen)
                readings += 1
        assert readings


@pytest.mark.live
def test_elements_are_questions_of_the_kernel() -> None:
    kernel = LiveKernel()
    with load.map_create("hash", 4, 8, 2) as fd:
        load.map_update(fd, u32(1), b"first123")
        obj = kernel.open("map", load.object_id(fd, "map"))
        try:
            assert kernel.lookup(obj, u32(1)) == b"first123"
            assert kernel.next_key(obj, None) == u32(1)
            with pytest.raises(KernelError) as end:
                kernel.next_key(obj, u32(1))
            assert end.value.errno == errno.ENOENT
            (batch,) = kernel.elements(obj)
            assert (batch.keys, batch.values, batch.count) == (u32(1), b"first123", 1)
            for bad in (b"", b"123", b"12345", None):
                with pytest.raises(BpfError, match="a key of map"):
                    kernel.lookup(obj, bad)
        finally:
            kernel.close(obj)


def test_index_order() -> None:
    assert int_order(u32(7)) == 7


@pytest.mark.live
@pytest.mark.parametrize("hides_errno", [False, True])
@pytest.mark.parametrize("map_type", ["prog_array", "devmap", "xskmap", "sockmap"])
def test_slots_are_those_of_lookups(
    map_type: str, hides_errno: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the thread that reads ahead as well, whose errno is another one."""
    if hides_errno:
        monkeypatch.setattr(elements, "errno_field", lambda: None)
    monkeypatch.setattr(elements, "_BATCH_ELEMENTS", 100)
    with contextlib.ExitStack() as stack:
        fd = stack.enter_context(load.map_create(map_type, 4, 4, 5000))
        if map_type in ("prog_array", "devmap"):
            program = stack.enter_context(load.prog_load("socket_filter", asm.ret(0)))
            value = u32(program.fd if map_type == "prog_array" else 1)
            for number in (*range(0, 5000, 7), *range(2000, 3000)):
                load.map_update(fd, u32(number), value)
        single = {}
        map = stack.enter_context(opened(fd))
        for number in range(5000):
            try:
                single[u32(number)] = map.lookup(u32(number)), 0
            except KernelError as error:
                if map_type != "prog_array":
                    single[u32(number)] = b"", error.errno
        found = {}
        for batch in ahead(map.batches()):
            size = len(batch.values or b"") // batch.count
            for at in range(batch.count):
                value = (batch.values or b"")[at * size : (at + 1) * size]
                found[batch.keys[at * 4 : at * 4 + 4]] = value, batch.errno
        assert found == single
