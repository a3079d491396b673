"""Names of programs' functions from the kernel itself, beside those of /proc/kallsyms."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import function_names as module
from pybpftool.kernel import own_programs, syscall
from pybpftool.kernel.function_names import function_names
from pybpftool.kernel.live import LiveKernel
from tests.support import asm, load
from tests.support.cli import run
from tests.support.descriptors import descriptors


def listed() -> dict[int, str]:
    """Functions of programs in kallsyms."""
    lines = LiveKernel().file("/proc/kallsyms").decode().splitlines()
    rows = [line.split() for line in lines if " bpf_prog_" in line]
    return {int(row[0], 16): row[2] for row in rows if re.match("bpf_prog_[0-9a-f]{16}", row[2])}


def names_of(addresses: list[int]) -> dict[int, str] | None:
    told = function_names(addresses)
    return None if told is None else told.names


@pytest.fixture
def loaded() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in ("", "named", "other_name"):
            stack.enter_context(load.prog_load("socket_filter", asm.ret(0), name=name))
        yield


@pytest.mark.live
@pytest.mark.usefixtures("loaded")
class TestLive:
    def test_names_are_those_of_kallsyms(self) -> None:
        if function_names([]) is None:
            pytest.skip("this kernel tells no names of functions, or does not let us ask")
        for _ in range(20):
            before = listed()
            found = names_of([*before])
            # Others load and unload theirs meanwhile.
            if listed() == before:
                break
        assert found == before
        assert {name.partition("_")[2][21:] for name in before.values()} >= {"", "_named"}

    @pytest.mark.parametrize("most", [1, 2, 3, 100])
    def test_any_number_at_a_time(self, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        places = [*listed()][-3:]
        once = names_of(places)
        monkeypatch.setattr(module, "_MOST", most)
        assert names_of(places) == once
        if once is not None:
            assert set(once) <= {*places}

    def test_only_where_a_function_of_a_program_begins(self) -> None:
        place = max(listed())
        kernel = next(
            int(line.split()[0], 16)
            for line in LiveKernel().file("/proc/kallsyms").decode().splitlines()
            if line.endswith(" bpf_prog_load")
        )
        told = function_names([0, 1, place + 1, kernel, kernel + 1, (1 << 64) - 1])
        if told is not None:
            assert told.names == {place + 1: "", kernel + 1: ""}
            assert told.others == [kernel]

    def test_nothing_of_it_is_left(self) -> None:
        before = descriptors()
        for _ in range(3):
            function_names([*listed()])
        assert descriptors() == before

    def test_none_is_loaded_against_the_users_will(self, monkeypatch: pytest.MonkeyPatch) -> None:
        words = ["prog", "dump", "xlated", "name", "named"]
        usual = [run(*words), run("prog", "dump", "jited", *words[3:])]
        loads = []

        def refused(*_: object) -> None:
            loads.append(1)
            raise own_programs.Refused

        monkeypatch.setattr(module, "loaded", refused)
        without = [run("--no-iter", *words), run("--no-iter", "prog", "dump", "jited", *words[3:])]
        assert [answer.out for answer in without] == [answer.out for answer in usual]
        assert not loads
        # Where it is refused, kallsyms is asked.
        assert run("prog", "dump", "jited", *words[3:]).out == usual[1].out
        assert bool(loads) == (function_names([]) is not None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bpf_jit_kallsyms", b"0\n"),
        ("bpf_jit_kallsyms", b""),
        ("bpf_jit_harden", b"1\n"),
        ("bpf_jit_harden", b"2\n"),
        ("kptr_restrict", b"2\n"),
        ("kptr_restrict", b"01\n"),
        ("bpf_jit_harden", None),
        ("capabilities", 0x1FF_FFFF_FFFF & ~(1 << 34)),
        ("capabilities", None),
    ],
)
def test_kallsyms_shows_less(
    path: str, value: bytes | int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, bytes | int | None] = {
        "bpf_jit_kallsyms": b"1\n",
        "bpf_jit_harden": b"0\n",
        "kptr_restrict": b"1\n",
        "capabilities": 1 << 34,
    }

    def contents(asked: str) -> Any:
        found = answers[asked.rpartition("/")[2]]
        if found is None:
            raise PermissionError
        return found

    def capabilities() -> Any:
        if answers["capabilities"] is None:
            raise KernelError("not permitted", 1)
        return answers["capabilities"]

    monkeypatch.setattr(module, "contents", contents)
    monkeypatch.setattr(syscall, "effective_capabilities", capabilities)
    assert module.are_shown()
    answers[path] = value
    assert not module.are_shown()
    assert function_names([1]) is None


def test_a_symbol_is_a_programs() -> None:
    for name in ("bpf_prog_0123456789abcdef", "bpf_prog_0123456789abcdef_name"):
        assert module._is_program(name)
    for name in ("bpf_prog_load", "bpf_prog_0123456789abcde", "bpf_prog_0123456789ABCDEF", ""):
        assert not module._is_program(name)
