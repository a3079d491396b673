"""Source lines that no compiler writes, for what puts them into DOT and HTML."""

from __future__ import annotations

import shutil

import pytest

from pybpftool.insn.program import XlatedProgram
from tests.support.asm import R0, exit_, mov64

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

HOSTILE = [
    'say("a\\"b\\\\");',
    "if (a < b && c > d || e) { x |= 1; }",
    "&lt; &#65; &amp; &nosuch; & a;b",
    "tab\there, bell\x07, escape\x1b[31m, delete\x7f, c1\x9b",
    "café ← 中文 \U0001f40d",
    "bad \udcff\udc80 bytes",
    "\\",
    "ends with \\",
    "%s %d %",
    "line\nfeed\rreturn",
    "   ",
    "\uffff\ufffe",
    "turned \u202earound\u2066, \u200bhidden\u2028",
]


class HostileBtf:
    """Strings that no compiler writes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def string(self, offset: int) -> str | None:
        return self.text


def hostile_program(text: str) -> XlatedProgram:
    """A program whose only source line is `text`."""
    code = mov64(R0, 0) + exit_()
    lines = (0).to_bytes(4, "little") + bytes(8) + (1034).to_bytes(4, "little")
    return XlatedProgram(code, line_info=lines, btf=HostileBtf(text))  # type: ignore[arg-type]
