"""What is pinned, opened as what it is asked for."""

from __future__ import annotations

import pytest

from pybpftool.errors import BpfError, KernelError
from pybpftool.objects.pinned import open_pinned
from tests.support.fakekernel import FakeKernel


def test_kinds() -> None:
    kernel = FakeKernel()
    kernel.prog(3)
    kernel.pins["prog"] = {3: ["/bpf/it"]}
    obj = open_pinned(kernel, "prog", "/bpf/it")
    assert (obj.kind, obj.id) == ("prog", 3)
    kernel.close(obj)
    for kind in ("map", "link"):
        with pytest.raises(BpfError, match=f"^'/bpf/it' is a prog, not a {kind}$"):
            open_pinned(kernel, kind, "/bpf/it")
    with pytest.raises(KernelError, match="pinned at '/bpf/other'"):
        open_pinned(kernel, "prog", "/bpf/other")
    assert kernel.opened == 0


def test_a_map_is_no_program() -> None:
    kernel = FakeKernel()
    kernel.map(5)
    kernel.pins["map"] = {5: ["/bpf/it"]}
    with pytest.raises(BpfError, match=r"^'/bpf/it' is a map, not a program$"):
        open_pinned(kernel, "prog", "/bpf/it")
    assert kernel.opened == 0
