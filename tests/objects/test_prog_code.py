"""Programs' code as a library reads it: sentences on what is withheld, one reading of symbols."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pybpftool.errors import BpfError
from pybpftool.objects.kernel_symbols import AskedSymbols
from pybpftool.objects.prog import ProgramReader
from pybpftool.objects.prog_code import CodeReader
from tests.support import asm
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described, add_prog

CODE = asm.assemble([asm.mov64(asm.R0, 7), asm.exit_()])


def reader(kernel: FakeKernel, said: list[str] | None = None) -> CodeReader:
    programs = ProgramReader(kernel)
    return (
        CodeReader(kernel, programs) if said is None else CodeReader(kernel, programs, said.append)
    )


def test_instructions_with_what_explains_them() -> None:
    kernel = FakeKernel()
    add_described(kernel, 5)
    code = reader(kernel).xlated(kernel.open("prog", 5))
    assert [slot for slot, _ in code.functions()] == [0, 2]
    assert [proto for _, proto in code.prototypes(code.image())] == [
        "int first(int x)",
        "int second(int x)",
    ]


def test_what_is_withheld_says_why() -> None:
    kernel = FakeKernel()
    add_prog(kernel, 1, CODE)
    kernel.arrays[1]["xlated"] = None
    kernel.files["/proc/sys/kernel/kptr_restrict"] = b"2\n"
    obj = kernel.open("prog", 1)
    with pytest.raises(BpfError, match=r"kernel\.kptr_restrict \(2\)"):
        reader(kernel).xlated(obj)
    with pytest.raises(BpfError, match="it is not compiled"):
        reader(kernel).jited(obj)


def test_hidden_symbols_are_said_once() -> None:
    kernel = FakeKernel()
    add_prog(kernel, 1, asm.assemble([asm.insn(0x85), asm.exit_()]), nr_jited_ksyms=1)
    kernel.arrays[1]["jited_ksyms"] = None
    kernel.files["/proc/kallsyms"] = (
        b"0000000000000000 T _text\n0000000000000000 T __bpf_call_base\n"
    )
    kernel.files["/proc/sys/kernel/kptr_restrict"] = b"1\n"
    said: list[str] = []
    code = reader(kernel, said)
    for _ in range(2):
        code.xlated(kernel.open("prog", 1))
    assert said == [
        "Functions are shown without their names: the sysctl kernel.kptr_restrict (1) hides the"
        " kernel's addresses"
    ]
    silent = reader(kernel)  # nobody listens
    assert silent.symbols() is not None


def test_symbols_that_cannot_be_read() -> None:
    kernel = FakeKernel()
    said: list[str] = []
    assert reader(kernel, said).symbols() is None
    assert len(said) == 1 and said[0].startswith("Functions are shown without their names: ")


def test_jump_tables_only_where_there_are_such_jumps() -> None:
    kernel = FakeKernel()
    add_prog(kernel, 1, CODE)
    obj = kernel.open("prog", 1)
    code = reader(kernel)
    assert code.jump_tables(obj, code.xlated(obj)) == {}


def test_symbols_are_asked_for_once_and_walked_for_twice() -> None:
    asked: list[tuple[list[int], bool]] = []

    class Asked(FakeKernel):
        def symbol_names(self, addresses: Sequence[int], may_walk: bool) -> dict[int, str] | None:
            asked.append((sorted(addresses), may_walk))
            return {at: f"f{at}" for at in addresses if at < 100}

        def symbol_address(self, name: str) -> int:
            return len(name)

    symbols = AskedSymbols(Asked())
    assert symbols.names([1, 2]) == symbols.names({2, 1}) == {1: "f1", 2: "f2"}
    assert symbols.names([2, 3]) == {2: "f2", 3: "f3"}
    assert symbols.names([4]) == {4: "f4"}
    assert asked == [([1, 2], True), ([3], True), ([4], False)]
    # Where the list must be read for one, no walk is worth it any more.
    asked.clear()
    symbols = AskedSymbols(Asked())
    assert symbols.names([1, 100]) == {1: "f1"}
    assert symbols.names([100, 5]) == {5: "f5"}
    assert asked == [([1, 100], True), ([5, 100], False)]
    assert symbols.address("four") == 4
