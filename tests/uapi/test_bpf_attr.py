"""The fields of ``union bpf_attr`` against the kernel that runs."""

from __future__ import annotations

import os
import re

import pytest

from pybpftool.inspect.bpf_calls import layout
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi.bpf_attr import COMMANDS, FLAGS, LINK_ARM_AT, LINK_ARMS
from tests.support.cli import run

VMLINUX = "/sys/kernel/btf/vmlinux"
_FIELD = re.compile(r"\s*(?:__u(32|64)|__s(32)|char) (\w+)(?:\[(\d+)\])?;")
_BEGIN = re.compile(r"\s*(struct|union) \{")
_END = re.compile(r"\s*\}( \w+)?;")


def offsets(text: str) -> dict[str, set[tuple[int, int]]]:
    """Field -> (offset, size) at which it lies in some arm of ``union bpf_attr``, which is C."""
    found: dict[str, set[tuple[int, int]]] = {}

    def read(lines: list[str], start: int, is_union: bool) -> tuple[int, int]:
        """One struct or union from where it begins; its end and its alignment."""
        at = end = start
        most = 1
        while True:
            line = lines.pop(0)
            if _END.match(line):
                return -(-end // most) * most, most
            inner = _BEGIN.match(line)
            if inner:
                # What a struct begins at its own alignment shows: one with an address at 8.
                wide = _has_wide(lines)
                begin = -(-at // (8 if wide else 4)) * (8 if wide else 4)
                after, alignment = read(lines, begin, inner[1] == "union")
            else:
                field = _FIELD.match(line)
                assert field, line
                size = int(field[4]) if field[4] else int(field[1] or field[2]) // 8
                alignment = 1 if field[4] else size
                begin = -(-at // alignment) * alignment
                after = begin + size
                found.setdefault(field[3], set()).add((begin, size))
            most = max(most, alignment)
            end = max(end, after)
            if not is_union:
                at = after

    lines = text.splitlines()
    while "union bpf_attr {" not in lines.pop(0):
        pass
    read(lines, 0, True)
    return found


def _has_wide(lines: list[str]) -> bool:
    depth = 1
    for line in lines:
        depth += bool(_BEGIN.match(line)) - bool(_END.match(line))
        if not depth:
            return False
        if "__u64" in line:
            return True
    raise AssertionError("a struct without an end")


@pytest.mark.skipif(not os.access(VMLINUX, os.R_OK), reason="this kernel shows no BTF of its own")
def test_fields_lie_where_the_running_kernel_has_them() -> None:
    text = run("btf", "dump", "file", VMLINUX, "format", "c").text
    known = offsets(text)
    lines = [(0, line) for name, line in COMMANDS.items() if f"\t{name} =" in text]
    lines += [(LINK_ARM_AT, line) for _, line in LINK_ARMS.values()]
    checked = 0
    for start, line in lines:
        for name, _, at, size in layout(line, start):
            if name in known:  # else the kernel is older
                assert (at, size) in known[name], name
                checked += 1
    assert checked > 200


def test_kinds_and_names() -> None:
    for line in [*COMMANDS.values(), *[line for _, line in LINK_ARMS.values()]]:
        for _, kind, _, _ in layout(line):
            assert kind in ("", "map", "prog", "attach", "i", "q", "p", "s", "n", *FLAGS)
    for prefix in LINK_ARMS:
        assert any(name.startswith(prefix) for name in uapi.ATTACH_TYPES)
    assert 1 << FLAGS["attach_flags"].index("allow_multi") == uapi.BPF_F_ALLOW_MULTI
    assert 1 << FLAGS["attach_flags"].index("preorder") == uapi.BPF_F_PREORDER
