"""Object files in the hands of libbpf: opened, loaded, closed."""

from __future__ import annotations

import struct

from pybpftool.control.libbpf import Messages, library
from pybpftool.control.refusal import check_file, refused
from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import F_SLEEPABLE, INFO_ATTR, Buffer, bpf
from pybpftool.uapi.bpf import BPF_OBJ_GET_INFO_BY_FD, MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.control.libbpf import Libbpf
    from pybpftool.elf.struct_ops import Copy

LOG_STATISTICS = 4
"""BPF_LOG_STATS (include/linux/bpf_verifier.h)."""

LOG_WHOLE = 1 | LOG_STATISTICS
"""BPF_LOG_LEVEL1 as well: what the verifier says of a program that it refuses."""

LOG_ALL = 1 | 2 | LOG_STATISTICS
"""BPF_LOG_LEVEL1 and BPF_LOG_LEVEL2 as well."""

F_LINK = 1 << 13
"""BPF_F_LINK (v6.4): a map of struct_ops takes effect through a link."""


_STRUCT_OPS = MAP_TYPES.index("struct_ops")


class Program:
    """A program of an object file."""

    __slots__ = ("_lib", "handle", "name", "section")

    def __init__(self, lib: Libbpf, handle: int) -> None:
        self._lib = lib
        self.handle = handle
        self.name = lib.text("bpf_program__name", handle)
        self.section = lib.text("bpf_program__section_name", handle)

    @property
    def fd(self) -> int:
        """The loaded program; negative if it was not to be loaded."""
        fd: int = self._lib.call("bpf_program__fd", self.handle)
        return fd


class Map:
    """A map of an object file."""

    __slots__ = ("_lib", "handle", "name", "type")

    def __init__(self, lib: Libbpf, handle: int) -> None:
        self._lib = lib
        self.handle = handle
        self.name = lib.text("bpf_map__name", handle)
        self.type: int = lib.call("bpf_map__type", handle)

    @property
    def fd(self) -> int:
        """The created map; negative if it was not to be created."""
        fd: int = self._lib.call("bpf_map__fd", self.handle)
        return fd

    @property
    def is_wanted(self) -> bool:
        """Whether loading creates it."""
        return bool(self._lib.call("bpf_map__autocreate", self.handle))

    @property
    def is_struct_ops(self) -> bool:
        """Whether it takes effect by being attached."""
        return self.type == _STRUCT_OPS

    @property
    def pin_path(self) -> str:
        """Where it is, or will be pinned by itself; empty for nowhere."""
        return self._lib.text("bpf_map__pin_path", self.handle)

    @property
    def initial_value(self) -> bytes | None:
        """What it holds at first, if it is one of global variables."""
        return self._lib.initial_value(self.handle)

    @property
    def is_pinned(self) -> bool:
        """Whether it is pinned there."""
        return bool(self._lib.call("bpf_map__is_pinned", self.handle))


class BpfObjectFile:
    """An object file that libbpf has opened; a context manager that closes it.

    ``aloud`` hears everything that libbpf says at once, the whole logs of the verifier
    included; without it only failures make a log. ``name`` is given to the object in place of
    the file's, ``data`` or ``copy`` is opened in place of what the file holds. Raises
    FormatError, BpfError, LoadError.
    """

    __slots__ = ("_obj", "lib", "maps", "path", "programs")

    def __init__(
        self,
        path: str,
        kernel_btf: str | None = None,
        relaxed_maps: bool = False,
        log_level: int = 0,
        aloud: Callable[[str], None] | None = None,
        name: str | None = None,
        data: bytes | None = None,
        copy: Copy | None = None,
    ) -> None:
        if copy is not None:
            name, data = name_of(path), copy.data
        if data is None:
            check_file(path)
        self.path = path
        self.lib = lib = library()
        lib.messages = Messages(aloud)
        self._obj = lib.open_object(path, name, kernel_btf, relaxed_maps, log_level, data)
        if not self._obj:
            raise refused(f"cannot open '{path}'", lib, lib.errno)
        self.programs = [Program(lib, handle) for handle in lib.each("program", self._obj)]
        self.maps = [Map(lib, handle) for handle in lib.each("map", self._obj)]
        if copy is not None:
            self._adapt(copy)

    def _adapt(self, copy: Copy) -> None:
        """Set what a copy, opened in place of the file, cannot tell."""
        lib = self.lib
        for map in self.maps:
            if map.name in copy.linked and map.is_struct_ops:
                lib.call("bpf_map__set_map_flags", map.handle, F_LINK)
            if map.name in copy.optional and map.is_struct_ops:
                lib.call("bpf_map__set_autocreate", map.handle, False)
        for prog in self.programs:
            if prog.name in copy.sleepable:
                flags = lib.call("bpf_program__flags", prog.handle)
                lib.call("bpf_program__set_flags", prog.handle, flags | F_SLEEPABLE)
            if prog.name in copy.unneeded:
                lib.call("bpf_program__set_autoload", prog.handle, False)

    def make_loader(self, signed: bool) -> tuple[bytes, bytes]:
        """The instructions and the data of a light loader, which libbpf makes in place of loading.

        ``signed``: it checks its data, so that a signature covers them.
        """
        options = self.lib.generate_loader(self._obj, signed)
        self.load()
        return options.made()

    def load(self) -> None:
        """Create the maps and load the programs."""
        error = self.lib.call("bpf_object__load", self._obj)
        if error:
            raise refused(f"cannot load '{self.path}'", self.lib, -error)

    def __enter__(self) -> BpfObjectFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether it is closed; then its programs and maps must not be asked any more."""
        return self._obj is None

    def close(self) -> None:
        """Close it, with all that is open of it."""
        obj, self._obj = self._obj, None
        self.lib.call("bpf_object__close", obj)


def name_of(path: str) -> str:
    """What libbpf calls an object that it opens by its path."""
    return path.rpartition("/")[2].partition(".")[0]


def object_info(fd: int, size: int = 64) -> bytes:
    """The first bytes of what the kernel tells of an open program, map or link."""
    info = Buffer(size)
    attr = Buffer.of(INFO_ATTR.pack(fd, len(info.data), info.address))
    result = bpf(BPF_OBJ_GET_INFO_BY_FD, attr.address, len(attr.data))
    if result < 0:
        raise KernelError.of("cannot ask the kernel what was loaded", -result)
    return bytes(info.data[: INFO_ATTR.unpack(attr.data)[1]])


def object_id(fd: int) -> int:
    """The id of an open program, map or link."""
    return id_in(object_info(fd))


def id_in(info: bytes) -> int:
    """The id in what the kernel tells of a program, map or link."""
    id: int = struct.unpack_from("=I", info, 4)[0]
    return id
