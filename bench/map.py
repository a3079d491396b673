"""Workloads of ``map show`` and ``map dump``."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

from bench.run import Workload
from tests.support import corpus, load
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.map_corpus import update_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Setup = Callable[[], AbstractContextManager[Sequence[str] | None]]

MAPS = 5000
LARGE = 1_000_000
TYPED = 200_000
PER_CPU = 10_000


def listed(words: Sequence[str]) -> Setup:
    """5,000 maps."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with contextlib.ExitStack() as stack:
            corpus.many_maps(stack, MAPS)
            yield words

    return setup


def _dumping(mode: str, fd: load.Fd) -> list[str]:
    return [*mode.split(), "map", "dump", "id", str(load.object_id(fd, "map"))]


def large(mode: str) -> Setup:
    """A hash of 1,000,000 elements, 8 bytes to 64 bytes."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with load.map_create("hash", 8, 64, LARGE, name="large") as fd:
            for start in range(0, LARGE, 1 << 16):
                numbers = range(start, min(start + (1 << 16), LARGE))
                keys = [number.to_bytes(8, "little") for number in numbers]
                update_batch(fd, keys, [key * 8 for key in keys])
            yield _dumping(mode, fd)

    return setup


def typed(mode: str) -> Setup:
    """A hash of 200,000 elements with BTF for keys and values."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        btf = BtfBuilder()
        number = btf.add_int("int", 4, SIGNED)
        wide = btf.add_int("unsigned long long", 8)
        char = btf.add_int("char", 1, SIGNED)
        name = btf.add_array(char, number, 16)
        key = btf.add_struct("flow", 8, [("pid", number, 0), ("cpu", number, 32)])
        value = btf.add_struct(
            "stats",
            48,
            [
                ("count", wide, 0),
                ("bytes", wide, 64),
                ("flags", number, 128),
                ("state", number, 160),
                ("comm", name, 192),
                ("last", wide, 320),
            ],
        )
        with contextlib.ExitStack() as stack:
            description = stack.enter_context(load.btf_load(btf.build()))
            fd = stack.enter_context(
                load.map_create(
                    "hash",
                    8,
                    48,
                    TYPED,
                    name="typed",
                    btf=description,
                    btf_key=key,
                    btf_value=value,
                )
            )
            numbers = range(TYPED)
            update_batch(
                fd,
                [struct.pack("=ii", n, n % 7) for n in numbers],
                [
                    struct.pack("=QQii16sQ", n, n * 1500, n & 7, -n, b"proc%d" % n, n << 20)
                    for n in numbers
                ],
            )
            yield _dumping(mode, fd)

    return setup


def per_cpu(mode: str) -> Setup:
    """A per-CPU array of 10,000 elements."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with load.map_create("percpu_array", 4, 8, PER_CPU, name="per_cpu") as fd:
            yield _dumping(mode, fd)

    return setup


WORKLOADS = (
    Workload("map show, 5,000 maps", (), 0.45, listed(["map", "show"])),
    Workload("map show, 5,000 maps -j", (), 0.45, listed(["-j", "map", "show"])),
    Workload("map dump, 1,000,000 elements", (), 0.2, large("")),
    Workload("map dump, 1,000,000 elements -j", (), 0.2, large("-j")),
    Workload("map dump, 200,000 with BTF", (), 0.4, typed("")),
    Workload("map dump, 200,000 with BTF -j", (), 0.6, typed("-j")),
    Workload("map dump, per-CPU array of 10,000", (), 0.5, per_cpu("")),
    Workload("map dump, per-CPU array of 10,000 -j", (), 0.5, per_cpu("-j")),
)
