"""Records of links: the table of kinds, fields that old kernels lack, views that ask nothing."""

from __future__ import annotations

import struct

import pytest

from pybpftool.objects import link
from pybpftool.objects.links import network, probes, tracing
from pybpftool.objects.links.source import LinkSource
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi import netfilter
from tests.support.fakeattached import AttachedKernel


def test_every_link_type_has_a_row_or_is_printed_bare() -> None:
    assert {*link.LINK_KINDS, *link.PRINTED_BARE} == set(range(len(uapi.LINK_TYPES)))
    assert not set(link.LINK_KINDS) & set(link.PRINTED_BARE)
    for module, name in link.LINK_KINDS.values():
        assert callable(getattr(module(), name).read)


def test_every_arm_belongs_to_a_link_type_with_a_row() -> None:
    names = {uapi.LINK_TYPES[number] for number in link.LINK_KINDS}
    assert {arm.partition(".")[0] for arm in uapi.BPF_LINK_INFO} == names


def test_every_kind_of_perf_event_is_read_and_unknown_ones_are_not() -> None:
    for kind, name in enumerate(uapi.PERF_EVENT_TYPES):
        kernel = AttachedKernel()
        kernel.link(1, uapi.BPF_LINK_TYPE_PERF_EVENT, struct.pack("<I", kind))
        target = link.LinkReader(kernel).read(kernel.all["link"][1]).target
        assert (target is None) == (name == "unspec")


def test_hooks_of_every_family() -> None:
    """Each family has its name in text, each of its hooks too, but those of netdev."""
    for pf, family in netfilter.FAMILIES.items():
        text = network.Netfilter(pf, 0, 5, 0).text()
        assert text.startswith(f"\n\t{family}")
        assert (", hook 0," in text) == (family == "netdev")
    for pf in netfilter.PRINTED_BARE:
        assert network.Netfilter(pf, 0, 5, 0).text() == f"\n\tpf: {pf}, hook 0, prio 5"


@pytest.mark.parametrize(("size", "cookie"), [(64, 0), (40, 0), (39, None), (20, None)])
def test_what_a_shorter_struct_lacks_is_none(size: int, cookie: int | None) -> None:
    kernel = AttachedKernel()
    kernel.prog(7, type=26)
    kernel.link(1, uapi.BPF_LINK_TYPE_TRACING, struct.pack("<I", 24), size=size)
    target = link.LinkReader(kernel).read(kernel.all["link"][1]).target
    assert isinstance(target, tracing.Tracing)
    assert target.cookie == cookie and target.attach_type == "trace_fentry"
    assert target.json()["cookie"] == 0  # as upstream prints it


def test_fields_by_name() -> None:
    kernel = AttachedKernel(">")
    kernel.link(1, uapi.BPF_LINK_TYPE_NETFILTER, struct.pack(">IIiI", 2, 1, -300, 1))
    source = LinkSource(kernel)
    source.info = kernel.all["link"][1].info
    fields = {"pf": 2, "hooknum": 1, "priority": -300, "flags": 1}
    assert dict(source.fields("netfilter")) == fields
    source.info = source.info[:22]
    short = source.fields("netfilter")
    assert dict(short) == {"pf": 2} and short["flags"] == 0 and short.get("flags") is None


def test_views_ask_nothing() -> None:
    """A record prints the same when the kernel that it came from has nothing left to say."""
    kernel = AttachedKernel()
    kernel.names[3] = "eth0"
    kernel.prog(7, type=6, name=b"guard\0")
    kernel.held["link"] = {1: [(10, "agent")]}
    kernel.pins["link"] = {1: ["/sys/fs/bpf/x"]}
    kernel.link(1, uapi.BPF_LINK_TYPE_XDP, struct.pack("<I", 3))
    (found,) = link.collect(kernel, resolve=True)
    assert isinstance(found, link.Link)
    kernel.all["link"].clear()
    kernel.names.clear()
    assert found.text() == (
        "1: xdp  prog 7 (guard)  \n\tifindex eth0(3)  \n\tpinned /sys/fs/bpf/x\n\tpids agent(10)\n"
    )
    assert found.json() == {
        "id": 1,
        "type": "xdp",
        "prog_id": 7,
        "prog_name": "guard",
        "devname": "eth0",
        "ifindex": 3,
        "pinned": ["/sys/fs/bpf/x"],
        "pids": [{"pid": 10, "comm": "agent"}],
    }
    assert found == link.Link(*found) and "eth0" in repr(found)


def test_a_new_link_type_is_a_class_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fresh(network.Sockmap):
        """Read and printed as no other link is."""

        __slots__ = ()

        def text(self) -> str:
            return f"\n\tfresh {self.map_id}  "

    monkeypatch.setattr(network, "Fresh", Fresh, raising=False)
    row = (lambda: network, "Fresh")
    monkeypatch.setitem(link.LINK_KINDS, uapi.BPF_LINK_TYPE_TRACING_MULTI, row)
    kernel = AttachedKernel()
    kernel.link(1, uapi.BPF_LINK_TYPE_TRACING_MULTI, struct.pack("<II", 5, 7))
    (found,) = link.collect(kernel)
    assert isinstance(found, link.Link)
    assert found.text() == "1: tracing_multi  prog 7  \n\tfresh 5  \n"


@pytest.mark.parametrize(
    ("type", "config", "word"),
    [(0, 1, "instructions"), (1, 2, "page-faults"), (3, 0x10001, "L1-icache-load-misses")],
)
def test_words_of_counters(type: int, config: int, word: str) -> None:
    assert probes.event_config(type, config) == word
