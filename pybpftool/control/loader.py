"""Loader programs: BPF code that loads an object, made by libbpf for light skeletons.

libbpf does not load anything then: it writes down the system calls that it would make
(``bpf_object__gen_loader()``).
"""

from __future__ import annotations

from pybpftool.control.apart import apart
from pybpftool.control.bpf_object import LOG_ALL, BpfObjectFile
from pybpftool.control.libbpf import library
from pybpftool.control.load import stand_in_unknown
from pybpftool.control.refusal import check_file
from pybpftool.errors import LoadError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Loader(Record):
    """A loader program, the data that it works on, and what maps hold at first by name."""

    insns: bytes
    data: bytes
    initial: dict[str, bytes]


def loader(
    path: str,
    name: str | None = None,
    aloud: Callable[[str], None] | None = None,
    signed: bool = False,
) -> Loader:
    """The loader of an object file that is called ``name``.

    :param aloud: hears what libbpf says.
    :param signed: whether it checks its data, so that a signature covers them.

    Raises :class:`pybpftool.errors.BpfError`.
    """
    check_file(path)
    library()
    [made] = apart(path, lambda aloud: _generate(path, name, aloud, signed), aloud=aloud)
    return Loader(*made)


def _generate(
    path: str, name: str | None, aloud: Callable[[str], None] | None, signed: bool
) -> Iterator[tuple[bytes, bytes, dict[str, bytes]]]:
    level = 0 if aloud is None else LOG_ALL
    try:
        opened = BpfObjectFile(path, log_level=level, aloud=aloud, name=name)
    except LoadError as error:
        if "endianness mismatch" in str(error):
            library().require("1.5", "loaders in the other byte order")
        raise
    with opened as obj:
        for prog in obj.programs:
            stand_in_unknown(obj, prog)
        insns, data = obj.make_loader(signed)
        values = [(map.name, map.initial_value) for map in obj.maps]
    yield insns, data, {name: value for name, value in values if value is not None}
