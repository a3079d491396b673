"""Records of the kernel about programs that come and go."""

from __future__ import annotations

import mmap
import struct

from pybpftool.kernel.bpf_events import CommEvent, LostEvents, ProgEvent, _Ring


def record(type: int, body: bytes, pid: int = 7, time_ns: int = 99) -> bytes:
    body += bytes(-len(body) % 8) + struct.pack("=IIQ", pid, pid + 1, time_ns)
    return struct.pack("=IHH", type, 0, 8 + len(body)) + body


def ksymbol(name: bytes) -> bytes:
    return record(17, struct.pack("=QIHH", 1 << 63, 64, 1, 0) + name + b"\0")


def event(kind: int, id: int = 5, time_ns: int = 99) -> bytes:
    return record(18, struct.pack("=HHI8s", kind, 0, id, bytes(range(8))), time_ns=time_ns)


class Ring(_Ring):
    """A ring that a test fills; it begins at ``at``, so that records go around its end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.cpu = 3
        self._symbols = []
        size = 4096
        area = bytearray(size)
        for index, byte in enumerate(data):
            area[(at + index) % size] = byte
        words = bytearray(mmap.PAGESIZE)
        struct.pack_into("=QQ", words, 1024, at + len(data), at)
        self._words = memoryview(words).cast("Q")
        self._data = memoryview(area)
        self._mask = size - 1


def test_loads_with_their_names() -> None:
    tag = bytes(range(8)).hex()
    data = (
        ksymbol(b"bpf_prog_0011223344556677_main_prog")
        + ksymbol(b"bpf_prog_8899aabbccddeeff_sub")
        + ksymbol(b"bpf_trampoline_123")
        + event(1)
        + event(2, 6)
        + event(9, 7)
    )
    for at in (0, 4000, 4090):
        ring = Ring(data, at)
        assert list(ring.events()) == [
            ProgEvent(99, True, 5, tag, ("main_prog", "sub"), 7, 8),
            ProgEvent(99, False, 6, tag, (), 7, 8),
        ]
        assert list(ring.events()) == []  # their room is the kernel's again


def test_a_symbol_may_come_long_before_its_program() -> None:
    ring = Ring(ksymbol(b"bpf_prog_0011223344556677"))
    assert list(ring.events()) == []
    ring = Ring(ksymbol(b"bpf_prog_0011223344556677") + event(1))
    (found,) = ring.events()
    assert isinstance(found, ProgEvent) and found.symbols == ()  # it has no name


def test_lost_records_and_names_of_tasks() -> None:
    data = (
        record(2, struct.pack("=QQ", 1, 42))
        + record(13, struct.pack("=Q", 8))
        + record(3, struct.pack("=II", 100, 101) + b"agent\xff\0")
        + record(77, b"what is this")
    )
    assert list(Ring(data).events()) == [
        LostEvents(99, 3, 42),
        LostEvents(99, 3, 8),
        CommEvent(99, 100, 101, "agent\udcff"),
    ]


def test_damaged_rings_end() -> None:
    assert list(Ring(struct.pack("=IHH", 18, 0, 3) + bytes(64)).events()) == []
    (found,) = Ring(struct.pack("=IHH", 18, 0, 8) + event(2)).events()
    assert isinstance(found, ProgEvent) and found.id == 5
