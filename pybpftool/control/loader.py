"""Loader programs: BPF code that loads an object, made by libbpf for light skeletons.

libbpf does not load anything then: it writes down the system calls that it would make
(``bpf_object__gen_loader()``).
"""

from __future__ import annotations

import ctypes
import marshal
import os

from pybpftool.control.apart import made_apart
from pybpftool.control.bpf_object import check_file, refused
from pybpftool.control.libbpf import Messages, OpenOptions, library
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Loader(Record):
    """A loader program, the data that it works on, and what maps hold at first by name."""

    insns: bytes
    data: bytes
    initial: dict[str, bytes]


class _Options(ctypes.Structure):
    """``struct gen_loader_opts`` as libbpf 0.5 has it."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("insns", ctypes.c_void_p),
        ("data_sz", ctypes.c_uint32),
        ("insns_sz", ctypes.c_uint32),
    )


def loader(path: str, name: str, aloud: Callable[[str], None] | None = None) -> Loader:
    """The loader of an object file that is called ``name``.

    ``aloud`` hears what libbpf says. Raises :class:`pybpftool.errors.BpfError`.
    """
    check_file(path)
    library()
    found = marshal.loads(made_apart(path, lambda fd: _generate(path, name, fd, aloud)))
    return Loader(*found)


def _generate(path: str, name: str, fd: int, aloud: Callable[[str], None] | None) -> None:
    lib = library()
    lib.messages = Messages(aloud)
    options = OpenOptions(sz=ctypes.sizeof(OpenOptions), object_name=os.fsencode(name))
    obj = lib.call("bpf_object__open_file", os.fsencode(path), ctypes.byref(options))
    if not obj:
        raise refused(f"cannot open '{path}'", lib, lib.errno)
    made = _Options(sz=ctypes.sizeof(_Options))
    what = f"cannot make a loader of '{path}'"
    error = lib.call("bpf_object__gen_loader", obj, ctypes.byref(made))
    error = error or lib.call("bpf_object__load", obj)
    if error:
        raise refused(what, lib, -error)
    initial = {}
    for handle in lib.each("map", obj):
        size = ctypes.c_size_t()
        data = lib.call("bpf_map__initial_value", handle, ctypes.byref(size))
        if data:
            initial[lib.text("bpf_map__name", handle)] = ctypes.string_at(data, size.value)
    insns = ctypes.string_at(made.insns, made.insns_sz)
    whole = (insns, ctypes.string_at(made.data, made.data_sz), initial)
    with open(fd, "wb", closefd=False) as file:
        file.write(marshal.dumps(whole))
