"""BTF objects as records, and their types as a library loads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.errors import BpfError, UsageError
from pybpftool.objects.btf import MAX_FILES, BtfObject, collect, load, load_files
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel


def test_who_uses_and_who_holds_it() -> None:
    kernel = FakeKernel()
    kernel.btf(7, btf_size=90)
    kernel.prog(1, btf_id=7)
    kernel.prog(2, btf_id=7)
    kernel.map(3, btf_id=7)
    kernel.held["btf"] = {7: [(5, "agent")]}
    (btf,) = collect(kernel)
    assert (btf.id, sorted(btf.prog_ids), list(btf.map_ids)) == (7, [1, 2], [3])
    assert btf.text().splitlines() == [
        "7: name <anon>  size 90B  prog_ids 2,1  map_ids 3",  # upstream's order
        "\tpids agent(5)",
    ]
    assert btf.json()["pids"] == [{"pid": 5, "comm": "agent"}]
    assert "name" not in btf.json()


@pytest.mark.parametrize(
    ("is_kernel", "name", "shown"),
    [(True, "vmlinux", "[vmlinux]"), (False, "", "<anon>"), (True, "", "[]"), (False, "x", "x")],
)
def test_names(is_kernel: bool, name: str, shown: str) -> None:
    btf = BtfObject(1, 2, is_kernel, name, (), (), ())
    assert btf.text() == f"1: name {shown}  size 2B\n"
    assert btf.json()["kernel"] is is_kernel


def test_types() -> None:
    kernel = FakeKernel()
    kernel.btf(7)
    btf = BtfBuilder()
    btf.add_int("int", 4, SIGNED)
    kernel.btfs[7] = btf.build()
    assert load(kernel, 7).name(1) == "int"
    assert kernel.opened == 0
    with pytest.raises(BpfError):
        load(kernel, 8)


def test_a_library_call_raises_no_usage_error(tmp_path: Path) -> None:
    with pytest.raises(BpfError, match="at most") as raised:
        load_files([str(tmp_path / "x")] * (MAX_FILES + 1))
    assert not isinstance(raised.value, UsageError)
    with pytest.raises(BpfError, match="needs a base") as raised:
        load_files([str(tmp_path / "x"), str(tmp_path / "y")])
    assert not isinstance(raised.value, UsageError)
