"""Object files made into one by the system's libbpf (``bpf_linker__new()`` and its like).

It works in a process of its own, on a copy that has no name: a file that libbpf cannot
digest ends that process and nothing else.
"""

from __future__ import annotations

import os
import signal

from pybpftool.control.bpf_object import check_file, refused
from pybpftool.control.libbpf import Messages, library
from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn


def link(paths: Sequence[str], aloud: Callable[[str], None] | None = None) -> bytes:
    """The object file that these make: sections and BTF merged, debug information left out.

    ``aloud`` hears what libbpf says. Raises :class:`BpfError`.
    """
    for path in paths:
        check_file(path)
    library()  # fails here, not in the other process
    made = os.memfd_create("linked")
    hear, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(hear)
        _run(paths, made, tell, aloud)
    os.close(tell)
    try:
        with open(hear, "rb") as pipe:
            said = pipe.read().decode("utf-8", "surrogateescape")
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            raise BpfError(f"libbpf cannot digest '{', '.join(paths)}': it ended with {name}")
        if status:
            raise BpfError(said)
        with open(made, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()
    finally:
        os.close(made)


def _run(
    paths: Sequence[str], made: int, tell: int, aloud: Callable[[str], None] | None
) -> NoReturn:
    status = 1
    try:
        _link(paths, f"/proc/self/fd/{made}", aloud)
        status = 0
    except BpfError as error:
        os.write(tell, str(error).encode("utf-8", "surrogateescape"))
    finally:
        os._exit(status)


def _link(paths: Sequence[str], place: str, aloud: Callable[[str], None] | None) -> None:
    lib = library()
    lib.messages = Messages(aloud)
    linker = lib.call("bpf_linker__new", place.encode(), None)
    if not linker:
        raise refused("cannot begin to link", lib, lib.errno)
    for path in paths:
        lib.messages = Messages(aloud)
        error = lib.call("bpf_linker__add_file", linker, os.fsencode(path), None)
        if error:
            raise refused(f"cannot link '{path}'", lib, -error)
    error = lib.call("bpf_linker__finalize", linker)
    if error:
        raise refused("cannot finish linking", lib, -error)
    lib.call("bpf_linker__free", linker)
