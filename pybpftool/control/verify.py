"""What the verifier makes of an object file's programs, one by one; nothing stays loaded."""

from __future__ import annotations

from pybpftool.control import require_live
from pybpftool.control.bpf_object import LOG_STATISTICS, BpfObjectFile, logs
from pybpftool.control.load import guess, set_type
from pybpftool.control.verifier_log import Statistics, statistics
from pybpftool.errors import BpfError, KernelError, LoadError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.kernel.interface import Kernel

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
    with BpfObjectFile(path, kernel_btf) as obj:
        names = [prog.name for prog in obj.programs]
    for index, name in enumerate(names):
        yield _verify_one(path, kernel_btf, index, name)


def _verify_one(path: str, kernel_btf: str | None, index: int, name: str) -> Outcome:
    try:
        said = _load_one(path, kernel_btf, index, LOG_STATISTICS)
    except BpfError as error:
        refused = error
    else:
        return Outcome(path, name, SUCCESS, statistics(said))
    found = Statistics()
    if isinstance(refused, KernelError):
        # The statistics alone do not say why.
        found = statistics(refused.log) if isinstance(refused, LoadError) else found
        try:
            _load_one(path, kernel_btf, index, 0)
        except BpfError as error:
            refused = error
    log = refused.log if isinstance(refused, LoadError) else ""
    if found.insns is None:
        found = statistics(log)
    return Outcome(path, name, FAILURE, found, str(refused), log)


def _load_one(path: str, kernel_btf: str | None, index: int, log_level: int) -> str:
    """Load one program; what the verifier said of it."""
    with BpfObjectFile(path, kernel_btf, log_level=log_level) as obj:
        lib = obj.lib
        for map in obj.maps:
            if map.pin_path:
                lib.checked(
                    "cannot leave a map unpinned", "bpf_map__set_pin_path", map.handle, None
                )
        for at, prog in enumerate(obj.programs):
            lib.call("bpf_program__set_autoload", prog.handle, at == index)
        chosen = obj.programs[index]
        set_type(obj, chosen, guess(obj, chosen))
        obj.load()
        return logs(lib).get(chosen.name, "")
