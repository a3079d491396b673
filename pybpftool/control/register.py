"""Registering struct_ops: kernel interfaces that the programs of an object file implement."""

from __future__ import annotations

import posix
import struct

from pybpftool.control import require_live
from pybpftool.control.apart import apart, as_bpf_error, as_plain
from pybpftool.control.bpf_object import (
    F_LINK,
    LOG_ALL,
    BpfObjectFile,
    id_in,
    object_id,
    object_info,
)
from pybpftool.control.libbpf import as_numbers
from pybpftool.control.load import load_object, stand_in_unknown
from pybpftool.control.pin import PinSet
from pybpftool.control.refusal import refused
from pybpftool.errors import BpfError
from pybpftool.kernel.syscall import Buffer, bpf, checked, path_text
from pybpftool.records import Record
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.control.bpf_object import Map
    from pybpftool.elf.struct_ops import Copy
    from pybpftool.kernel.interface import Kernel

_KNOWS_LINKS = (1, 2)  # the version of libbpf that has .struct_ops.link
_LINK_CREATE = struct.Struct("=4I")  # union bpf_attr: map_fd, target_fd, attach_type, flags
_ATTACH_TYPE = uapi.ATTACH_TYPES.index("struct_ops")
_STRUCT_OPS = uapi.MAP_TYPES.index("struct_ops")
_NAME = slice(24, 40)  # of struct bpf_map_info


class Registered(Record):
    """A map that took effect; ``link_id`` is that of its link, None where it needs none.

    ``map_info`` is its ``struct bpf_map_info``, as to open it by its id is not permitted to
    everybody who may make it.
    """

    map_id: int
    link_id: int | None
    map_info: bytes


def register(
    kernel: Kernel,
    path: str,
    link_directory: str | None = None,
    may_mount: bool = True,
    aloud: Callable[[str], None] | None = None,
    copy: Copy | None = None,
) -> Iterator[Registered | BpfError]:
    """Load an object file and register its maps of struct_ops; for each of them what came of it.

    A map that takes effect through a link does so as long as the link is there:
    ``link_directory`` is where links are pinned by the maps' names, without it they go with the
    iterator. ``copy`` is opened in place of the file. Raises BpfError where the file is not
    loaded; then nothing stays.
    """
    require_live(kernel)
    pins = PinSet(may_mount)
    count = 0
    try:
        for is_registered, values in apart(
            path,
            lambda **there: _register(path, link_directory, may_mount, copy, **there),
            aloud=aloud,
            note=pins.note,
        ):
            if is_registered:
                count += 1
                yield Registered(*values)
            else:
                yield as_bpf_error(*values)
    finally:
        if not count:
            pins.undo()


def _register(
    path: str,
    link_directory: str | None,
    may_mount: bool,
    copy: Copy | None,
    aloud: Callable[[str], None] | None,
    note: Callable[..., None],
) -> Iterator[tuple[bool, tuple[object, ...]]]:
    """What came of each, whether it was registered, in a plain form."""
    pins = PinSet(may_mount, note)
    count = 0
    try:
        if link_directory is not None:
            pins.prepare_directory(link_directory)
        level = 0 if aloud is None else LOG_ALL
        with BpfObjectFile(path, log_level=level, aloud=aloud, copy=copy) as obj:
            for prog in obj.programs:
                stand_in_unknown(obj, prog)
            load_object(obj, pins)
            links: list[int] = []
            try:
                for map in obj.maps:
                    if map.type == _STRUCT_OPS:
                        outcome = _register_one(obj, map, link_directory, pins, links)
                        if isinstance(outcome, Registered):
                            count += 1
                            yield True, tuple(outcome)
                        else:
                            yield False, as_plain(outcome)
            finally:
                for fd in links:
                    posix.close(fd)
            more = _too_old(obj)
            if not any(map.type == _STRUCT_OPS for map in obj.maps):
                raise BpfError(f"there is no struct_ops in '{path}'{more}")
            if more:
                beside = BpfError(f"'{path}' has struct_ops beside those{more}")
                yield False, as_plain(beside)
    finally:
        if not count:
            pins.undo()


def _register_one(
    obj: BpfObjectFile, map: Map, directory: str | None, pins: PinSet, links: list[int]
) -> Registered | BpfError:
    lib = obj.lib
    link = lib.call("bpf_map__attach_struct_ops", map.handle)
    if not link:
        return refused(f"cannot register '{map.name}'", lib, lib.errno)
    try:
        info = object_info(map.fd, uapi.BPF_MAP_INFO_SIZE)
        id = id_in(info)
        if not lib.call("bpf_map__map_flags", map.handle) & F_LINK:
            return Registered(id, None, info)
        fd: int = lib.call("bpf_link__fd", link)
        if as_numbers(lib.version) < _KNOWS_LINKS:
            fd = _link(map)
        links.append(fd)
        if directory is not None:
            name = path_text(info[_NAME].split(b"\0")[0])
            pins.pin(fd, f"{directory}/{name}")
        return Registered(id, object_id(fd), info)
    except BpfError as error:
        return error
    finally:
        # Else the library takes out of use what it has registered.
        lib.call("bpf_link__disconnect", link)
        lib.call("bpf_link__destroy", link)


def _link(map: Map) -> int:
    attr = Buffer.of(_LINK_CREATE.pack(map.fd, 0, _ATTACH_TYPE, 0))
    result = bpf(uapi.BPF_LINK_CREATE, attr.address, _LINK_CREATE.size)
    return checked(f"cannot make a link for '{map.name}'", result)


def _too_old(obj: BpfObjectFile) -> str:
    said = obj.lib.messages.said  # newer libraries name the section, too, as they read it
    is_old = as_numbers(obj.lib.version) < _KNOWS_LINKS
    if is_old and any(".struct_ops.link" in text for _, text in said):
        return (
            " that this libbpf knows: the section .struct_ops.link needs libbpf 1.2 or newer, and"
            f" libbpf {obj.lib.version} is installed"
        )
    return ""
