"""Colours of code: what stands out, and that nothing else changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.output.painted import painted_line


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


@pytest.mark.parametrize(
    ("line", "painted"),
    [
        ("; return 0;", "\x1b[32m; return 0;\x1b[0m"),
        ("int f(void):", "\x1b[1mint f(void):\x1b[0m"),
        (
            "   6: (18) r1 = map[id:7]",
            "\x1b[2m   6:\x1b[0m \x1b[2m(18)\x1b[0m r1 = \x1b[36mmap[id:7]\x1b[0m",
        ),
        ("1234: (95) exit", "\x1b[2m1234:\x1b[0m \x1b[2m(95)\x1b[0m \x1b[33mexit\x1b[0m"),
        ("  1c:\tje\t0x2a", "\x1b[2m  1c:\x1b[0m\t\x1b[33mje\x1b[0m\t0x2a"),
        ("", ""),
    ],
)
def test_what_stands_out(line: str, painted: str) -> None:
    assert painted_line(line) == painted


def test_both_columns() -> None:
    text = painted_line("   0: (95) exit | 5b: jmp     0x1 <f+0x2>")
    assert text.count("\x1b[2m") == 3
    assert text.endswith("\x1b[33mjmp\x1b[0m     0x1 \x1b[36m<f+0x2>\x1b[0m")


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs"))))
def test_text_stays(text: str) -> None:
    assert plain(painted_line(text)) == text


def test_escapes_of_others_do_not_act() -> None:
    assert painted_line("; \x1b[31mred") == "\x1b[32m; \\x1b[31mred\x1b[0m"
