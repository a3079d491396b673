"""Names of what a program of tracing, LSM or extension is made for."""

from __future__ import annotations

import pytest

from pybpftool.objects.attach_target import AttachTargets
from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel

PROTO, FUNC, TYPEDEF, NAMELESS = 2, 3, 4, 5


@pytest.fixture
def kernel() -> FakeKernel:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    proto = btf.add_func_proto(number, [])
    assert btf.add_func("tcp_connect", proto, GLOBAL) == FUNC
    assert btf.add_typedef("btf_trace_sched_switch", proto) == TYPEDEF
    assert btf.add_ptr(number) == NAMELESS
    kernel = FakeKernel()
    kernel.btfs[7] = btf.build()
    kernel.files["/sys/kernel/btf/vmlinux"] = btf.build()
    return kernel


@pytest.mark.parametrize("object_id", [0, 7])
def test_functions_and_tracepoints(kernel: FakeKernel, object_id: int) -> None:
    targets = AttachTargets(kernel)
    assert targets.name(object_id, FUNC) == "tcp_connect"
    assert targets.name(object_id, TYPEDEF) == "sched_switch"


@pytest.mark.parametrize("type_id", [0, NAMELESS, 99, 1 << 31])
def test_what_has_no_name(kernel: FakeKernel, type_id: int) -> None:
    assert AttachTargets(kernel).name(7, type_id) is None


def test_an_object_that_is_gone_is_asked_for_once(kernel: FakeKernel) -> None:
    targets = AttachTargets(kernel)
    assert targets.name(8, FUNC) is None
    kernel.btfs[8] = kernel.btfs[7]
    assert targets.name(8, FUNC) is None
    assert AttachTargets(kernel).name(8, FUNC) == "tcp_connect"


def test_damaged_types(kernel: FakeKernel) -> None:
    kernel.btfs[7] = b"\x9f\xeb\1\0"
    assert AttachTargets(kernel).name(7, FUNC) is None


def test_a_function_of_a_program(kernel: FakeKernel) -> None:
    kernel.prog(5, btf_id=7)
    kernel.prog(6)
    targets = AttachTargets(kernel)
    assert targets.function(5, FUNC) == "tcp_connect"
    # No such type, no types, no such program.
    assert [targets.function(*each) for each in ((5, 0), (5, 99), (6, FUNC), (9, FUNC))] == [""] * 4
    assert kernel.opened == 0
