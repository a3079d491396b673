"""What the verifier makes of an object file's programs, one by one; nothing stays loaded."""

from __future__ import annotations

from pybpftool.control import require_live
from pybpftool.control.apart import apart
from pybpftool.control.bpf_object import (
    LOG_STATISTICS,
    BpfObjectFile,
    name_of,
)
from pybpftool.control.libbpf import library
from pybpftool.control.load import guess, set_type
from pybpftool.control.refusal import check_file, logs
from pybpftool.control.verifier_log import Statistics, statistics
from pybpftool.elf.relocatable import Relocatable, read_file
from pybpftool.elf.struct_ops import has_struct_ops, with_one_program
from pybpftool.errors import BpfError, KernelError, LoadError
from pybpftool.records import Record
from pybpftool.uapi.bpf import PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.kernel.interface import Kernel

_STRUCT_OPS = PROG_TYPES.index("struct_ops")
_EMPTY_SLOT = "failed to initialize slot"  # as libbpf puts it
SUCCESS, FAILURE = "success", "failure"


class Outcome(Record):
    """The verdict on one program; ``reason`` and ``log`` say why it was refused."""

    path: str
    program: str
    verdict: str  # SUCCESS or FAILURE
    statistics: Statistics
    reason: str = ""
    log: str = ""


def verify(kernel: Kernel, path: str, kernel_btf: str | None = None) -> Iterator[Outcome]:
    """Load each program of an object file by itself and drop it, with the maps that it uses.

    Nothing is attached or pinned, maps that are pinned by name neither. Raises BpfError where
    the file is none of BPF.
    """
    require_live(kernel)
    check_file(path)
    library()  # once, not in every process
    [names] = apart(path, lambda: _names(path, kernel_btf))
    elf = Relocatable(read_file(path))
    for index, name in enumerate(names):
        data = uses = None
        if has_struct_ops(elf):
            data, uses = with_one_program(elf.bytes, name)
        yield _verify_one(_Trial(path, kernel_btf, index, data, bool(uses)), name)


def _names(path: str, kernel_btf: str | None) -> Iterator[list[str]]:
    with BpfObjectFile(path, kernel_btf) as obj:
        yield [prog.name for prog in obj.programs]


class _Trial(Record):
    """A program to be tried: ``data`` is opened in place of the file if given.

    ``has_maps``: whether struct_ops maps refer to it, which then are needed.
    """

    path: str
    kernel_btf: str | None
    number: int
    data: bytes | None
    has_maps: bool


def _verify_one(trial: _Trial, name: str) -> Outcome:
    path = trial.path
    try:
        [said] = apart(path, lambda: _load_one(trial, LOG_STATISTICS))
    except BpfError as error:
        refused = error
    else:
        return Outcome(path, name, SUCCESS, statistics(said))
    found = Statistics()
    if isinstance(refused, KernelError):
        # The statistics alone do not say why.
        found = statistics(refused.log) if isinstance(refused, LoadError) else found
        try:
            [_] = apart(path, lambda: _load_one(trial, 0))
        except BpfError as error:
            refused = error
    log = refused.log if isinstance(refused, LoadError) else ""
    if found.insns is None:
        found = statistics(log)
    return Outcome(path, name, FAILURE, found, str(refused), log)


def _load_one(trial: _Trial, log_level: int) -> Iterator[str]:
    """Load one program; yield what the verifier said of it."""
    path, index, data = trial.path, trial.number, trial.data
    name = None if data is None else name_of(path)
    with BpfObjectFile(path, trial.kernel_btf, False, log_level, None, name, data) as obj:
        lib = obj.lib
        for map in obj.maps:
            if map.pin_path:
                lib.checked(
                    "cannot leave a map unpinned", "bpf_map__set_pin_path", map.handle, None
                )
            if map.is_struct_ops:
                lib.call("bpf_map__set_autocreate", map.handle, trial.has_maps)
        for at, prog in enumerate(obj.programs):
            lib.call("bpf_program__set_autoload", prog.handle, at == index)
        chosen = obj.programs[index]
        section = guess(obj, chosen)
        if section.prog_type == _STRUCT_OPS and not trial.has_maps:
            raise BpfError(f"no map of struct_ops refers to the program '{chosen.name}'")
        set_type(obj, chosen, section)
        try:
            obj.load()
        except LoadError as error:
            # The others are not loaded, so that program arrays cannot be filled with them. That
            # comes after the verifier, which has let the program pass.
            if _EMPTY_SLOT not in str(error):
                raise
        yield logs(lib).get(chosen.name, "")
