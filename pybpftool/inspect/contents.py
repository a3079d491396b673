"""What a snapshot holds: of which machine it is, how much of each, and what is missing."""

from __future__ import annotations

from pybpftool.errors import BpfError, FormatError
from pybpftool.inspect.unseen import cut_sentence
from pybpftool.inspect.wording import counted, shown
from pybpftool.kernel.interface import KINDS
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.kernel.snapshot import SnapshotKernel

_NAMES = {"prog": "programs", "map": "maps", "link": "links", "btf": "BTF objects",
          "struct_ops": "struct_ops"}  # fmt: skip
_HIDDEN = b"0" * 8  # of the 16 digits of an address that the kernel does not tell


class Refusal(Record):
    """Questions of one kind that the kernel refused for one reason; ``error`` is the first's."""

    question: str
    errno: int
    times: int
    error: str

    def text(self) -> str:
        rest = f" (and {self.times - 1} more)" if self.times > 1 else ""
        return f"{self.question}: {shown(self.error)}{rest}"

    def json(self) -> dict[str, object]:
        return {"question": self.question, "errno": self.errno, "count": self.times,
                "error": self.error}  # fmt: skip


class Contents(Record):
    """``host`` and ``version`` are empty, and counts missing, where a recording tells none.

    ``objects`` counts the objects of each kind, ``counts`` everything else by the words of
    :data:`COUNTS`. ``cut`` is the maps that are not kept whole (id -> elements kept),
    ``withheld`` the arrays of programs that the kernel hid from the recorder (name ->
    programs), ``hides_addresses`` whether it hid the addresses of its symbols.
    """

    host: str
    release: str
    machine: str
    recorded_at: int
    version: str
    objects: dict[str, int]
    counts: dict[str, int]
    cut: dict[int, int]
    withheld: dict[str, int]
    hides_addresses: bool
    refused: list[Refusal]

    def time_text(self) -> str:
        """When it was recorded, in the local time."""
        import time

        try:
            return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.recorded_at))
        except (OverflowError, ValueError, OSError):
            return str(self.recorded_at)

    def _head(self) -> str:
        lines = [f"Linux {shown(self.release)} {shown(self.machine)}"]
        if self.host:
            lines.append(f"host {shown(self.host)}")
        by = f" by pybpftool {shown(self.version)}" if self.version else ""
        lines.append(f"recorded {self.time_text()}{by}")
        return "".join([line + "\n" for line in lines])

    def missing(self) -> list[str]:
        """A sentence for each thing that was cut, hidden or refused while it was saved."""
        sentences = [cut_sentence(self.cut)] if self.cut else []
        if self.objects.get("map") and "elements" not in self.counts:
            sentences.append("the snapshot keeps no elements of maps")
        for name, count in self.withheld.items():
            sentences.append(f"the kernel withheld {name} of {counted(count, 'program')}")
        if self.hides_addresses:
            sentences.append("the kernel hid the addresses of its symbols")
        return sentences + [f"refused: {refusal.text()}" for refusal in self.refused]

    def json(self) -> dict[str, Any]:
        json: dict[str, Any] = {"host": self.host} if self.host else {}
        json.update(release=self.release, machine=self.machine, recorded_at=self.recorded_at)
        if self.version:
            json["version"] = self.version
        json.update(objects=self.objects, counts=self.counts)
        if self.cut:
            json["cut_maps"] = [{"id": id, "elements": self.cut[id]} for id in sorted(self.cut)]
        if self.withheld:
            json["withheld"] = self.withheld
        if self.hides_addresses:
            json["hides_addresses"] = True
        json["refused"] = [refusal.json() for refusal in self.refused]
        return json

    def text(self) -> str:
        rows = [(_NAMES[kind], count) for kind, count in self.objects.items()]
        rows += [(_NAMES.get(name) or name.replace("_", " "), n) for name, n in self.counts.items()]
        names = max([len(name) for name, _ in rows], default=0)
        digits = max([len(str(count)) for _, count in rows], default=0)
        table = "".join([f"{name:<{names}}  {count:>{digits}}\n" for name, count in rows])
        return self._head() + table + "".join([f"{sentence}\n" for sentence in self.missing()])


def contents(kernel: SnapshotKernel) -> Contents:
    """What a snapshot holds."""
    objects: dict[str, int] = {}
    for kind in KINDS:
        try:
            objects[kind] = sum(1 for _ in kernel.objects(kind))
        except FormatError:
            raise
        except BpfError:
            continue
    counts: dict[str, int] = {}
    for name, count in COUNTS.items():
        try:
            counts[name] = count(kernel)
        except FormatError:
            raise
        except BpfError:
            continue
    return Contents(
        kernel.host, kernel.release, kernel.machine, kernel.recorded_at, kernel.version,
        objects, counts, kernel.cut_maps(), kernel.withheld(), _hides_addresses(kernel),
        _refused(kernel),
    )  # fmt: skip


def _refused(kernel: SnapshotKernel) -> list[Refusal]:
    found: dict[tuple[str, int], list[str]] = {}
    for method, errno, message in kernel.refusals():
        found.setdefault((method, errno), []).append(message)
    return [
        Refusal(method, errno, len(messages), min(messages))
        for (method, errno), messages in sorted(found.items())
    ]


def _hides_addresses(kernel: SnapshotKernel) -> bool:
    try:
        text = kernel.file("/proc/kallsyms")
    except BpfError:
        return False
    # kptr_restrict, or no CAP_SYSLOG: all are zero then. Those of per-CPU variables may always be.
    return bool(text) and all(line.startswith(_HIDDEN) for line in text.splitlines())


def _elements(kernel: SnapshotKernel) -> int:
    if not kernel.answered("elements("):
        raise BpfError("none was asked for")
    return kernel.element_count()


def _pins(kernel: SnapshotKernel) -> int:
    kinds = [kind for kind in ("prog", "map", "link") if kernel.answered(f"pinned({kind})")]
    if not kinds:
        raise BpfError("none was asked for")
    return sum(len(paths) for kind in kinds for paths in kernel.pinned(kind).values())


def _processes(kernel: SnapshotKernel) -> int:
    pids: set[int] = set()
    refused = 0
    for kind in KINDS:
        try:
            held = kernel.holders(kind)
        except BpfError:
            refused += 1
            continue
        pids.update(pid for holders in held.values() for pid, _ in holders)
    if refused == len(KINDS):
        raise BpfError("nobody was told of")
    return len(pids)


def _cgroups(kernel: SnapshotKernel) -> int:
    root = kernel.cgroup_root()
    return 0 if root is None else len(kernel.cgroup_paths(root))


def _cgroup_programs(kernel: SnapshotKernel) -> int:
    from pybpftool.objects.cgroup import collect

    return sum(len(cgroup.programs) for cgroup in collect(kernel))


def _perf_events(kernel: SnapshotKernel) -> int:
    return len(kernel.task_fds())


def _namespaces(kernel: SnapshotKernel) -> int:
    return len(kernel.network_namespaces())


def _devices(kernel: SnapshotKernel) -> int:
    from pybpftool.objects.net import NetworkReader, namespaces

    reader = NetworkReader(kernel)
    try:
        paths = [namespace.path for namespace in namespaces(kernel)]
    except BpfError:  # a recording that is older than the question
        paths = []
    count = 0
    for path in paths or [""]:
        try:
            count += len(reader.read(path).devices)
        except BpfError:
            if not paths:
                raise
    return count


def _struct_ops(kernel: SnapshotKernel) -> int:
    from pybpftool.uapi.bpf import MAP_TYPES

    return _of_type(kernel, "map", MAP_TYPES.index("struct_ops"))


def _iterators(kernel: SnapshotKernel) -> int:
    from pybpftool.uapi.bpf import BPF_LINK_TYPE_ITER

    return _of_type(kernel, "link", BPF_LINK_TYPE_ITER)


def _of_type(kernel: SnapshotKernel, kind: str, type: int) -> int:
    import struct

    number = struct.Struct(kernel.byteorder + "I").unpack_from
    return sum(number(obj.info.ljust(8, b"\0"))[0] == type for obj in kernel.objects(kind))


def _tokens(kernel: SnapshotKernel) -> int:
    from pybpftool.objects.token import collect

    return sum(1 for _ in collect(kernel))


def _features(kernel: SnapshotKernel) -> int:
    if not kernel.answered("features("):
        raise BpfError("none was asked for")
    from pybpftool.objects.feature import collect

    found = collect(kernel)
    known = [*found.prog_types.values(), *found.map_types.values(), *found.misc.values()]
    return sum(map(bool, known)) + sum(map(len, found.helpers.values()))


def _files(kernel: SnapshotKernel) -> int:
    return kernel.answered("file(")


COUNTS: dict[str, Callable[[SnapshotKernel], int]] = {
    "elements": _elements,
    "pins": _pins,
    "processes": _processes,
    "network_namespaces": _namespaces,
    "network_devices": _devices,
    "cgroups": _cgroups,
    "cgroup_programs": _cgroup_programs,
    "perf_events": _perf_events,
    "struct_ops": _struct_ops,
    "iterators": _iterators,
    "tokens": _tokens,
    "features": _features,
    "files": _files,
}
"""What is counted besides objects, and how."""
