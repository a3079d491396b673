"""Whose an object is: the systemd unit, container or command of the processes that hold it.

An owner is a word: ``unit:NAME`` (a systemd unit), ``container:ID`` (the first twelve digits
that container tools show), ``systemd`` (process 1), ``comm:NAME`` (a process that is in none
of these), ``pin:PATH`` (nobody holds it, a bpf file system keeps it).
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.kernel.interface import Kernel

_SHORT_ID = 12
_UNITS = (".service", ".scope", ".socket", ".mount", ".timer", ".swap", ".automount", ".path")
_HEX = frozenset("0123456789abcdef")
# Scopes that a container tool made: NAME-<id>.scope.
_CONTAINER_ID = 64


class Process(Record):
    """A process and whose it is; ``cgroup`` and ``pod`` are empty where they cannot be told.

    ``cgroup`` is the path in the unified hierarchy, or in that of systemd's own name;
    ``pod`` the uid of a Kubernetes pod.
    """

    pid: int
    comm: str
    owner: str
    cgroup: str
    pod: str


class Owners:
    """The owners of processes of one kernel; each process is asked for once."""

    __slots__ = ("_kernel", "_known")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[tuple[int, str], str] = {}

    def of(self, holders: Iterable[tuple[int, str]]) -> tuple[str, ...]:
        """The owners of an object with these holders (pid, comm), sorted, each once."""
        found = {self.of_process(pid, comm) for pid, comm in holders}
        return tuple(sorted(found)) if len(found) > 1 else tuple(found)

    def of_process(self, pid: int, comm: str) -> str:
        """The owner that a process stands for."""
        known = self._known.get((pid, comm))
        if known is None:
            known = self._known[pid, comm] = _owner(pid, comm, self._text(pid))
        return known

    def process(self, pid: int, comm: str) -> Process:
        """A process with its cgroup and what that tells."""
        text = self._text(pid)
        owner = self._known.setdefault((pid, comm), _owner(pid, comm, text))
        path = cgroup_in(text)
        return Process(pid, comm, owner, path, pod_in(path))

    def _text(self, pid: int) -> str:
        try:
            return self._kernel.file(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape")
        except BpfError:
            return ""  # it has ended, or a recording that did not ask


def _owner(pid: int, comm: str, text: str) -> str:
    found = owner_in(text)
    if found:
        return found
    return "systemd" if pid == 1 and comm == "systemd" else f"comm:{comm}"


def owner_in(text: str) -> str:
    """The owner that ``/proc/PID/cgroup`` names (cgroups(7)), empty when it names none."""
    paths = []
    for line in text.split("\n"):  # names may have all other ends of lines
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # The unified hierarchy and systemd's own name units; the others only containers.
        paths.append((controllers not in ("", "name=systemd"), path))
    paths.sort()
    for _, path in paths:
        found = container_in(path)
        if found:
            return f"container:{found}"
    for is_other, path in paths:
        if is_other:
            break
        for part in reversed(path.split("/")):
            if part == "init.scope":
                return "systemd"
            if part.endswith(_UNITS):
                return f"unit:{part}"
    return ""


def cgroup_in(text: str) -> str:
    """The path of ``/proc/PID/cgroup`` by which services are known, empty when there is none."""
    paths: dict[str, str] = {}
    for line in text.split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths.setdefault(controllers, path)
    return paths.get("", paths.get("name=systemd", ""))


def pod_in(path: str) -> str:
    """The uid of the Kubernetes pod that a cgroup belongs to, empty when it is in none.

    ``kubepods-burstable-pod<uid>.slice`` where systemd makes the cgroups, with ``_`` for
    ``-``; ``kubepods/burstable/pod<uid>`` elsewhere.
    """
    parts = path.split("/")
    for at, part in enumerate(parts):
        if part.startswith("kubepods") and "-pod" in part:
            return part.rpartition("-pod")[2].removesuffix(".slice").replace("_", "-")
        if part.startswith("pod") and any(each.startswith("kubepods") for each in parts[:at]):
            return part[len("pod") :]
    return ""


def container_in(path: str) -> str:
    """The short id of the innermost container in a cgroup's path, empty when there is none."""
    for part in reversed(path.split("/")):
        name = part.removesuffix(".scope") if part.endswith(".scope") else part
        # docker-<id>, cri-containerd-<id>, crio-<id>, libpod-<id>; or the id alone.
        id = name.rpartition("-")[2].rpartition(":")[2]
        if len(id) == _CONTAINER_ID and _HEX.issuperset(id):
            return id[:_SHORT_ID]
    return ""
