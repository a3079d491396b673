"""What the fixture ``bpf`` gives: objects by name and field, and sentences for what is wrong."""

from __future__ import annotations

import pytest

from pybpftool.errors import NotFoundError
from pybpftool.inspect.fixture import Bpf
from tests.support.hosts import Host, add_tcx, host


@pytest.fixture
def bpf() -> Bpf:
    kernel = host()
    add_tcx(kernel, 21, 2, "eth0", 3)
    return Bpf(kernel)


def test_by_name_and_field(bpf: Bpf) -> None:
    assert [prog.id for prog in bpf.progs("t*")] == [3]
    assert [prog.name for prog in bpf.progs(type="sched_cls")] == ["counter"]
    assert bpf.prog("counter").verified_insns == 40
    assert bpf.map("flows").max_entries == 16
    assert [link.id for link in bpf.links(type="tcx")] == [20, 21]


def test_where_it_is_attached(bpf: Bpf) -> None:
    counter = bpf.prog("counter")
    assert counter.attached_to(dev="eth0", hook="tcx/ingress")
    assert not counter.attached_to(dev="eth1")
    assert not bpf.prog("twin").attached_to()
    assert counter.calls("bpf_trace_*") and not counter.calls("bpf_map_*")


def test_none_or_several(bpf: Bpf) -> None:
    with pytest.raises(NotFoundError, match="no prog is 'countr'; did you mean 'counter'"):
        bpf.prog("countr")
    with pytest.raises(NotFoundError, match="progs are '\\*'"):
        bpf.prog("*")


@pytest.mark.parametrize("kernel", [host(), Host()], ids=["objects", "none"])
def test_a_misspelt_field_is_refused_with_and_without_objects(kernel: Host) -> None:
    bpf = Bpf(kernel)
    with pytest.raises(TypeError, match="a prog has no field 'tpye'; did you mean 'type'"):
        bpf.progs(tpye="xdp")
    with pytest.raises(TypeError, match="a map has no field 'max_entrys'; did you mean 'max_ent"):
        bpf.map("flows", max_entrys=3)
    with pytest.raises(TypeError, match="a link has no field 'dev'"):
        bpf.links(dev="eth0")


def test_a_place_that_there_is_not(bpf: Bpf) -> None:
    with pytest.raises(TypeError, match="a place has no 'device'; did you mean 'dev'"):
        bpf.prog("counter").attached_to(device="eth0")
    with pytest.raises(AttributeError, match="a prog has no field 'verified_insn'"):
        _ = bpf.prog("counter").verified_insn
    with pytest.raises(TypeError, match="None is not a map"):
        bpf.counting(None, 0)
