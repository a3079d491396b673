"""Runs the main job once: on the running kernel if it may, else on a recorded one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "fixtures" / "kernels" / "demo.zip"


def pybpftool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command, catching what it prints."""
    command = [sys.executable, "-m", "pybpftool", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def shown(*words: str) -> None:
    """Run the command for the person who watches."""
    print(f"$ pybpftool {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "pybpftool", *words], cwd=ROOT, check=True)
    print(flush=True)


@contextlib.contextmanager
def some_program() -> Iterator[None]:
    """Keep a program of our own loaded, for a machine that has none."""
    sys.path.insert(0, str(ROOT))
    from tests.support import asm, load

    code = asm.assemble([asm.mov64(0, 1), asm.exit_()])
    with load.prog_load("socket_filter", code, name="hello"):
        yield


def main() -> int:
    """Show where the answers come from, then the two listings."""
    listing = pybpftool("-j", "prog", "show")
    options: tuple[str, ...] = ()
    program: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if listing.returncode == 0:
        print(f"The running kernel, Linux {os.uname().release}:\n")
        if not json.loads(listing.stdout):
            program = some_program()
    else:
        reason = pybpftool("prog", "show").stderr.strip().removeprefix("Error: ")
        print(f"A recorded kernel, because the running one cannot be asked: {reason}\n")
        options = ("--snapshot", str(RECORDING.relative_to(ROOT)))
    with program:
        shown(*options, "prog", "show")
        listing = pybpftool(*options, "-j", "prog", "show")
        programs = json.loads(listing.stdout)
        # The most telling one: with source lines if any has them, and short enough to read.
        best = max(programs, key=lambda p: ("btf_id" in p, -abs(p["bytes_xlated"] - 400)))
        shown(*options, "prog", "dump", "xlated", "id", str(best["id"]), "linum")
    return 0


if __name__ == "__main__":
    sys.exit(main())
