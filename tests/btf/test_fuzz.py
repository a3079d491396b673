"""Malformed BTF and ELF: nothing but clean errors, in bounded time, memory and recursion."""

from __future__ import annotations

import io
import random
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybpftool.btf import builders, load, proto, rawdump, values
from pybpftool.btf.c import dump as cdump
from pybpftool.btf.merge import merge
from pybpftool.btf.relocate import relocate
from pybpftool.btf.table import Btf
from pybpftool.elf import sections as elf
from pybpftool.errors import BpfError
from tests.support.elffile import object_file

FIXTURES = Path(__file__).parents[2] / "fixtures" / "btf"
BLOBS = [path.read_bytes() for path in sorted(FIXTURES.glob("*.btf"))]
# Numbers that break arithmetic more often than others do.
INTERESTING = (0, 1, 2, 3, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0)
INFOS = [kind << 24 | vlen for kind in range(22) for vlen in (0, 1, 2, 7, 0xFFFF)]


def mutate(blob: bytes, rng: random.Random) -> bytes:
    """One of several kinds of damage, or two of them."""
    data = bytearray(blob)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if len(data) < 40:
            break
        kind = rng.randrange(9)
        at = rng.randrange(len(data) // 4) * 4
        if kind == 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 4] = struct.pack("<I", rng.choice(INTERESTING))
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", rng.randrange(300))
        elif kind == 3:
            data[at : at + 4] = struct.pack("<I", rng.choice(INFOS) | rng.randrange(2) << 31)
        elif kind == 4:
            del data[rng.randrange(len(data)) :]
        elif kind == 5:
            data[rng.randrange(4, 32)] = rng.randrange(256)
        elif kind == 6:
            del data[at : at + 4 * rng.randrange(8)]
        elif kind == 7:
            data[at:at] = data[at : at + 4 * rng.randrange(8)]
        else:
            data[rng.randrange(len(data))] = rng.choice((0, 0x1B, 0x22, 0x5C, 0x80, 0xC3, 0xFF))
    return bytes(data)


def attempt(action: Callable[[], object]) -> None:
    """Run something that may fail in one way only."""
    try:
        action()
    except BpfError as error:
        assert "\n" not in str(error)
        assert str(error)


def drain(parts: Iterator[str]) -> None:
    for part in parts:
        part.encode("utf-8", "surrogateescape")


def exercise(btf: Btf, rng: random.Random) -> None:
    """Everything that commands do with BTF."""
    attempt(lambda: drain(rawdump.text_blocks(btf)))
    attempt(lambda: drain(rawdump.json_blocks(btf, (), rng.choice((None, 2)))))
    attempt(lambda: drain(cdump.blocks(btf, (), rng.random() < 0.5)))
    ids = [rng.randrange(btf.count) for _ in range(4)]
    for type_id in ids:
        attempt(lambda type_id=type_id: cdump.definition(btf, type_id))  # type: ignore[misc]
        attempt(lambda type_id=type_id: btf.find(btf.name(type_id)))  # type: ignore[misc]
        attempt(lambda type_id=type_id: btf.resolve(type_id))  # type: ignore[misc]
        proto.prototype(btf, type_id)
        data = rng.randbytes(64)
        for compiled in (values.compile_text, values.compile_json, builders.compile_python):
            attempt(lambda c=compiled, t=type_id, d=data: c(btf, t)(d, 0))  # type: ignore[misc]


def run(seed: int) -> None:
    rng = random.Random(seed)
    blob = mutate(rng.choice(BLOBS), rng)
    base = Btf.from_bytes(rng.choice(BLOBS)) if rng.random() < 0.2 else None
    try:
        btf = Btf.from_bytes(blob, base, is_trusted=rng.random() < 0.3)
        assert btf.count
    except BpfError:
        return
    exercise(btf, rng)
    if base is not None:
        other = Btf.from_bytes(mutate(rng.choice(BLOBS), random.Random(1)), base, True)
        attempt(lambda: exercise(merge([("a", btf), ("b", other)], base), rng))
        attempt(lambda: relocate(btf, base, BASE))


BASE = Btf.from_bytes(BLOBS[0])


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Fail with MemoryError where more than 1 GiB is asked for."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("bounded_memory")
def test_some_mutations() -> None:
    for seed in range(300):
        run(seed)


@pytest.mark.slow
@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("batch", range(20))
def test_many_mutations(batch: int) -> None:
    for seed in range(1000 + batch * 1000, 2000 + batch * 1000):
        started = time.process_time()
        try:
            run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        assert time.process_time() - started < 10, f"seed {seed} took too long"


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("is_64", [True, False])
def test_elf_mutations(tmp_path: Path, order: str, is_64: bool) -> None:
    whole = object_file({".BTF": BLOBS[0], ".BTF.ext": b"x" * 40}, order=order, is_64=is_64)
    path = tmp_path / "object"
    rng = random.Random(7)
    for _ in range(300):
        path.write_bytes(mutate(whole, rng))
        attempt(lambda: load.from_file(str(path)))


@pytest.mark.usefixtures("bounded_memory")
def test_truncation_at_every_byte() -> None:
    blob = min(BLOBS, key=len)
    for size in range(len(blob)):
        with pytest.raises(BpfError):
            Btf.from_bytes(blob[:size])


@pytest.mark.usefixtures("bounded_memory")
def test_pyelftools_mutations(tmp_path: Path) -> None:
    whole = object_file({".BTF": BLOBS[0]}, compressed=True)
    rng = random.Random(9)
    path = tmp_path / "object"
    for _ in range(200):
        path.write_bytes(mutate(whole, rng))
        attempt(lambda: load.from_file(str(path)))


def test_sections_reads_only_regular_sections() -> None:
    with pytest.raises((BpfError, io.UnsupportedOperation)):
        elf.sections(io.BytesIO(b"nothing"), (".BTF",))
