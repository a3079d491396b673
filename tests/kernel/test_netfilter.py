"""Programs among the netfilter hooks of a network namespace."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import netfilter
from tests.support import asm, load
from tests.support.cli import run


def message(*attributes: tuple[int, bytes]) -> bytes:
    """An answer: the headers, then attributes."""
    return bytes(20) + nested(*attributes)


def nested(*attributes: tuple[int, bytes]) -> bytes:
    return b"".join(
        struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)
        for number, data in attributes
    )


def number(value: int) -> bytes:
    return struct.pack(">i", value)


BPF = nested((0x8000 | 1, nested((1, number(77)))), (2, number(2)))


def test_a_program() -> None:
    assert netfilter._program(message((2, number(-128)), (4, b"f\0"), (6 | 0x8000, BPF))) == (
        -128,
        77,
    )


@pytest.mark.parametrize(
    "attributes",
    [
        (),
        ((2, number(0)), (4, b"nf_hook\0")),
        ((2, number(0)), (6, nested((1, b""), (2, number(1))))),  # a chain of nft
        ((2, number(0)), (6, nested((1, nested((1, b"\1"))), (2, number(2))))),
        ((2, number(0)), (6, b"\xff\xff")),
        ((2, number(0)), (6, bytes(8))),
    ],
)
def test_what_is_no_program(attributes: tuple[tuple[int, bytes], ...]) -> None:
    assert netfilter._program(message(*attributes)) is None


@pytest.mark.live
def test_programs_of_two_namespaces() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        hooks = [(2, 0, -128), (2, 4, 7), (10, 3, 10)]
        try:
            prog = stack.enter_context(
                load.prog_load("netfilter", asm.ret(1), attach="netfilter", name="pybt_nf")
            )
            for row in hooks:
                extra = struct.pack("=IIiI", *row, 0)
                stack.enter_context(load.link_create(prog, 0, "netfilter", 0, extra))
            found = netfilter.netfilter_programs("")
        except (OSError, KernelError) as error:
            pytest.skip(f"this kernel does not tell: {error}")
        id = load.object_id(prog)
        assert [row for row in found if row[3] == id] == [(*row, id) for row in hooks]
        assert id not in [row[3] for row in netfilter.netfilter_programs("/proc/1/ns/net")]

        def namespaces() -> set[str]:
            rows = run("-j", "attachments", "--filter", f"prog_id={id}").json
            return {row.get("netns", "") for row in rows}

        assert namespaces() == {""}
        with load.temp_netns():  # from another one
            (name,) = namespaces()
            assert str(os.getpid()) in name
