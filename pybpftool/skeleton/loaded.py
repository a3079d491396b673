"""An object in the hands of a program: opened, loaded, attached, closed."""

from __future__ import annotations

import os
from base64 import b64decode
from errno import EOPNOTSUPP
from mmap import MAP_SHARED, PROT_READ, PROT_WRITE, mmap
from typing import Any, TypeVar

from pybpftool.control.bpf_object import BpfObjectFile, object_id, object_info
from pybpftool.control.load import stand_in_unknown
from pybpftool.control.refusal import refused
from pybpftool.errors import BpfError
from pybpftool.skeleton.memory import Memory, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.control.bpf_object import Map as FileMap
    from pybpftool.control.bpf_object import Program as FileProgram
    from pybpftool.control.libbpf import Libbpf
    from pybpftool.control.run import Outcome

AnySkeleton = TypeVar("AnySkeleton", bound="Skeleton")
_PAGE = os.sysconf("SC_PAGESIZE")
_F_RDONLY_PROG = 1 << 7  # include/uapi/linux/bpf.h


def open_library(file: BpfObjectFile) -> Libbpf:
    """The library, to be asked about a file that is open. Raises BpfError for a closed one."""
    if file.is_closed:
        raise BpfError(f"'{file.path}' is closed")
    return file.lib


class Link:
    """A program or struct_ops map that is attached, until it is detached or closed."""

    def __init__(self, file: BpfObjectFile, handle: int) -> None:
        self._file = file
        self._handle: int | None = handle

    @property
    def fd(self) -> int:
        """Its descriptor. Raises BpfError once it is detached."""
        if self._handle is None:
            raise BpfError("the link is detached")
        fd: int = self._file.lib.call("bpf_link__fd", self._handle)
        return fd

    def pin(self, path: str) -> None:
        """Pin it in a bpf file system: it stays attached when the process ends."""
        from pybpftool.control.pin import PinSet

        pins = PinSet(False)
        pins.prepare_file(path)
        pins.pin(self.fd, path)

    def detach(self) -> None:
        """Detach it, unless it is pinned; twice is harmless."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._file.lib.call("bpf_link__destroy", handle)


class Program:
    """A program of the object."""

    def __init__(self, file: BpfObjectFile, name: str) -> None:
        self._file = file
        self._program: FileProgram = next(one for one in file.programs if one.name == name)
        self.link: Link | None = None
        """What attaching it gave."""

    @property
    def name(self) -> str:
        """As the object calls it."""
        return self._program.name

    @property
    def fd(self) -> int:
        """Its descriptor, which the skeleton closes. Raises BpfError before it is loaded."""
        fd = -1 if self._file.is_closed else self._program.fd
        if fd < 0:
            raise BpfError(f"the program '{self.name}' is not loaded")
        return fd

    @property
    def id(self) -> int:
        """The number by which the kernel knows it."""
        return object_id(self.fd)

    @property
    def autoload(self) -> bool:
        """Whether it is loaded with the others; may be set until then."""
        lib = open_library(self._file)
        return bool(lib.call("bpf_program__autoload", self._program.handle))

    @autoload.setter
    def autoload(self, wanted: bool) -> None:
        what = f"cannot change the program '{self.name}'"
        lib = open_library(self._file)
        lib.checked(what, "bpf_program__set_autoload", self._program.handle, wanted)

    def attach(self) -> Link:
        """Attach it as its section says. Raises BpfError."""
        link = self._attached("bpf_program__attach")
        if link is None:
            raise BpfError(
                f"the section '{self._program.section}' of the program '{self.name}' does not"
                " tell where to attach it"
            )
        return link

    def attach_xdp(self, device: int | str) -> Link:
        """Attach an XDP program to a network device: its index or its name. Raises BpfError."""
        if isinstance(device, str):
            from pybpftool.kernel.live import LiveKernel

            device = LiveKernel().device_index(device, "")
        return self._attached_to("bpf_program__attach_xdp", device)

    def attach_cgroup(self, cgroup: int | str | os.PathLike[str]) -> Link:
        """Attach it to a cgroup: a descriptor of its directory, or its path. Raises BpfError."""
        if isinstance(cgroup, int):
            return self._attached_to("bpf_program__attach_cgroup", cgroup)
        try:
            fd = os.open(cgroup, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "impossible name"
            raise BpfError(f"cannot open the cgroup '{cgroup}': {reason}") from None
        try:
            return self._attached_to("bpf_program__attach_cgroup", fd)
        finally:
            os.close(fd)

    def run(self, data: bytes | None = None, ctx: bytes | None = None, repeat: int = 1) -> Outcome:
        """Run it on a packet or context in the kernel, ``repeat`` times. Raises BpfError."""
        from pybpftool.control.run import run_program
        from pybpftool.kernel.interface import BpfObject
        from pybpftool.kernel.live import LiveKernel

        fd = self.fd
        prog = BpfObject("prog", object_id(fd), fd, object_info(fd))
        return run_program(LiveKernel(), prog, data, ctx, repeat)

    def _attached_to(self, function: str, place: int) -> Link:
        if not isinstance(place, int):
            raise TypeError(f"a place to attach to is a number or a name, not {place!r}")
        link = self._attached(function, place)
        if link is None:
            raise BpfError(f"the program '{self.name}' cannot be attached there")
        return link

    def _attached(self, function: str, *arguments: int) -> Link | None:
        """Attach it; None where libbpf knows no way, which it does not complain of."""
        lib = self._file.lib
        if self.fd and self.link is not None:
            self.link.detach()
        heard = len(lib.messages.warnings())
        handle = lib.call(function, self._program.handle, *arguments)
        if not handle:
            errno = lib.errno
            if errno == EOPNOTSUPP and len(lib.messages.warnings()) == heard:
                return None
            raise refused(f"cannot attach the program '{self.name}'", lib, errno)
        self.link = Link(self._file, handle)
        return self.link

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Section(Window):
    """Global variables: ``skel.bss.count``. They are the programs' own once these are loaded."""

    __slots__ = ("_map", "_mapped")

    def __init__(self, file: BpfObjectFile, name: str) -> None:
        self._map: FileMap = next(one for one in file.maps if one.name == name)
        self._mapped: mmap | None = None
        first = bytearray(self._map.initial_value or b"")
        self._memory = Memory(memoryview(first), f"the section of '{name}'")
        self._offset = 0

    def _give(self, file: BpfObjectFile) -> None:
        """Tell libbpf what the map is to hold at first."""
        data = bytes(self._memory.view)
        if data != self._map.initial_value:
            what = f"cannot set the variables of '{self._map.name}'"
            handle = self._map.handle
            file.lib.checked(what, "bpf_map__set_initial_value", handle, data, len(data))

    def _map_memory(self, file: BpfObjectFile) -> None:
        """Let the variables be those of the loaded map."""
        size = len(self._memory.view)
        flags: int = file.lib.call("bpf_map__map_flags", self._map.handle)
        access = PROT_READ if flags & _F_RDONLY_PROG else PROT_READ | PROT_WRITE
        try:
            pages = -(-size // _PAGE) * _PAGE
            self._mapped = mmap(self._map.fd, pages, flags=MAP_SHARED, prot=access)
        except (OSError, ValueError) as error:
            raise BpfError(f"cannot map the variables of '{self._map.name}': {error}") from None
        self._memory.move(memoryview(self._mapped)[:size])

    def _close(self) -> None:
        self._memory.move(None)
        if self._mapped is not None:
            self._mapped.close()


class Skeleton:
    """An object that is open; a context manager that detaches and closes it.

    Loading gives it to the kernel, attaching lets it run. All raise
    :class:`pybpftool.errors.BpfError`.
    """

    def __init__(self, file: BpfObjectFile) -> None:
        self._file = file
        self._is_loaded = False
        self._links: dict[str, Link] = {}  # of struct_ops maps

    @staticmethod
    def elf_bytes() -> bytes:
        """The object file."""
        raise NotImplementedError

    _name = ""

    @classmethod
    def open(cls: type[AnySkeleton], kernel_btf: str | None = None) -> AnySkeleton:
        """Open the object; variables can be set, maps resized. ``kernel_btf``: in a file."""
        return cls(BpfObjectFile(cls._name, kernel_btf, name=cls._name, data=cls.elf_bytes()))

    @classmethod
    def open_and_load(cls: type[AnySkeleton], kernel_btf: str | None = None) -> AnySkeleton:
        """Open the object and load it."""
        skel = cls.open(kernel_btf)
        try:
            skel.load()
        except BaseException:
            skel.close()
            raise
        return skel

    def _parts(self, kind: type[Any]) -> list[Any]:
        """The sections, or what the groups of maps and programs hold, of a kind."""
        own = [value for name, value in vars(self).items() if not name.startswith("_")]
        grouped = [one for group in own if isinstance(group, Group) for one in vars(group).values()]
        return [one for one in own + grouped if isinstance(one, kind)]

    def load(self) -> None:
        """Create the maps and load the programs."""
        open_library(self._file)
        if self._is_loaded:
            raise BpfError(f"'{self._name}' is loaded already")
        sections: list[Section] = self._parts(Section)
        for prog in self._file.programs:
            stand_in_unknown(self._file, prog)
        for section in sections:
            section._give(self._file)
        self._file.load()
        self._is_loaded = True
        for section in sections:
            section._map_memory(self._file)

    def attach(self) -> None:
        """Attach all that says itself where it belongs, struct_ops maps included."""
        open_library(self._file)
        if not self._is_loaded:
            raise BpfError(f"'{self._name}' is not loaded")
        for program in self._parts(Program):
            if program.link is None and program._program.fd >= 0:
                program._attached("bpf_program__attach")
        lib = self._file.lib
        for map in self._file.maps:
            if map.is_struct_ops and map.fd >= 0 and map.name not in self._links:
                handle = lib.call("bpf_map__attach_struct_ops", map.handle)
                if not handle:
                    raise refused(f"cannot attach the map '{map.name}'", lib, lib.errno)
                self._links[map.name] = Link(self._file, handle)

    def detach(self) -> None:
        """Detach all that was attached."""
        for program in self._parts(Program):
            if program.link is not None:
                program.link.detach()
                program.link = None
        for link in self._links.values():
            link.detach()
        self._links.clear()

    def close(self) -> None:
        """Detach and close all; twice is harmless."""
        if self._file.is_closed:
            return
        self.detach()
        for section in self._parts(Section):
            section._close()
        self._file.close()

    def __enter__(self: AnySkeleton) -> AnySkeleton:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Group:
    """Maps or programs by name."""


def decoded(text: str) -> bytes:
    """An object file out of the text that a module keeps it in."""
    return b64decode(text)
