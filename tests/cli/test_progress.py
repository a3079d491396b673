"""Progress: on a terminal only, after a second, and gone at the end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pybpftool.cli import progress

CODE = """
import time
from pybpftool.cli import progress
progress._FIRST, progress._PAUSE = 0.05, 0.05
with progress.Progress("Recording"):
    time.sleep({seconds})
"""


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_on_a_terminal(seconds: float) -> None:
    leader, follower = os.openpty()
    try:
        words = [sys.executable, "-c", CODE.format(seconds=seconds)]
        subprocess.run(words, stderr=follower, check=True)
        os.write(follower, b"end")
        shown = b""
        while not shown.endswith(b"end"):
            shown += os.read(leader, 4096)
    finally:
        os.close(leader)
        os.close(follower)
    if seconds:
        assert "Recording … 0 s".encode() in shown
        assert shown.endswith(b"\r\x1b[Kend")
    else:
        assert shown == b"end"


def test_not_elsewhere() -> None:
    words = [sys.executable, "-c", CODE.format(seconds=0.3)]
    done = subprocess.run(words, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert progress._FIRST == 1.0
