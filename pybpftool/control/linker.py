"""Object files made into one by the system's libbpf (``bpf_linker__new()`` and its like)."""

from __future__ import annotations

import posix

from pybpftool.control.apart import apart
from pybpftool.control.libbpf import Messages, library
from pybpftool.control.refusal import check_file, refused
from pybpftool.errors import BpfError
from pybpftool.kernel.syscall import path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def link(paths: Sequence[str], aloud: Callable[[str], None] | None = None) -> bytes:
    """The object file that these make: sections and BTF merged, debug information left out.

    ``aloud`` hears what libbpf says. Raises :class:`pybpftool.errors.BpfError`.
    """
    for path in paths:
        check_file(path)
    library()  # fails here, not in the other process
    made = posix.memfd_create("made")  # with no name until it is whole
    try:
        for _ in apart("', '".join(paths), lambda aloud: _link(paths, made, aloud), aloud=aloud):
            pass
        with open(made, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()
    finally:
        posix.close(made)


def link_bytes(
    contents: Sequence[bytes], names: Sequence[str], aloud: Callable[[str], None] | None = None
) -> bytes:
    """As :func:`link`, of files that are in memory; ``names`` are what messages call them."""
    places = []
    try:
        for data in contents:
            fd = posix.memfd_create("object")
            places.append(fd)
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
        paths = [f"/proc/self/fd/{fd}" for fd in places]
        try:
            return link(paths, aloud)
        except BpfError as error:
            text = str(error)
            for path, name in zip(paths, names):
                text = text.replace(path, name)
            raise BpfError(text) from None
    finally:
        for fd in places:
            posix.close(fd)


def _link(paths: Sequence[str], fd: int, aloud: Callable[[str], None] | None) -> Iterator[None]:
    lib = library()
    lib.messages = Messages(aloud)
    linker = lib.call("bpf_linker__new", f"/proc/self/fd/{fd}".encode(), None)
    if not linker:
        raise refused("cannot begin to link", lib, lib.errno)
    for path in paths:
        lib.messages = Messages(aloud)
        error = lib.call("bpf_linker__add_file", linker, path_bytes(path), None)
        if error:
            raise refused(f"cannot link '{path}'", lib, -error)
    error = lib.call("bpf_linker__finalize", linker)
    if error:
        raise refused("cannot finish linking", lib, -error)
    lib.call("bpf_linker__free", linker)
    yield
