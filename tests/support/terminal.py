"""Runs the command on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def on_terminal(*words: str, **environment: str) -> str:
    """What a run writes to a terminal of 80 columns."""
    here, there = pty.openpty()
    env = {name: os.environ[name] for name in os.environ if name not in ("NO_COLOR", "COLUMNS")}
    command = [sys.executable, "-m", "pybpftool", *words]
    with subprocess.Popen(
        command, stdout=there, env={**env, "TERM": "xterm", **environment}
    ) as child:
        os.close(there)
        text = b""
        try:
            while piece := os.read(here, 1 << 16):
                text += piece
        except OSError:
            pass  # EIO: the child has ended
    os.close(here)
    assert child.returncode == 0
    return text.decode()
