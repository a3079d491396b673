"""The workloads: a name, a state of the machine, a command line, the bar it has to keep."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from bench import modules, objects, states
from bench.states import State


class Workload(NamedTuple):
    """One command line to time.

    ``bar`` is the largest ratio to upstream that the project accepts. ``output`` is where standard
    output goes: "null", "pipe" or "file". ``theirs`` is upstream's command line where it is
    another one; None where upstream has none.
    """

    name: str
    state: State
    words: str
    bar: float
    output: str = "pipe"
    theirs: str | None = "same"


FEW, MANY = 10, 5000


def _listing() -> list[Workload]:
    few, thousand, many = states.programs(FEW), states.programs(1000), states.programs(MANY)
    pinned, maps = states.pinned_programs(MANY), states.maps(MANY)
    held, net = states.holders, "net show"
    return [
        Workload("version", states.nothing, "version", 0.5),
        Workload("prog show, 10 programs", few, "prog show", 0.15),
        Workload("prog show, 1,000 programs", thousand, "prog show", 0.3),
        Workload(
            "prog show, 1,000 programs with maps",
            states.programs_with_maps(1000),
            "prog show",
            0.3,
        ),
        Workload("prog show, 5,000 programs", many, "prog show", 0.3),
        Workload("prog show, 5,000 programs -j", many, "-j prog show", 0.3),
        Workload("prog show tag, one of 5,000", many, "prog show tag {tag}", 0.2),
        Workload("prog show name, one of 5,000", many, "prog show name {name}", 0.2),
        Workload("btf show, 5,000 programs", many, "btf show", 0.2),
        Workload("prog show, 5,000 pinned programs -f", pinned, "-f prog show", 0.3),
        Workload("map show, 5,000 maps", maps, "map show", 0.33),
        Workload("map show, 5,000 maps -j", maps, "-j map show", 0.33),
        Workload("btf show, 2,000 objects", states.btf_objects(2000), "btf show", 0.4),
        Workload("prog show, 200 processes of 50 BPF files", held, "prog show", 0.15),
        Workload("map show, 200 processes of 50 BPF files -j", held, "-j map show", 0.15),
        Workload("perf show, 200 processes of 50 files", states.perf_events, "perf show", 0.85),
        Workload("link show, 1,000 links", states.links(1000), "link show", 0.25),
        Workload("link show, 1,000 links -j", states.links(1000), "-j link show", 0.25),
        Workload("link show, 10,000 links", states.links(10_000), "link show", 0.4),
        Workload("cgroup tree, 500 cgroups", states.cgroups(500), "cgroup tree {root}", 0.75),
        Workload("cgroup tree, 5,000 cgroups", states.cgroups(5000), "cgroup tree {root}", 0.75),
        Workload("net show, nothing attached", states.empty_namespace, net, 0.9),
        Workload("net show, programs of every kind", states.attached_devices, net, 0.9),
        Workload("net show, 300 veth pairs with clsact", states.devices(300), net, 0.8),
        Workload("net show, 1,000 veth pairs with clsact", states.devices(1000), net, 0.8),
    ]


def _programs() -> list[Workload]:
    dump = "prog dump {kind} id {{id}}"
    xlated, jited = dump.format(kind="xlated"), dump.format(kind="jited")
    long = states.long_program
    name, code = "dump xlated, 100,000 insns", "dump jited, 487 kB"
    return [
        Workload("dump xlated, a small program", states.small_program, xlated, 0.3),
        Workload("dump jited, a small program", states.small_program, jited, 0.35),
        Workload(name, long, xlated, 0.55),
        Workload(f"{name} opcodes", long, f"{xlated} opcodes", 0.55),
        Workload(f"{name} linum", long, f"{xlated} linum", 0.55),
        Workload(f"{name} -j", long, f"-j {xlated}", 0.6),
        Workload(code, long, jited, 0.7),
        Workload(f"{code} opcodes", long, f"{jited} opcodes", 0.7),
        Workload(f"{code} -j", long, f"-j {jited}", 0.7),
        Workload("visual, 100,000 insns", states.long_function, f"{xlated} visual", 0.7),
    ]


def _types() -> list[Workload]:
    small, kernel = states.small_object, states.kernel_types
    file, vmlinux = "btf dump file {file}", "btf dump file {vmlinux}"
    found = [
        Workload("btf dump of an object file", small, file, 1.0),
        Workload("btf dump of an object file, C", small, f"{file} format c", 1.0),
        Workload("vmlinux, one struct as C", kernel, f"{vmlinux} format c root_id {{root}}", 0.8),
    ]
    forms = (
        ("raw", vmlinux, 0.55),
        ("JSON", f"-j {vmlinux}", 1.0),
        ("C", f"{vmlinux} format c", 1.0),
        ("C unsorted", f"{vmlinux} format c unsorted", 1.0),
    )
    for form, words, bar in forms:
        for output in ("null", "file", "pipe"):
            label = {"null": "/dev/null", "file": "a file", "pipe": "a pipe"}[output]
            found.append(Workload(f"vmlinux {form} to {label}", kernel, words, bar, output))
    base = "-B {base} btf dump"
    several = " ".join("file {%s}" % name for name in modules.NAMES)
    return [
        *found,
        Workload("merge of four modules", modules.state, f"{base} {several}", 1.5),
        Workload(
            "a module with its base as C", modules.state, f"{base} file {{xfs}} format c", 1.0
        ),
    ]


def _maps() -> list[Workload]:
    found = []
    for name, state, bars in (
        ("map dump, 1,000,000 elements", states.large_hash, (0.1, 0.15)),
        ("map dump, 200,000 with BTF", states.typed_hash, (0.3, 0.45)),
        ("map dump, per-CPU array of 10,000", states.per_cpu_array, (0.3, 0.4)),
        ("map dump, 20,000 empty slots", states.empty_slots, (0.8, 1.0)),
    ):
        found.append(Workload(name, state, "map dump id {id}", bars[0]))
        found.append(Workload(f"{name} -j", state, "-j map dump id {id}", bars[1]))
    return found


def _snapshots() -> list[Workload]:
    """Beside upstream's listing of the same programs, for want of anything like it there."""
    state, show = states.saved(MANY), "prog show"
    replay = f"--snapshot {{snapshot}} {show}"
    return [
        Workload(
            "snapshot save, 5,000 programs", state, "snapshot save {snapshot}", 3, "null", None
        ),
        Workload("replay of prog show, 5,000 programs", state, replay, 0.75, "pipe", show),
    ]


def _generated() -> list[Workload]:
    found = []
    for size, state in (("small", objects.small), ("large", objects.large)):
        for what, words, bar in (
            ("skeleton", "gen skeleton {object}", 1.0),
            ("subskeleton", "gen subskeleton {object}", 1.0),
            ("light skeleton", "gen skeleton -L {object}", 2.0),
            ("linked object", "gen object {made} {object}", 1.5),
        ):
            # A loader program has no room for the large one's maps.
            if (size, what) != ("large", "light skeleton"):
                found.append(Workload(f"{what} of a {size} object", state, words, bar))
    for types in (2, 12):
        state = functools.partial(objects.relocated, types)
        words = "gen min_core_btf /sys/kernel/btf/vmlinux {made} {object}"
        found.append(Workload(f"vmlinux reduced to {types} types", state, words, 1.0))
    return found


def _questions() -> list[Workload]:
    return [
        Workload("batch of 3,000 updates of a map", states.many_updates, "batch file {batch}", 1.0),
        Workload("batch of 3,000 lookups with BTF", states.many_lookups, "batch file {batch}", 0.6),
        Workload("feature probe", states.nothing, "feature probe", 0.85),
        Workload("struct_ops show", states.nothing, "struct_ops show", 0.35),
    ]


WORKLOADS = (
    *_listing(),
    *_programs(),
    *_types(),
    *_maps(),
    *_snapshots(),
    *_generated(),
    *_questions(),
)


def _recorded() -> list[tuple[str, Callable[[int], State], str, tuple[int, ...]]]:
    """Listings of recorded machines."""
    rows = (
        ("prog show", states.programs, (100, 1000, 10_000)),
        ("map show", states.maps, (100, 1000, 10_000)),
        ("link show", states.links, (100, 1000, 10_000)),
        ("btf show", states.btf_objects, (100, 1000, 2000)),
        ("cgroup tree {root}", states.cgroups, (100, 1000, 5000)),
        ("net show", states.devices, (100, 300, 1000)),
        ("-f prog show id {id}", states.pins, (100, 1000, 10_000, 50_000)),
        ("map dump id {id}", states.elements, (1000, 10_000)),
    )
    return [
        (
            f"{words.partition(' {')[0]}, recorded",
            states.replayed(made),
            "--snapshot {snapshot} " + words,
            counts,
        )
        for words, made, counts in rows
    ]


# For each: a state for a count of objects, the command, and the counts.
SCALES = (
    ("prog show", states.programs, "prog show", (100, 1000, 10_000, 20_000)),
    ("prog show -j", states.programs, "-j prog show", (100, 1000, 10_000)),
    ("prog show -f, a pin each", states.pinned_programs, "-f prog show", (100, 1000, 10_000)),
    ("prog show -f, pins of one", states.pins, "-f prog show id {id}", (100, 1000, 10_000, 50_000)),
    ("map show", states.maps, "map show", (100, 1000, 10_000)),
    ("link show", states.links, "link show", (100, 1000, 10_000)),
    ("btf show", states.btf_objects, "btf show", (100, 1000, 2000)),
    ("cgroup tree", states.cgroups, "cgroup tree {root}", (100, 1000, 5000)),
    ("net show, veth pairs", states.devices, "net show", (100, 300, 1000)),
    ("map dump", states.elements, "map dump id {id}", (1000, 100_000, 1_000_000, 4_000_000)),
    ("snapshot save", states.saved, "snapshot save {snapshot}", (100, 1000, 10_000)),
    *_recorded(),
)
