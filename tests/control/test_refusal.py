"""Sentences for what libbpf refuses."""

from __future__ import annotations

import errno

import pytest

from pybpftool.control import refusal
from pybpftool.control.libbpf import WARN, Messages

LOG = """prog 'p': BPF program load failed: unknown
-- BEGIN PROG LOAD LOG --
processed 0 insns (limit 1000000)
-- END PROG LOAD LOG --
"""


class Old:
    """A libbpf of which only the version and what it has said are asked."""

    version = "1.1"

    def __init__(self, remark: str, *warnings: str) -> None:
        self.messages = Messages(None)
        self.messages.add(WARN + 1, f"libbpf: {remark}\n")
        for text in warnings:
            self.messages.add(WARN, f"libbpf: {text}\n")


@pytest.mark.parametrize("log", [(), (LOG,)])
@pytest.mark.parametrize(
    ("section", "addition"),
    [
        (
            ".struct_ops.link",
            " (the section .struct_ops.link needs libbpf 1.2 or newer, and libbpf 1.1 is"
            " installed)",
        ),
        (".of_somebody", ""),
    ],
)
def test_a_section_that_an_old_library_passes_over(
    log: tuple[str, ...], section: str, addition: str
) -> None:
    lib = Old(f"elf: skipping unrecognized data section(9) {section}", *log)
    error = refusal.refused("cannot load 'x.o'", lib, errno.EINVAL)  # type: ignore[arg-type]
    assert str(error).endswith(f"Invalid argument{addition}")
