"""Names of the kernel's own symbols by a walk over them, beside those of /proc/kallsyms."""

from __future__ import annotations

import posix
import random
import re
from collections import Counter
from struct import Struct
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import function_names as asking
from pybpftool.kernel import symbol_iter as module
from pybpftool.kernel.live import LiveKernel
from pybpftool.kernel.own_programs import Programs, Refused
from pybpftool.kernel.symbol_iter import kernel_names, symbol_address
from tests.support import asm, load
from tests.support.cli import run
from tests.support.descriptors import descriptors


def listed() -> list[tuple[int, str]]:
    """The kernel's own symbols in kallsyms, in its order."""
    lines = LiveKernel().file("/proc/kallsyms").decode().splitlines()
    rows = [line.split() for line in lines if "[" not in line]
    return [(int(row[0], 16), row[2]) for row in rows if not re.match("bpf_prog_[0-9a-f]", row[2])]


@pytest.fixture(scope="module")
def symbols() -> list[tuple[int, str]]:
    found = listed()
    base = next(address for address, name in found if name == "__bpf_call_base")
    if not kernel_names([base]):
        pytest.skip("this kernel has no iterator over its symbols, or does not let us use it")
    return found


@pytest.mark.live
class TestLive:
    def test_names_are_those_of_kallsyms(self, symbols: list[tuple[int, str]]) -> None:
        counts = Counter(address for address, _ in symbols)
        single = [row for row in symbols if counts[row[0]] == 1 and row[0]]
        some = dict(random.Random(7).sample(single, 300))
        last = single[len(single) // 2 :][:2]
        assert kernel_names([*some]) == some
        assert kernel_names([address for address, _ in last]) == dict(last)
        several = [address for address, count in counts.items() if count > 1 and address]
        assert several
        # Which of their names is meant takes all of the list.
        assert kernel_names([*several[:40], *some]) == some

    def test_only_where_a_symbol_begins(self, symbols: list[tuple[int, str]]) -> None:
        places = {address for address, _ in symbols}
        first = next(address for address, name in symbols if name == "__bpf_call_base")
        between = next(at for at in range(first, first + 4096) if at not in places)
        assert kernel_names([between, first, (1 << 64) - 1]) == {first: "__bpf_call_base"}
        assert not kernel_names([between])

    def test_addresses_by_name(self, symbols: list[tuple[int, str]]) -> None:
        counts = Counter(name for _, name in symbols)
        for name in ("__bpf_call_base", "bpf_map_lookup_elem", "bpf_prog_load"):
            assert counts[name] == 1
            assert (symbol_address(name), name) in symbols
        assert symbol_address("no symbol has this name") == 0

    def test_long_names_are_left_out(
        self, symbols: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = symbol_address("__bpf_call_base")
        for size in (24, 16):
            monkeypatch.setattr(module, "_NAME", size)
            monkeypatch.setattr(module, "_ROW", Struct(f"=QB7x{size}s"))
            monkeypatch.setattr(module, "_VALUE", 8 + 16 + size)
            # Of the name and its end there are 16 bytes, so that it may have been cut.
            assert kernel_names([place]) == ({place: "__bpf_call_base"} if size == 24 else {})

    def test_nothing_of_it_is_left(self, symbols: list[tuple[int, str]]) -> None:
        before = descriptors()
        for _ in range(3):
            kernel_names([symbols[-1][0]])
            symbol_address("__bpf_call_base")
        assert descriptors() == before

    def test_what_the_kernel_refuses(
        self, symbols: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object) -> Any:
            raise Refused

        def broken(*_: object) -> Any:
            raise OSError(5, "Input/output error")

        before = descriptors()
        place = symbol_address("__bpf_call_base")
        for owner, name, answer in (
            (Programs, "opened", refused),
            (module, "element", refused),
            (posix, "read", broken),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, answer)
                assert kernel_names([place]) == {}
        assert kernel_names([place])
        monkeypatch.setattr(module, "loaded", refused)
        assert symbol_address("__bpf_call_base") == 0
        assert descriptors() == before


@pytest.mark.live
def test_dumps_are_the_same_by_kallsyms(monkeypatch: pytest.MonkeyPatch) -> None:
    code = asm.call(7) + asm.call(5) + asm.ret(0)
    with load.prog_load("socket_filter", code, name="calls"):
        dumps = [["prog", "dump", kind, "name", "calls"] for kind in ("xlated", "jited")]
        usual = [run(*words).out for words in dumps]
        assert b"bpf_ktime_get_ns" in usual[0]
        reads = []
        stream = LiveKernel.stream

        def counted(kernel: LiveKernel, path: str) -> Any:
            read = stream(kernel, path)

            def counting(size: int) -> bytes:
                reads.append(path)
                return read(size)

            return counting

        monkeypatch.setattr(LiveKernel, "stream", counted)
        assert [run(*words).out for words in dumps] == usual
        can_walk = bool(kernel_names([symbol_address("__bpf_call_base")]))
        assert bool(reads) != can_walk
        reads.clear()
        assert [run("--no-iter", *words).out for words in dumps] == usual
        assert reads


def test_nothing_is_asked_where_addresses_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def contents(path: str) -> bytes:
        raise KernelError("not there", 2)

    monkeypatch.setattr(asking, "contents", contents)
    assert kernel_names([1]) == {}
    assert symbol_address("_text") == 0
    assert kernel_names([]) == {}
