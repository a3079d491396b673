"""Contexts and data in words, by the types of a kernel and of a program."""

from __future__ import annotations

import struct

import pytest

from pybpftool.errors import BpfError
from pybpftool.kernel.interface import BpfObject
from pybpftool.objects import run_input
from pybpftool.uapi.bpf import PROG_TYPES
from tests.support.btfbuild import BtfBuilder
from tests.support.fakekernel import FakeKernel

VMLINUX = "/sys/kernel/btf/vmlinux"


def vmlinux() -> bytes:
    btf = BtfBuilder()
    u32 = btf.add_int("unsigned int", 4)
    byte = btf.add_int("unsigned char", 1)
    btf.add_struct("xdp_md", 12, [("data", u32, 0), ("data_end", u32, 32), ("rxq", u32, 64)])
    mac = btf.add_array(byte, u32, 6)
    u16 = btf.add_int("unsigned short", 2)
    head = [("h_dest", mac, 0), ("h_source", mac, 48), ("h_proto", u16, 96)]
    header = btf.add_struct("ethhdr", 14, head)
    btf.add_typedef("frame", header)
    return btf.build()


def program(kernel: FakeKernel, type: str, with_btf: bool = False) -> BpfObject:
    """A program; its BTF tells of a main function that takes a `struct args *`."""
    fields = {"btf_id": 5, "nr_func_info": 1, "func_info_rec_size": 8} if with_btf else {}
    obj = kernel.prog(7, type=PROG_TYPES.index(type), **fields)
    if with_btf:
        btf = BtfBuilder()
        u32 = btf.add_int("unsigned int", 4)
        args = btf.add_struct("args", 8, [("first", u32, 0), ("second", u32, 32)])
        pointer = btf.add_ptr(btf.add_const(btf.add_typedef("args_t", args)))
        main = btf.add_func("main", btf.add_func_proto(u32, [("ctx", pointer)]))
        kernel.btfs[5] = btf.build()
        kernel.arrays[7]["func_info"] = struct.pack("=2I", 0, main)
    return obj


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.files[VMLINUX] = vmlinux()
    return kernel


def test_the_kernel_knows_contexts(kernel: FakeKernel) -> None:
    context = run_input.context(kernel, program(kernel, "xdp"), "{.rxq = 3, .data = 0x100}")
    assert context == struct.pack("=3I", 0x100, 0, 3)
    # The program's own type would be another.
    context = run_input.context(kernel, program(kernel, "xdp", True), "{1}")
    assert context == struct.pack("=3I", 1, 0, 0)


@pytest.mark.parametrize("type", ["syscall", "sched_cls"])
def test_else_the_main_function_does(kernel: FakeKernel, type: str) -> None:
    context = run_input.context(kernel, program(kernel, type, True), "{.second = 9}")
    assert context == struct.pack("=2I", 0, 9)


@pytest.mark.parametrize("type", ["raw_tracepoint", "raw_tracepoint_writable"])
def test_arguments_of_raw_tracepoints(kernel: FakeKernel, type: str) -> None:
    prog = program(kernel, type)
    context = run_input.context(kernel, prog, "{1, [11] = 0xffffffffffffffff}")
    assert context == struct.pack("=12Q", 1, *[0] * 10, 2**64 - 1)
    with pytest.raises(BpfError, match="has only 12 elements"):
        run_input.context(kernel, prog, "{[12] = 1}")


@pytest.mark.parametrize("type", ["syscall", "sched_cls", "kprobe"])
def test_a_context_that_nobody_knows(kernel: FakeKernel, type: str) -> None:
    with pytest.raises(BpfError, match=f"what context programs of type {type} have"):
        run_input.context(kernel, program(kernel, type), "{1}")


def test_a_kernel_without_btf(kernel: FakeKernel) -> None:
    del kernel.files[VMLINUX]
    assert run_input.context(kernel, program(kernel, "xdp", True), "{1}") == b"\1" + bytes(7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        ("00ff", b"\0\xff"),
        (" 00 ff , 10", b"\0\xff\x10"),
        ("struct ethhdr {.h_proto = 0x0008}, 45", bytes(12) + b"\x08\0\x45"),
        ("ethhdr{{1, 2}}", b"\1\2" + bytes(12)),
        ("aa,frame {.h_dest[5] = 7},bb", b"\xaa" + bytes(5) + b"\7" + bytes(8) + b"\xbb"),
        ("struct args {1, 2}", struct.pack("=2I", 1, 2)),
        ('ethhdr {.h_dest = "a,}{"}', b"a,}{" + bytes(10)),
        ("ethhdr {.h_dest = {'\\'', ',', '}'}}", b"',}" + bytes(11)),
    ],
)
def test_data(kernel: FakeKernel, text: str, expected: bytes) -> None:
    assert run_input.data(kernel, program(kernel, "xdp", True), text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "neither pairs of hexadecimal digits"),
        ("zz", "'zz' is neither"),
        ("00, 0x10", "'0x10' is neither"),
        ("struct nothing {1}", "has a type 'struct nothing'"),
        ("{1}", "has a type ''"),
        ("ethhdr {.x = 1}", "has no member 'x'"),
        ("ethhdr {1", "needs braces|expected"),
        ("ethhdr {1}} 00", "."),
    ],
)
def test_data_that_is_none(kernel: FakeKernel, text: str, sentence: str) -> None:
    with pytest.raises(BpfError, match=sentence):
        run_input.data(kernel, program(kernel, "xdp", True), text)
