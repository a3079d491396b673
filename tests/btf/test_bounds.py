"""Deep and vast types: work and memory that grow no faster than the file does."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.btfbuild import BtfBuilder

DEEP = 16000
CPU_SECONDS, MEMORY = 10, 1 << 30


def chain(add: Callable[[BtfBuilder, int, int], int], is_late: bool = False) -> bytes:
    """Types each of which refers to the one before it, or after it."""
    b = BtfBuilder()
    target = integer = b.add_int("int", 4)
    for number in range(DEEP):
        target = add(b, b.next_id + 1 if is_late else target, number)
    if is_late:
        b.add_int("last", 4)
    else:
        b.add_struct("holder", 4, [("m", target, 0)])
    assert integer == 1
    return b.build()


def typedef(b: BtfBuilder, target: int, number: int) -> int:
    return b.add_typedef(f"t{number}", target)


def array(b: BtfBuilder, target: int, number: int) -> int:
    return b.add_array(target, 1, 1)


def struct(b: BtfBuilder, target: int, number: int) -> int:
    return b.add_struct(f"s{number}", 4, [("m", target, 0)])


def nameless(b: BtfBuilder, target: int, number: int) -> int:
    return b.add_struct("", 4, [("m", target, 0)])


def function(b: BtfBuilder, target: int, number: int) -> int:
    return b.add_func_proto(target, [("a", target)])


def doubling() -> bytes:
    b = BtfBuilder()
    target = b.add_int("int", 4)
    for _ in range(40):
        target = b.add_struct("", 8, [("a", target, 0), ("b", target, 32)])
    b.add_struct("holder", 8, [("m", target, 0)])
    return b.build()


def far_apart() -> bytes:
    """Members beyond their struct: 40 gaps of 32 MB each in half a kilobyte."""
    b = BtfBuilder()
    integer = b.add_int("int", 4)
    members = [("a", integer, (index % 2) << 28) for index in range(40)]
    b.add_struct("s", 64, members)
    b.add_struct("t", 64, [("a", integer, index << 22) for index in range(400)])
    return b.build()


def circle() -> bytes:
    """Structs without names that meet each other again and again before they end in a circle."""
    b = BtfBuilder()
    for number in range(60):
        later = [number + 2 + step for step in range(4) if number + 2 + step <= 60] or [1]
        b.add_struct("", 8, [(f"m{index}", type_id, 0) for index, type_id in enumerate(later)])
    return b.build()


CASES = {
    "typedefs": chain(typedef),
    "typedefs of later ones": chain(typedef, True),
    "arrays": chain(array),
    "structs": chain(struct),
    "structs of later ones": chain(struct, True),
    "structs without names": chain(nameless),
    "functions": chain(function),
    "doubling": doubling(),
    "far apart": far_apart(),
    "circle": circle(),
}
FORMS: tuple[list[str], ...] = (["-j"], [], ["format", "c"], ["format", "c", "unsorted"])


@pytest.mark.parametrize("name", CASES)
def test_dumps(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.btf"
    path.write_bytes(CASES[name])

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    for words in FORMS:
        options = [word for word in words if word == "-j"]
        rest = [word for word in words if word != "-j"]
        command = [sys.executable, "-m", "pybpftool", *options, "btf", "dump", "file"]
        command += [str(path), *rest]
        done = subprocess.run(command, check=False, capture_output=True, preexec_fn=limit)
        assert done.returncode in (0, 255), (words, done.stderr[-300:])
        assert b"Traceback" not in done.stderr and b"mistake in pybpftool" not in done.stderr
        assert b"enough memory" not in done.stdout + done.stderr, words
        assert len(done.stderr.splitlines()) <= 1, words
