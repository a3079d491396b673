"""Object files in the hands of libbpf: opened, loaded, closed, and why that fails."""

from __future__ import annotations

import os
import stat
import struct
from errno import EACCES, EISDIR, EPERM

from pybpftool.control import verifier_log
from pybpftool.control.libbpf import Messages, as_numbers, library
from pybpftool.errors import BpfError, FormatError, KernelError, LoadError
from pybpftool.kernel.syscall import ENOTSUPP, Buffer, bpf
from pybpftool.uapi.bpf import BPF_OBJ_GET_INFO_BY_FD, MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

F_SLEEPABLE = 1 << 4
"""BPF_F_SLEEPABLE of BPF_PROG_LOAD."""

_STRUCT_OPS = MAP_TYPES.index("struct_ops")
_INFO = struct.Struct("=IIQ")  # union bpf_attr: bpf_fd, info_len, info
_LOG_BEGIN = "-- BEGIN PROG LOAD LOG --\n"
_LOG_END = "-- END PROG LOAD LOG --"
# Warnings that only repeat that something failed, or that are followed by another attempt.
_REPEATED = (
    "failed to load object",
    "failed to load BPF skeleton",
    "Error loading .BTF into kernel",
    "supported section(type) names are",
    "Failed to bump RLIMIT_MEMLOCK",
)
# What an older libbpf stumbles over, and the version that copes with it.
_NEWER = (
    (".addr_space.1", "1.4"),  # globals of arenas
    ("exception_callback:", "1.3"),
    ("exception callback type id not found", "1.3"),  # says the verifier
    (".struct_ops.link", "1.2"),
    (".percpu", "1.8"),
    ("attr 'map_extra': expected PTR, got enum64", "1.4"),
)
_SHOWN = 3  # warnings that a sentence quotes
_MOST_ERRNO = 4000  # above are libbpf's own numbers


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


def check_file(path: str) -> None:
    """Refuse what is not a readable ELF file before libbpf sees it."""
    from pybpftool.reading import read_some

    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            if not stat.S_ISREG(mode):
                raise BpfError(f"cannot open '{path}': not a regular file")
            magic = read_some(fd, 4)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot open '{path}': {reason}") from None
    if magic != b"\x7fELF":
        raise FormatError(f"cannot open '{path}': it is no ELF file")


def refused(what: str, lib: Libbpf, errno: int) -> LoadError:
    """The error for a call that libbpf refused: one sentence made of all that it said."""
    warnings = lib.messages.warnings()
    for program, log in reversed(_logs(warnings)):
        if log.strip():
            error = by_verifier(what, program, log, errno)
            more = _age(str(error), lib) or _skipped(lib)
            return LoadError(f"{error}{more}", errno, program, log)
        break
    warnings = [warning for warning in warnings if _LOG_BEGIN not in warning]
    reason = _reason(list(_telling(warnings)), errno)
    return LoadError(f"{what}: {reason}{_age(reason, lib) or _skipped(lib)}", errno)


def _age(reason: str, lib: Libbpf) -> str:
    """What to add if the library at hand is too old for this."""
    for sign, version in _NEWER:
        if sign in reason and as_numbers(lib.version) < as_numbers(version):
            return f" (this needs libbpf {version} or newer, and libbpf {lib.version} is installed)"
    return ""


def _skipped(lib: Libbpf) -> str:
    """What to add if the library has passed over a section that a newer one knows."""
    for _, text in lib.messages.said:
        if "skipping unrecognized data section" in text:
            section = text.rpartition(" ")[2].strip()
            for sign, version in _NEWER:
                if sign == section and as_numbers(lib.version) < as_numbers(version):
                    return (
                        f" (the section {section} needs libbpf {version} or newer, and libbpf"
                        f" {lib.version} is installed)"
                    )
    return ""


def _logs(said: list[str]) -> list[tuple[str, str]]:
    """Programs and the logs of the verifier among what libbpf said."""
    found = []
    for text in said:
        begin = text.find(_LOG_BEGIN)
        if begin >= 0:
            log = text[begin + len(_LOG_BEGIN) :].partition(_LOG_END)[0]
            found.append((_quoted(text[:begin]), log))
    return found


def logs(lib: Libbpf) -> dict[str, str]:
    """The verifier's logs of what was just loaded, by program."""
    return dict(_logs([text for _, text in lib.messages.said]))


def object_info(fd: int) -> bytes:
    """The first 64 bytes of what the kernel tells of an open program, map or link."""
    info = Buffer(64)
    attr = Buffer.of(_INFO.pack(fd, len(info.data), info.address))
    result = bpf(BPF_OBJ_GET_INFO_BY_FD, attr.address, len(attr.data))
    if result < 0:
        raise KernelError.of("cannot ask the kernel what was loaded", -result)
    return bytes(info.data)


def object_id(fd: int) -> int:
    """The id of an open program, map or link."""
    id: int = struct.unpack_from("=I", object_info(fd), 4)[0]
    return id


def by_verifier(what: str, program: str, log: str, errno: int) -> LoadError:
    """The error for a program that the verifier refused; ``program`` may be unknown (empty)."""
    found = verifier_log.refusal(log)
    name = f"the program '{program}'" if program else "a program"
    if not found.reason:
        # What comes after the verifier (no memory, no descriptor left) stands in no log.
        sentence = f"{what}: the kernel refuses {name}: {_strerror(errno)}"
        return LoadError(sentence, errno, program, log)
    where = ""
    if found.place:
        where += f" at {found.place}"
    if found.source:
        where += f" `{found.source}`"
    return LoadError(
        f"{what}: the verifier refuses {name}{where}: {found.reason}",
        errno,
        program,
        log,
    )


def _telling(warnings: list[str]) -> Iterator[str]:
    """The warnings that say something new."""
    for warning in warnings:
        if warning.startswith(_REPEATED) or "Retrying without BTF" in warning:
            continue
        if warning.startswith("prog '") and ": failed to load: " in warning:
            continue
        yield warning.replace("\n", " ")


def _reason(warnings: list[str], errno: int) -> str:
    text = "; ".join(warnings[:_SHOWN])
    if errno in (EPERM, EACCES) and os.geteuid() != 0:
        need = (
            "this needs the capability CAP_BPF, for most programs CAP_PERFMON or CAP_NET_ADMIN"
            " as well (try as root)"
        )
        return f"{need}; libbpf says: {text}" if text else need
    return f"libbpf says: {text}" if text else _strerror(errno)


def _strerror(errno: int) -> str:
    if errno == ENOTSUPP:
        return "the kernel does not support that (ENOTSUPP)"
    return os.strerror(errno) if errno < _MOST_ERRNO else f"error {errno} of libbpf"


def _quoted(text: str) -> str:
    """What stands between the first pair of quotes."""
    return text.partition("'")[2].rpartition("'")[0]
