"""Iterators: programs that walk over objects of the kernel when their pin is read (v5.8)."""

from __future__ import annotations

from pybpftool.control import require_live
from pybpftool.control.apart import apart
from pybpftool.control.bpf_object import BpfObjectFile
from pybpftool.control.load import load_object, stand_in_unknown
from pybpftool.control.pin import PinSet
from pybpftool.control.refusal import refused
from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.kernel.interface import Kernel


def pin_iterator(
    kernel: Kernel,
    path: str,
    pin_path: str,
    map_fd: int | None = None,
    may_mount: bool = True,
    aloud: Callable[[str], None] | None = None,
) -> None:
    """Load an object file, attach its first program as an iterator and pin the link.

    :param map_fd: the map whose elements it walks over, if it is one of these.
    :param aloud: hears what libbpf says.

    Raises BpfError; then nothing stays.
    """
    require_live(kernel)
    pins = PinSet(may_mount)
    try:
        for _ in apart(
            path,
            lambda **there: _pin(path, pin_path, map_fd, may_mount, **there),
            aloud=aloud,
            note=pins.note,
        ):
            pass
    except BaseException:
        pins.undo()
        raise


def _pin(
    path: str,
    pin_path: str,
    map_fd: int | None,
    may_mount: bool,
    aloud: Callable[[str], None] | None,
    note: Callable[..., None],
) -> Iterator[None]:
    """Do it, and yield at the end."""
    pins = PinSet(may_mount, note)
    try:
        with BpfObjectFile(path, aloud=aloud) as obj:
            for prog in obj.programs:
                stand_in_unknown(obj, prog)
            load_object(obj, pins)
            if not obj.programs:
                raise BpfError(f"there is no program in '{path}'")
            prog = obj.programs[0]
            link = obj.lib.attach_iterator(prog.handle, map_fd)
            if not link:
                what = f"cannot attach the program '{prog.name}' as an iterator"
                raise refused(what, obj.lib, obj.lib.errno)
            try:
                pins.prepare_file(pin_path)
                pins.pin(obj.lib.call("bpf_link__fd", link), pin_path)
                yield
            finally:
                obj.lib.call("bpf_link__destroy", link)
    except BaseException:
        pins.undo()
        raise
