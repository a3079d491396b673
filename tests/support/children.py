"""Processes that hold BPF objects while a test looks at them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = str(Path(__file__).parents[2])

CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from tests.support import asm, load
import contextlib
with contextlib.ExitStack() as stack:
{code}
    print("ready", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def _running(code: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A process that runs some lines, and what it prints."""
    lines = "".join([f"    {line}\n" for line in code.strip().splitlines()])
    words = [sys.executable, "-c", CHILD.format(root=ROOT, code=lines)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout
        finally:
            child.kill()
            child.wait()


@contextlib.contextmanager
def child(code: str) -> Iterator[int]:
    """A process that runs some lines and keeps what they leave open; its pid."""
    with _running(code) as (child, printed):
        assert printed.readline() == "ready\n"
        yield child.pid
        # It undoes what it has made; a namespace that only ends may outlive its process.
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        child.wait(10)


@contextlib.contextmanager
def told_child(code: str) -> Iterator[tuple[int, list[str]]]:
    """As :func:`child`, whose code prints a line before; its pid and the words of that line."""
    with _running(code) as (child, printed):
        told = printed.readline().split()
        assert printed.readline() == "ready\n"
        yield child.pid, told
