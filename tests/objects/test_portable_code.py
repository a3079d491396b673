"""Instructions without what differs from load to load: equal sources give equal texts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest

from pybpftool.objects.kernel_symbols import SymbolSource
from pybpftool.objects.portable_code import PortableReader, masked
from pybpftool.objects.prog import ProgramReader
from tests.support import asm
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described, add_prog

BASE = 0xFFFFFFFF81000000
SYMBOLS = (
    b"ffffffff81000000 T __bpf_call_base\nffffffff81001000 T bpf_trace_printk\n"
    b"ffffffff81002000 T bpf_kfunc_one\nffffffff81003000 D bpf_stats_enabled_key\n"
)


def load(source: int, number: int) -> bytes:
    """``r1 = …`` of a PSEUDO_… kind, a number of 64 bits."""
    low, high = struct.unpack("<ii", struct.pack("<Q", number))
    return asm.insn(0x18, 1, source, 0, low) + asm.insn(0, 0, 0, 0, high)


def reader(kernel: FakeKernel) -> PortableReader:
    return PortableReader(kernel, ProgramReader(kernel), SymbolSource(kernel))


def texts(kernel: FakeKernel, id: int, name: str = "flows") -> list[str]:
    lines = reader(kernel).lines(kernel.all["prog"][id], lambda map: f"{name}")
    assert lines is not None
    return [line.text for line in lines]


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.files["/proc/kallsyms"] = SYMBOLS
    return kernel


@pytest.mark.parametrize("source", [1, 2])
def test_maps_have_names(kernel: FakeKernel, source: int) -> None:
    for id, map in ((1, 7), (2, 1234)):
        add_prog(kernel, id, load(source, map) + asm.exit_())
    assert texts(kernel, 1) == texts(kernel, 2)
    assert "map[flows]" in texts(kernel, 1)[0]
    assert texts(kernel, 1) != texts(kernel, 1, "drops")


def test_helpers_kfuncs_and_variables_have_names(kernel: FakeKernel) -> None:
    code = asm.insn(0x85, 0, 0, 0, 0x1000) + asm.insn(0x85, 0, 2, 0, 0x2000)
    add_prog(kernel, 1, code + load(0, BASE + 0x3000) + asm.exit_())
    call, kfunc, variable, _ = texts(kernel, 1)
    assert call.endswith("call bpf_trace_printk")
    assert kfunc.endswith("call bpf_kfunc_one")
    assert variable.endswith("r1 = bpf_stats_enabled_key")
    obj = kernel.all["prog"][1]
    assert reader(kernel).calls(obj) == {"bpf_trace_printk", "bpf_kfunc_one"}


def test_variables_of_kernels_without_the_upper_half_of_addresses(kernel: FakeKernel) -> None:
    kernel.machine = "s390x"
    kernel.files["/proc/kallsyms"] = b"000003ffe0001000 D jiffies\n0000000000001234 A lowcore\n"
    add_prog(kernel, 1, load(0, 0x3FFE0001000) + load(0, 0x1234) + asm.exit_())
    variable, constant, _ = texts(kernel, 1)
    assert variable.endswith("r1 = jiffies")
    assert constant.endswith("0x1234")


def test_a_constant_of_user_space_stays(kernel: FakeKernel) -> None:
    add_prog(kernel, 1, load(0, 0x1234) + asm.exit_())
    assert texts(kernel, 1)[0].endswith("0x1234")


def test_lines_and_jumps(kernel: FakeKernel) -> None:
    add_described(kernel, 1)
    lines = reader(kernel).lines(kernel.all["prog"][1], str)
    assert lines is not None
    assert [line.source for line in lines if line.source] == ["return x + 1;", "return x + 1;"]
    assert lines[2].place == "dir/a.c:12"
    add_prog(kernel, 2, asm.insn(0x15, 1, 0, 1, 5) + asm.mov64(asm.R0, 1) + asm.exit_())
    jump = reader(kernel).lines(kernel.all["prog"][2], str)
    assert jump is not None
    assert (jump[0].target, jump[0].without_target()) == (2, "(15) if r1 == 0x5 goto ")
    assert jump[1].target is None and jump[1].without_target() == jump[1].text


def test_what_the_kernel_withholds(kernel: FakeKernel) -> None:
    add_prog(kernel, 1, b"")
    add_prog(kernel, 2, asm.exit_())
    kernel.arrays[2]["refused"] = None
    for id in (1, 2):
        obj = kernel.all["prog"][id]
        assert reader(kernel).lines(obj, str) is None
        assert reader(kernel).calls(obj) is None
        assert reader(kernel).raw(obj) is None


def test_hidden_addresses_hide_what_is_called(kernel: FakeKernel) -> None:
    add_prog(kernel, 1, asm.insn(0x85, 0, 0, 0, 0x1000) + asm.exit_())
    obj = kernel.all["prog"][1]
    assert reader(kernel).calls(obj) == {"bpf_trace_printk"}
    kernel.files["/proc/kallsyms"] = SYMBOLS.replace(b"ffffffff8100", b"000000000000")
    assert reader(kernel).calls(obj) is None
    del kernel.files["/proc/kallsyms"]
    assert reader(kernel).calls(obj) is None


def test_symbols_may_be_told_without_their_list() -> None:
    class Telling(FakeKernel):
        def symbol_names(self, addresses: Sequence[int], may_walk: bool) -> dict[int, str] | None:
            return {address: f"f{address - BASE:x}" for address in addresses}

        def symbol_address(self, name: str) -> int:
            return BASE

        def stream(self, path: str) -> Callable[[int], bytes]:
            return lambda size: pytest.fail("the list is read")

    kernel = Telling()
    code = asm.insn(0x85, 0, 0, 0, 0x1000) + asm.insn(0x85, 0, 2, 0, 0x2000)
    add_prog(kernel, 1, code + load(0, BASE + 0x3000) + asm.exit_())
    assert reader(kernel).calls(kernel.all["prog"][1]) == {"f1000", "f2000"}
    assert texts(kernel, 1)[2].endswith("r1 = f3000")


@pytest.mark.parametrize("order", ["<", ">"])
def test_masked(order: str) -> None:
    def ldimm64(source: int, imm: int) -> bytes:
        registers = 1 | source << 4 if order == "<" else 1 << 4 | source
        return struct.pack(f"{order}BBhi8x", 0x18, registers, 0, imm)

    rest = struct.pack(f"{order}BBhi", 0x95, 0, 0, 0)
    code = ldimm64(1, 7) + ldimm64(0, 7) + ldimm64(2, 9) + rest
    keys = {7: 0xAAAAAAAA, 9: 0xBBBBBBBB}
    found = masked(code, order, keys.__getitem__)
    numbers = [struct.unpack_from(f"{order}I", found, at)[0] for at in (4, 20, 36)]
    assert numbers == [0xAAAAAAAA, 7, 0xBBBBBBBB]
    assert masked(rest, order, keys.__getitem__) == rest
