"""Loading the programs of an object file and pinning them (``prog load``, ``prog loadall``)."""

from __future__ import annotations

import posix
from errno import EINVAL

from pybpftool.control import require_live
from pybpftool.control.apart import apart
from pybpftool.control.bpf_object import (
    LOG_ALL,
    LOG_WHOLE,
    BpfObjectFile,
    object_id,
)
from pybpftool.control.libbpf import as_numbers
from pybpftool.control.pin import PinSet, is_there
from pybpftool.control.refusal import logs
from pybpftool.elf import prog_sections
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.syscall import F_SLEEPABLE, path_bytes
from pybpftool.records import Record
from pybpftool.uapi.bpf import MAP_TYPES, PROG_TYPES
from pybpftool.uapi.prog_sections import ATTACH_BTF, SLEEPABLE, XDP_FRAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.control.bpf_object import Map, Program
    from pybpftool.elf.struct_ops import Copy
    from pybpftool.kernel.interface import Kernel

# Flags of BPF_PROG_LOAD, include/uapi/linux/bpf.h.
_F_XDP_HAS_FRAGS = 1 << 5
_F_XDP_DEV_BOUND_ONLY = 1 << 6

_TYPE_REPLACES_SECTION = (1, 2)  # libbpf's version of bpf_program__set_type() that does

_XDP = PROG_TYPES.index("xdp")
_PERF_EVENT_ARRAY = MAP_TYPES.index("perf_event_array")


class Replacement(Record):
    """An existing map that takes the place of one of the object's."""

    which: int | str  # its number in the object, or its name
    fd: int


class Loaded(Record):
    """A program that was loaded; ``log`` is what the verifier said, if that was asked for."""

    name: str
    id: int
    log: str


class Request(Record):
    """What is to be loaded, how, and where it is pinned."""

    path: str
    pin_path: str  # a file for the first program, a directory for all of them
    all_programs: bool = False
    type: str | None = None  # a section's name that stands for the programs' own
    maps: tuple[Replacement, ...] = ()
    offload_ifindex: int = 0
    xdpmeta_ifindex: int = 0
    pin_maps: str | None = None
    auto_attach: bool = False
    kernel_btf: str | None = None
    relaxed_maps: bool = False
    with_logs: bool = False
    may_mount: bool = True
    copy: Copy | None = None  # opened in place of the file


def load(
    kernel: Kernel,
    request: Request,
    say: Callable[[str], None],
    aloud: Callable[[str], None] | None = None,
) -> list[Loaded]:
    """Load an object file's programs and pin the first one, or all; the programs.

    :param say: hears remarks.
    :param aloud: hears all that libbpf and the verifier say.

    Raises BpfError; then nothing stays pinned, mounted or made.
    """
    require_live(kernel)
    common = None if request.type is None else type_of(request.type)
    pins = PinSet(request.may_mount)
    try:
        [loaded] = apart(
            request.path,
            lambda **there: _load(request, common, **there),
            say=say, aloud=aloud, note=pins.note,
        )  # fmt: skip
    except BaseException:
        pins.undo()
        raise
    return [Loaded(*prog) for prog in loaded]


def _load(
    request: Request,
    common: prog_sections.Section | None,
    say: Callable[[str], None],
    aloud: Callable[[str], None] | None,
    note: Callable[..., None],
) -> Iterator[list[tuple[object, ...]]]:
    """Load, pin, and yield the loaded programs at the end."""
    with _open(request, common, aloud) as obj:
        attachable = [_set_up(obj, prog, common, request) for prog in obj.programs]
        _replace_maps(obj, request)
        pins = PinSet(request.may_mount, note)
        try:
            load_object(obj, pins)
            _pin_programs(obj, request, pins, attachable, say)
            if request.pin_maps is not None:
                pins.prepare_directory(request.pin_maps)
                for map in obj.maps:
                    if map.is_wanted:
                        _pin_map(map, request.pin_maps, pins)
            said = logs(obj.lib) if request.with_logs else {}
            yield [
                (prog.name, object_id(prog.fd), said.get(prog.name, ""))
                for prog in obj.programs
                if prog.fd >= 0
            ]
        except BaseException:
            pins.undo()
            raise


def _open(
    request: Request,
    common: prog_sections.Section | None,
    aloud: Callable[[str], None] | None,
) -> BpfObjectFile:
    level = LOG_ALL if aloud is not None else LOG_WHOLE if request.with_logs else 0
    how = (request.path, request.kernel_btf, request.relaxed_maps, level, aloud)
    obj = BpfObjectFile(*how, copy=request.copy)
    if common is None or as_numbers(obj.lib.version) >= _TYPE_REPLACES_SECTION:
        return obj
    # Older libraries load a program as one that sleeps, whatever type it was given.
    sleeping = {
        prog.section
        for prog in obj.programs
        if (own := prog_sections.find(prog.section)) is not None
        and SLEEPABLE in own.flags
        and own.prog_type != common.prog_type
    }
    if sleeping:
        obj.close()
        for section in sleeping:
            obj.lib.forget_section(section)
        obj = BpfObjectFile(*how, copy=request.copy)
    return obj


def load_object(obj: BpfObjectFile, pins: PinSet) -> None:
    """Load; the maps that libbpf pins by itself count among ``pins``."""
    for map in obj.maps:
        path = map.pin_path
        if path and not is_there(path):
            pins.adopt(path)  # before, for it may crash after it has pinned
    obj.load()


def type_of(word: str) -> prog_sections.Section:
    """The types that a word of the command line means: a section's name, or its first part."""
    found = prog_sections.find(word) or prog_sections.find(word + "/")
    if found is None:
        raise BpfError(f"'{word}' is not a program type; 'pybpftool prog help' names them")
    return found


def guess(obj: BpfObjectFile, prog: Program) -> prog_sections.Section:
    """The types of a program by its section. Raises BpfError."""
    found = prog_sections.find(prog.section)
    if found is None:
        known = obj.lib.prog_type(prog.section)  # a newer libbpf may know more
        if known is None:
            raise BpfError(
                f"cannot tell the type of the program '{prog.name}' from its section"
                f" '{prog.section}'; give it with 'type'"
            )
        found = prog_sections.Section(*known, "")
    return found


def _set_up(
    obj: BpfObjectFile, prog: Program, common: prog_sections.Section | None, request: Request
) -> bool:
    """Set a program's type, flags and device; whether it may be attached by itself."""
    lib = obj.lib
    section = guess(obj, prog) if common is None else common
    if section.prog_type == _XDP and request.xdpmeta_ifindex:
        lib.call("bpf_program__set_flags", prog.handle, _F_XDP_DEV_BOUND_ONLY)
        lib.call("bpf_program__set_ifindex", prog.handle, request.xdpmeta_ifindex)
    else:
        lib.call("bpf_program__set_ifindex", prog.handle, request.offload_ifindex)
    if common is None:
        set_type(obj, prog, section)
        return True
    before: int = lib.call("bpf_program__type", prog.handle)
    _set_types(obj, prog, section)
    # A type that was given takes the section's own behaviour away.
    return before == section.prog_type


def _set_types(obj: BpfObjectFile, prog: Program, section: prog_sections.Section) -> None:
    lib = obj.lib
    if lib.call("bpf_program__type", prog.handle) != section.prog_type:
        lib.call("bpf_program__set_type", prog.handle, section.prog_type)
    lib.call("bpf_program__set_expected_attach_type", prog.handle, section.attach_type)


def set_type(obj: BpfObjectFile, prog: Program, section: prog_sections.Section) -> None:
    """Set a program's types and what else its section asks for."""
    _set_types(obj, prog, section)
    _stand_in(obj, prog, section)


def stand_in_unknown(obj: BpfObjectFile, prog: Program) -> None:
    """Set up a program whose section the library at hand does not know, if that is possible."""
    section = prog_sections.find(prog.section)
    if section is not None and obj.lib.prog_type(prog.section) is None:
        set_type(obj, prog, section)


def _stand_in(obj: BpfObjectFile, prog: Program, section: prog_sections.Section) -> None:
    """Do for a section that the library does not know what one does that knows it."""
    lib = obj.lib
    if lib.prog_type(prog.section) is not None:
        return
    flags = lib.call("bpf_program__flags", prog.handle)
    if SLEEPABLE in section.flags:
        flags |= F_SLEEPABLE
    if XDP_FRAGS in section.flags:
        flags |= _F_XDP_HAS_FRAGS
    lib.call("bpf_program__set_flags", prog.handle, flags)
    target = prog.section.partition("/")[2]
    if ATTACH_BTF in section.flags and target:
        error = lib.call(
            "bpf_program__set_attach_target",
            prog.handle,
            0,
            path_bytes(target),
        )
        if error:
            raise KernelError.of(
                f"cannot find '{target}' for the program '{prog.name}' in the kernel's BTF", -error
            )


def _replace_maps(obj: BpfObjectFile, request: Request) -> None:
    fds: dict[int, int] = {}
    for which, fd in request.maps:
        if isinstance(which, str):
            found = [at for at, map in enumerate(obj.maps) if map.name == which]
            if not found:
                raise BpfError(f"'{request.path}' has no map '{which}'")
            index = found[0]
        else:
            index = which
        if index in fds:
            raise BpfError(f"map {index} of '{request.path}' is to be replaced twice")
        if not 0 <= index < len(obj.maps):
            raise BpfError(
                f"'{request.path}' has no map {index}: it has {len(obj.maps)}, counted from 0"
            )
        fds[index] = fd
    for index, map in enumerate(obj.maps):
        if map.type != _PERF_EVENT_ARRAY:
            obj.lib.call("bpf_map__set_ifindex", map.handle, request.offload_ifindex)
        if index in fds:
            what = f"cannot use this map in place of '{map.name}'"
            obj.lib.checked(what, "bpf_map__reuse_fd", map.handle, fds[index])
            map.name = obj.lib.text("bpf_map__name", map.handle)  # the other map's by now


def _pin_programs(
    obj: BpfObjectFile,
    request: Request,
    pins: PinSet,
    attachable: list[bool],
    say: Callable[[str], None],
) -> None:
    path = request.pin_path
    if request.all_programs:
        pins.prepare_directory(path)
        todo = [(prog, f"{path}/{prog.name}") for prog in obj.programs]
    else:
        pins.prepare_file(path)
        if not obj.programs:
            raise BpfError(f"there is no program in '{request.path}'")
        todo = [(obj.programs[0], path)]
    for (prog, place), may_attach in zip(todo, attachable):
        if prog.fd < 0:
            raise KernelError(
                f"cannot pin the program '{prog.name}': its section asks not to load it", EINVAL
            )
        if request.auto_attach:
            heard = len(obj.lib.messages.warnings())
            if may_attach and _pin_link(obj, prog, place, pins):
                continue
            why = obj.lib.messages.warnings()[heard:]
            if obj.lib.prog_type(prog.section) is None:
                why = [f"libbpf {obj.lib.version} does not know the section '{prog.section}'"]
            reason = f" ({'; '.join(why)})" if why else ""
            say(
                f"The program '{prog.name}' has no way to be attached by itself; it is pinned"
                f" instead{reason}"
            )
        pins.pin(prog.fd, place)


def _pin_link(obj: BpfObjectFile, prog: Program, path: str, pins: PinSet) -> bool:
    """Attach a program as its section says and pin the link; False if that is impossible."""
    lib = obj.lib
    link = lib.call("bpf_program__attach", prog.handle)
    if not link:
        return False
    try:
        descriptor = lib.call("bpf_link__fd", link)
        pins.pin(descriptor, path)
        # Else the library disables the perf event of the link that stays.
        lib.call("bpf_link__disconnect", link)
        posix.close(descriptor)  # which is ours from here on
    finally:
        lib.call("bpf_link__destroy", link)
    return True


def _pin_map(map: Map, directory: str, pins: PinSet) -> None:
    # A bpf file system takes no names with dots.
    path = f"{directory}/{map.name}".replace(".", "_")
    own = map.pin_path
    if own:
        if own != path:
            raise BpfError(
                f"cannot pin the map '{map.name}' at '{path}': the object has it pinned at '{own}'"
            )
        if map.is_pinned:
            return
    if map.fd < 0:
        raise BpfError(f"cannot pin the map '{map.name}': it was not created")
    pins.pin(map.fd, path)
