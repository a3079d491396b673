"""Work that libbpf does on files, in a process of its own.

A file that it cannot digest ends that process and nothing else; what comes out goes to a
place that has no name until it is whole.
"""

from __future__ import annotations

import os

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def made_apart(files: str, work: Callable[[int], None]) -> bytes:
    """What ``work(fd)`` writes to a descriptor in another process.

    ``files`` are named if that process crashes; a :class:`BpfError` that it raises is raised
    here, as one.
    """
    made = os.memfd_create("made")
    hear, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(hear)
        _run(work, made, tell)
    os.close(tell)
    try:
        with open(hear, "rb") as pipe:
            said = pipe.read().decode("utf-8", "surrogateescape")
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            import signal  # milliseconds, since it is made of enums

            name = signal.Signals(os.WTERMSIG(status)).name
            raise BpfError(f"libbpf cannot digest '{files}': it ended with {name}")
        if status:
            raise BpfError(said or f"libbpf gave up on '{files}'")
        with open(made, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()
    finally:
        os.close(made)


def _run(work: Callable[[int], None], made: int, tell: int) -> NoReturn:
    status = 1
    try:
        work(made)
        status = 0
    except BpfError as error:
        os.write(tell, str(error).encode("utf-8", "surrogateescape"))
    finally:
        os._exit(status)
