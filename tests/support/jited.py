"""Dumps of machine code as strings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pybpftool.jit.dump import dump_json, dump_plain
from pybpftool.jit.program import JitedProgram
from pybpftool.output.jsontext import JsonStream
from pybpftool.output.stream import Output

# The only difference from upstream: what is known of targets.
TARGET = re.compile(r" <[^<>\n]+>$", re.M)


def written(write: Callable[[Output], None]) -> str:
    """What a function writes to an output, as text."""
    read, fd = os.pipe()
    try:
        out = Output(fd)
        os.set_blocking(fd, True)
        import threading

        parts: list[bytes] = []

        def drain() -> None:
            while data := os.read(read, 65536):
                parts.append(data)

        thread = threading.Thread(target=drain)
        thread.start()
        try:
            write(out)
            out.flush()
        finally:
            os.close(fd)
            thread.join()
        return b"".join(parts).decode("utf-8", "surrogateescape")
    finally:
        os.close(read)


def plain(
    prog: JitedProgram, opcodes: bool = False, linum: bool = False, syntax: str = "att"
) -> str:
    """Machine code as text."""
    return written(lambda out: dump_plain(out, prog, opcodes, linum, syntax))


def as_json(
    prog: JitedProgram, opcodes: bool = False, linum: bool = False, pretty: bool = False
) -> str:
    """Machine code as JSON."""
    return written(lambda out: dump_json(JsonStream(out, pretty), prog, opcodes, linum))
