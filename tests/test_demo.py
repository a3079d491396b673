"""README's first command: forty lines that show why one would switch, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import load

ROOT = Path(__file__).parents[1]


def demo(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, ".ci/demo.py", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def assert_shows_all(text: str) -> None:
    """A program with its source beside both kinds of code, a map by its types, two files."""
    assert len(text.splitlines()) <= 40
    for part in ("name drop_short", "; if (!now)", " | ", '"packets": 5', '"last": "XDP_PASS"'):
        assert part in text, part
    (page,) = [line.split()[2] for line in text.splitlines() if line.startswith("Look at ")]
    assert b"now-&gt;packets++" in (ROOT / page).read_bytes()


def test_recorded() -> None:
    text = demo("--recorded")
    assert text.startswith("A recorded kernel, not the running one: ")
    assert_shows_all(text)


@pytest.mark.live
def test_live() -> None:
    text = demo()
    if text.startswith("A recorded kernel"):
        pytest.skip(text.splitlines()[0])
    assert_shows_all(text)
    (line,) = [line for line in text.splitlines() if "name drop_short" in line]
    assert not load.left("prog", [int(line.partition(":")[0])])
