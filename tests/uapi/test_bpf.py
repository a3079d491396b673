"""The generated tables against the kernel that runs, and against themselves."""

from __future__ import annotations

import os
import struct

import pytest

from pybpftool.btf.load import from_file
from pybpftool.btf.table import Btf
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi import netfilter
from tests.support.btfbuild import BtfBuilder
from tests.tools import generate_uapi

needs_vmlinux = pytest.mark.skipif(
    not os.access(generate_uapi.VMLINUX, os.R_OK), reason="this kernel shows no BTF of its own"
)


@pytest.fixture(scope="module")
def vmlinux() -> Btf:
    return from_file(generate_uapi.VMLINUX)


@needs_vmlinux
def test_the_modules_are_what_the_generator_writes(vmlinux: Btf) -> None:
    for name, generate in generate_uapi.GENERATORS.items():
        assert generate(vmlinux, {}) == generate_uapi.TARGETS[name].read_text()


@needs_vmlinux
@pytest.mark.parametrize(("table", "enum", "prefix"), [row[:3] for row in generate_uapi.TABLES])
def test_names_of_the_running_kernel(vmlinux: Btf, table: str, enum: str, prefix: str) -> None:
    ours = getattr(uapi, table)
    theirs = generate_uapi.names_by_number(generate_uapi.btf_enum(vmlinux, enum), prefix)
    assert {n: ours[n] for n in theirs if n < len(ours)} == theirs


@pytest.mark.parametrize("name", generate_uapi.STRUCTS)
def test_fields_lie_next_to_each_other(name: str) -> None:
    # InfoLayout unpacks a struct in one go, without padding between fields.
    end = 0
    for _, offset, code in getattr(uapi, name.upper()):
        assert offset == end
        end += struct.calcsize("=" + code)
    assert end <= getattr(uapi, f"{name.upper()}_SIZE") < end + 8


def test_header_enum_understands_aliases_and_numbers() -> None:
    text = "enum e { A, B = 5, /* c */ C, D = B, E, __MAX_E };"
    values = generate_uapi.header_enum(text, "e")
    assert values == {"A": 0, "B": 5, "C": 6, "D": 5, "E": 6, "__MAX_E": 7}
    assert generate_uapi.header_enum(text, "other") == {}


def test_stale_tables_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    header = "enum bpf_link_type { BPF_LINK_TYPE_UNSPEC, BPF_LINK_TYPE_RENAMED };"
    names = generate_uapi.names_by_number(
        generate_uapi.header_enum(header, "bpf_link_type"), "BPF_LINK_TYPE_"
    )
    assert names[1] == "renamed" != uapi.LINK_TYPES[1]


def test_arms_of_links() -> None:
    """Every arm is that of a link type, and its fields lie as C lays them out."""
    for arm, fields in uapi.BPF_LINK_INFO.items():
        assert arm.partition(".")[0] in uapi.LINK_TYPES
        end = 16
        for _, offset, code in fields:
            size = struct.calcsize("=" + code)
            assert offset >= end and offset % size == 0
            end = offset + size


def test_macros() -> None:
    text = "#define BPF_F_A (1U << 3)\n#define BPF_F_B 0x10U\nBPF_F_C = (1U << 0),\n"
    found = generate_uapi.macros(text, r"BPF_F_\w+")
    assert found == {"BPF_F_A": 8, "BPF_F_B": 16, "BPF_F_C": 1}


def test_words_of_other_headers() -> None:
    """What the generator makes of the headers' text alone."""
    headers = {
        "netfilter.h": "enum { NFPROTO_UNSPEC = 0, NFPROTO_IPV4 = 2, NFPROTO_NEW = 77, };",
        "netfilter_arp.h": "#define NF_ARP_IN 0\n#define NF_ARP_NUMHOOKS 3\n",
    }
    text = generate_uapi.generate_netfilter(Btf.from_bytes(BtfBuilder().build()), headers)
    assert "PRINTED_BARE = (0, 12, 77)" in text and '2: "ip"' in text
    assert max(netfilter.PRINTED_BARE) == 12 and not set(netfilter.FAMILIES) & {0, 12}
