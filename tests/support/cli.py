"""Run pybpftool inside this process, as its console script would: descriptors 0, 1 and 2."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pybpftool.cli.main import main
from pybpftool.kernel.interface import Kernel


@dataclass
class Result:
    """What one run left: exit status, standard output and standard error."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def errors(self) -> str:
        """Standard error as text."""
        return self.err.decode("utf-8", "surrogateescape")

    @property
    def json(self) -> Any:
        """Standard output as JSON; a failure when it is anything else."""
        return json.loads(self.out)


@contextlib.contextmanager
def _replaced(target: int, source: int) -> Iterator[None]:
    saved = os.dup(target)
    try:
        os.dup2(source, target)
        yield
    finally:
        os.dup2(saved, target)
        os.close(saved)


def run(*argv: str, stdin: bytes = b"", kernel: Kernel | None = None) -> Result:
    """Run one command line; `kernel` takes the place of the running one."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        with contextlib.ExitStack() as redirected:
            for number, file in enumerate(files):
                redirected.enter_context(_replaced(number, file.fileno()))
            status = main(argv, kernel)
        for file in files:
            file.seek(0)
        return Result(status, files[1].read(), files[2].read())


def assert_one_sentence(result: Result, *parts: str) -> str:
    """A failure that says why in one line on stderr, and nothing else there; the sentence."""
    assert result.status == 255, result
    lines = result.errors.splitlines()
    assert len(lines) == 1, result
    assert lines[0].startswith("Error: ")
    assert "Traceback" not in lines[0]
    for part in parts:
        assert part in lines[0], (part, lines[0])
    return lines[0].removeprefix("Error: ")
