"""Characters that nobody sees are spelt out wherever a person reads names."""

from __future__ import annotations

import unicodedata

import pytest

from pybpftool.cfg import dot
from pybpftool.inspect.wording import shown
from pybpftool.invisible import INVISIBLE
from pybpftool.output.htmltext import html_text


@pytest.mark.parametrize("character", INVISIBLE, ids=lambda c: f"{ord(c):04x}")
def test_they_are_spelt_out_everywhere(character: str) -> None:
    assert unicodedata.category(character) in ("Cf", "Zl", "Zp", "Cn")
    spelt = f"{ord(character):04x}" if ord(character) > 0xFF else f"{ord(character):02x}"
    for text in (shown(character), html_text(character), character.translate(dot._CONTROLS)):
        assert character not in text
        assert text.endswith(spelt), text
