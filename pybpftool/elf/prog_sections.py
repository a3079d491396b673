"""The type of a program by the section of the ELF file that it stands in."""

from __future__ import annotations

from pybpftool.records import Record
from pybpftool.uapi.bpf import ATTACH_TYPES, PROG_TYPES
from pybpftool.uapi.prog_sections import PROG_SECTIONS


class Section(Record):
    """What a section's name says of its programs.

    ``flags`` are the letters of :mod:`pybpftool.uapi.prog_sections`.
    """

    prog_type: int
    attach_type: int
    flags: str


def find(section: str) -> Section | None:
    """What the name of a section says; None if there is no such convention."""
    for name, prog_type, attach_type, flags in PROG_SECTIONS:
        if name[-1] == "+":
            rest = section[len(name) - 1 :]
            fits = section.startswith(name[:-1]) and (not rest or rest[0] == "/")
        else:
            fits = section == name
        if fits:
            attach = ATTACH_TYPES.index(attach_type) if attach_type else 0
            return Section(PROG_TYPES.index(prog_type), attach, flags)
    return None
