"""What the verifier makes of an object file's programs, one by one; nothing stays loaded."""

from __future__ import annotations

from errno import EACCES, EAGAIN, EMFILE, ENFILE, ENOMEM, EPERM

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
    from typing import Any

    from pybpftool.kernel.interface import Kernel

_STRUCT_OPS = PROG_TYPES.index("struct_ops")
_FEW = 16  # programs that are soon tried one by one
_TOGETHER = 64  # programs that are loaded at once: each takes a descriptor
_REFUSALS = 4  # loads in which none passes, before each is tried by itself
_EMPTY_SLOT = "failed to initialize slot"  # as libbpf puts it
# Without a log of the verifier's no program is to blame: rights, memory or descriptors are missing.
_UNJUDGED = (EPERM, EACCES, ENOMEM, EMFILE, ENFILE, EAGAIN)
SUCCESS, FAILURE, UNKNOWN = "success", "failure", "unknown"


class Outcome(Record):
    """The verdict on one program; ``reason`` and ``log`` say why it was refused, or not judged."""

    path: str
    program: str
    verdict: str  # SUCCESS, FAILURE, or UNKNOWN where it never came to the verifier
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
    has_slots = has_struct_ops(elf)
    said: dict[int, str] = {}
    for index, name in enumerate(names):
        data = uses = None
        if has_slots:
            data, uses = with_one_program(elf.bytes, name)
        elif len(names) > _FEW and index % _TOGETHER == 0:
            said = _passing(path, kernel_btf, range(index, min(index + _TOGETHER, len(names))))
        if index in said:
            yield Outcome(path, name, SUCCESS, statistics(said[index]))
        else:
            yield _verify_one(_Trial(path, kernel_btf, index, data, bool(uses)), name)


def _passing(path: str, kernel_btf: str | None, numbers: range) -> dict[int, str]:
    """What the verifier says of programs that it lets pass, loaded together, as far as known.

    Each is verified by itself in any case. One that is refused ends the loading of others, which
    then are loaded without it.
    """
    found: dict[int, str] = {}
    rest = [*numbers]
    patience = _REFUSALS
    while rest and patience:
        try:
            [said] = apart(path, lambda wanted=tuple(rest): _load_some(path, kernel_btf, wanted))
        except BpfError:
            break
        found.update(said)
        if not said:
            patience -= 1
        # Those before the one that was refused have passed; it is the first that has not.
        rest = [number for number in rest if number not in said][1:]
    return found


def _load_some(path: str, kernel_btf: str | None, wanted: tuple[int, ...]) -> Iterator[Any]:
    """Load some programs; yield what the verifier said of those that it let pass, by number."""
    with BpfObjectFile(path, kernel_btf, False, LOG_STATISTICS) as obj:
        _unpin(obj)
        tried = {}
        for at, prog in enumerate(obj.programs):
            is_tried = at in wanted
            if is_tried:
                try:
                    set_type(obj, prog, guess(obj, prog))
                    tried[at] = prog.name
                except BpfError:
                    is_tried = False  # said when it is tried by itself
            obj.lib.call("bpf_program__set_autoload", prog.handle, is_tried)
        refused = None
        try:
            obj.load()
        except LoadError as error:
            if _EMPTY_SLOT not in str(error):
                refused = error.program
                if not refused:
                    raise  # which of them it is nobody knows
        said = logs(obj.lib)
        yield {at: said[name] for at, name in tried.items() if said.get(name) and name != refused}


def _unpin(obj: BpfObjectFile) -> None:
    for map in obj.maps:
        if map.pin_path:
            obj.lib.checked(
                "cannot leave a map unpinned", "bpf_map__set_pin_path", map.handle, None
            )


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
    verdict = UNKNOWN if _is_unjudged(refused) else FAILURE
    return Outcome(path, name, verdict, found, str(refused), log)


def _is_unjudged(error: BpfError) -> bool:
    """Whether a refusal says nothing of the program: its caller may not load such, or cannot.

    The verifier itself gives EPERM, too, for what users with fewer capabilities may not have
    (functions of its own: add_subprog_and_kfunc(), kernel/bpf/verifier.c).
    """
    if not isinstance(error, KernelError):
        return False
    has_log = isinstance(error, LoadError) and bool(error.log.strip())
    return error.errno == EPERM or (not has_log and error.errno in _UNJUDGED)


def _load_one(trial: _Trial, log_level: int) -> Iterator[str]:
    """Load one program; yield what the verifier said of it."""
    path, index, data = trial.path, trial.number, trial.data
    name = None if data is None else name_of(path)
    with BpfObjectFile(path, trial.kernel_btf, False, log_level, None, name, data) as obj:
        lib = obj.lib
        _unpin(obj)
        for map in obj.maps:
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
