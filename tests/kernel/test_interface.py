"""Layouts of the kernel's structs, arrays of numbers, the abstract kernel."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.errors import BpfError
from pybpftool.kernel.interface import (
    BTF_INFO,
    MAP_INFO,
    PROG_ARRAYS,
    PROG_INFO,
    BpfObject,
    Kernel,
    unpack_u32,
    unpack_u64,
)
from pybpftool.uapi import bpf as uapi
from tests.support.fakekernel import FakeKernel


class TestLayout:
    def test_every_field_is_read_where_it_stands(self) -> None:
        for order in "<>":
            for layout, fields in (
                (PROG_INFO, uapi.BPF_PROG_INFO),
                (MAP_INFO, uapi.BPF_MAP_INFO),
                (BTF_INFO, uapi.BPF_BTF_INFO),
            ):
                for name, offset, code in fields:
                    data = bytearray(layout.size)
                    if code.endswith("s"):
                        value: object = b"\5" * int(code[:-1] or 1)
                    else:
                        value = 5
                    struct.pack_into(order + code, data, offset, value)
                    decoded = layout.decode(data, order)
                    assert decoded[name] == value
                    others = {k: v for k, v in decoded.items() if k != name}
                    assert not any(
                        v and (not isinstance(v, bytes) or any(v)) for v in others.values()
                    )

    @given(st.integers(0, PROG_INFO.size + 40))
    def test_structs_of_older_and_newer_kernels(self, length: int) -> None:
        info = bytes(range(1, 256)) * 2
        decoded = PROG_INFO.decode(info[:length], "<")
        assert decoded == PROG_INFO.decode(info[:length].ljust(PROG_INFO.size, b"\0"), "<")
        assert decoded.keys() == set(PROG_INFO.names)

    def test_arrays_name_fields_that_exist(self) -> None:
        for address, count, element in PROG_ARRAYS.values():
            assert {address, count} <= set(PROG_INFO.names)
            assert isinstance(element, int) or element in PROG_INFO.names


@given(st.lists(st.integers(0, 0xFFFFFFFF)), st.integers(0, 3), st.sampled_from("<>"))
def test_numbers(values: list[int], rest: int, order: str) -> None:
    data = struct.pack(f"{order}{len(values)}I", *values) + b"\xff" * rest
    assert unpack_u32(data, order) == tuple(values)
    data = struct.pack(f"{order}{len(values)}Q", *values) + b"\xff" * (rest + 4)
    assert unpack_u64(data, order) == tuple(values)


def test_objects_tell_what_they_are() -> None:
    assert repr(BpfObject("prog", 5, -1, b"")) == "<BpfObject prog 5>"


@pytest.mark.parametrize(
    "call",
    [
        lambda kernel: kernel.objects("prog"),
        lambda kernel: kernel.open("prog", 1),
        lambda kernel: kernel.open_pinned("/x"),
        lambda kernel: kernel.close(BpfObject("prog", 1, -1, b"")),
    ],
)
def test_the_interface_answers_nothing_itself(call: object) -> None:
    with pytest.raises(NotImplementedError):
        call(Kernel())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "count"), [("0-1", 2), ("0", 1), ("0-3,8-11", 8), ("0,2,4-5\n", 4)]
)
def test_possible_cpus(text: str, count: int) -> None:
    kernel = FakeKernel()
    kernel.files["/sys/devices/system/cpu/possible"] = text.encode()
    assert kernel.possible_cpus() == count


def test_unreadable_possible_cpus() -> None:
    kernel = FakeKernel()
    kernel.files["/sys/devices/system/cpu/possible"] = b"zero"
    with pytest.raises(BpfError, match="'zero'"):
        kernel.possible_cpus()


def test_online_cpus() -> None:
    kernel = FakeKernel()
    kernel.files["/sys/devices/system/cpu/online"] = b"0-2,5\n"
    assert kernel.online_cpus() == [0, 1, 2, 5]
    kernel.files["/sys/devices/system/cpu/online"] = b"\n"
    with pytest.raises(BpfError, match="cannot read the list of online CPUs: ''"):
        kernel.online_cpus()


@pytest.mark.parametrize(
    ("machine", "address", "expected"),
    [
        ("x86_64", 0xFFFFFFFF81000000, True),
        ("x86_64", 0x7FFFFFFFFFFF, False),
        ("aarch64", 0xFFFF800080000000, True),
        ("ppc64le", 0xC000000000000000, True),
        ("loongarch64", 0x9000000000200000, True),
        ("mips64", 0xFFFFFFFF80100000, True),
        ("s390x", 0x3FFE0000000, None),
        ("s390x", 0x100, False),
        ("sparc64", 0x404000, None),
        ("parisc64", 0x40101000, None),
        ("i686", 0xC1000000, None),
        ("armv7l", 0xBF000000, None),
    ],
)
def test_addresses_of_the_kernel(machine: str, address: int, expected: bool | None) -> None:
    kernel = FakeKernel()
    kernel.machine = machine
    assert kernel.is_kernel_address(address) is expected
