"""The layers: which package may know which, in one direction, without circles.

Every import counts: at a module's top, late in a function, for type checkers only, and by
name (``__import__``).
"""

from __future__ import annotations

import pytest

from tests.support.imports import PACKAGE, circles, edges, graph

# Known to everybody; they know nothing but one another.
LEAVES = {"errors", "records", "cnumber", "depth", "digest", "invisible", "reading", "version"}

# Package -> packages and modules below that it may import.  What is allowed for a package is
# allowed for its modules; a row of a module adds to that of its package.
ALLOWED: dict[str, set[str]] = {
    "": {"control", "btf", "cfg", "host", "insn", "jit", "kernel", "objects", "writable"},  # names
    "__main__": {"cli"},
    "host": {"btf", "hosted", "kernel", "objects"},
    "hosted": {"btf", "cfg", "host", "insn", "jit", "kernel", "objects", "output.jsontext"},
    "skeleton": {"control", "kernel", "uapi"},
    "pytest_plugin": {"inspect", "objects", "kernel", "output.files"},
    "writable": {"control", "kernel.interface", "objects"},
    "cdata": set(),
    "worker": set(),
    "ahead": set(),
    "uapi": set(),
    "adapters": {"cdata", "uapi"},
    "elf": {"adapters", "uapi"},
    "output": {"uapi"},
    "kernel": {"cdata", "elf", "uapi", "worker"},
    "control": {"adapters", "cdata", "kernel", "elf", "uapi"},
    "btf": {"output.jsontext", "uapi", "worker"},
    "btf.load": {"elf", "kernel.interface"},
    "insn": {"btf", "output", "uapi"},
    "jit": {"adapters", "btf", "insn", "output", "uapi"},
    "cfg": {"btf", "insn", "output.jsontext", "uapi"},
    "joined": {"adapters", "cfg", "insn", "jit", "output"},
    "objects": {
        "ahead",
        "btf",
        "elf",
        "insn",
        "jit",
        "kernel.interface",
        "output.hexrows",
        "output.jsontext",
        "uapi",
    },
    "gen": {"btf", "elf", "output", "uapi"},
    "gen.against": {"kernel.interface"},  # `obj check` asks a kernel for the BTF of its modules
    "inspect": {"kernel.interface", "objects", "output.jsontext", "uapi"},
    "inspect.contents": {"kernel.snapshot"},  # tells what a recording keeps, which no kernel does
    "page": {"cfg", "inspect", "joined", "objects", "output"},
    # The listings' second process, a dump's second thread, names of numbers in the grammar.
    "cli": {
        "adapters",
        "ahead",
        "control",
        "gen",
        "inspect",
        "joined",
        "kernel.interface",
        "objects",
        "output",
        "page",
        "uapi",
        "worker",
    },
    # Where a command line meets a kernel.
    "cli.context": {"btf", "kernel.live", "kernel.snapshot", "kernel.telling"},
    "cli.snapshot": {"kernel.recording", "kernel.snapshot"},
    "cli.check": {"kernel.snapshot"},
    "cli.diff": {"kernel.snapshot"},
    "cli.feature": {"kernel.snapshot"},
}

# (module, what it imports): why this one arrow is as it is.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("cli.btf", "btf.c.dump"): "a dump is written block by block, never one string",
    ("cli.btf", "btf.rawdump"): "a dump is written block by block, by two processes",
    ("cli.cbpf", "insn.classic"): "a filter of a command line or a file belongs to no object",
    ("cli.cbpf", "kernel.seccomp"): "a task is stopped for it, which no recording can be",
    ("cli.cbpf", "kernel.socket_filters"): "they belong to processes, not to the kernel's BPF",
    ("cli.monitor", "kernel.bpf_events"): "a live stream, which no recording can answer",
    ("cli.event_pipe", "kernel.rings"): "a live stream, which no recording can answer",
    ("cli.map_elem", "btf.initializer"): "a value in the words of the command line",
    ("cli.prog_xlated", "insn.dump"): "a dump is written run by run, never one string",
    ("cli.prog_jited", "jit.dump"): "a dump is written run by run, never one string",
    ("cli.prog_visual", "cfg.dot"): "a graph is written block by block",
    ("cli.prog_visual", "cfg.listing"): "what the graph's writers take",
    ("cli.prog_visual", "cfg.record"): "a graph is written block by block",
}

# Groups of modules that may know one another, and why.
CIRCLES: dict[tuple[str, ...], str] = {
    ("host", "hosted"): "a host makes records, which ask their host for more: one thing",
    ("btf.layout", "btf.python"): "a type makes its layout, which shows its type: one thing",
    ("cli.batch", "cli.main"): "a line of a batch is a command, and `batch` is one",
}

# Modules that may import ctypes, and what for.
CTYPES = {
    "cdata": "what bpf(2), the C library, the system's libbpf and capstone need",
    "adapters.libpcap": "the system's libpcap",
}


def short(name: str) -> str:
    """A module's name without the package's."""
    return name.removeprefix(PACKAGE).removeprefix(".")


ARROWS = {
    short(name): {short(target) for target in targets if target.startswith(PACKAGE)}
    for name, targets in graph().items()
}


def prefixes(name: str) -> list[str]:
    """``a.b.c``: itself, ``a.b`` and ``a``."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def is_allowed(module: str, target: str) -> bool:
    """Whether the tables let a module import another one."""
    if target.startswith(":"):
        # A constant of the package itself, which is there before any of its modules.
        return module != "" and target in (":__version__", ":UPSTREAM_VERSION")
    if target in LEAVES or prefixes(module)[-1] == prefixes(target)[-1]:
        return True
    allowed = set().union(*(ALLOWED.get(row, set()) for row in prefixes(module)))
    return not allowed.isdisjoint(prefixes(target))


def test_arrows_go_down() -> None:
    wrong = [
        f"{module} -> {target}"
        for module, targets in sorted(ARROWS.items())
        for target in sorted(targets)
        if not is_allowed(module, target) and (module, target) not in EXCEPTIONS
    ]
    assert wrong == [], "see CONTRIBUTING.md, `How the code is laid out`; tables are above"


def test_leaves_know_nothing() -> None:
    for leaf in LEAVES & ARROWS.keys():
        assert ARROWS[leaf] <= LEAVES, leaf


def test_packages_have_a_row() -> None:
    packages = {module.split(".")[0] for module in ARROWS} - LEAVES
    assert packages <= ALLOWED.keys(), "a new package needs a row in ALLOWED"


def test_exceptions_are_needed() -> None:
    assert [
        f"{module} -> {target}"
        for module, target in EXCEPTIONS
        if target not in ARROWS.get(module, ()) or is_allowed(module, target)
    ] == []


def test_packages_have_no_circle() -> None:
    packages: dict[str, set[str]] = {}
    for module, targets in ARROWS.items():
        own = module.split(".")[0]
        if own:
            others = {target.split(".")[0] for target in targets if target and target[0] != ":"}
            packages.setdefault(own, set()).update(others - {own})
    assert [group for group in circles(packages) if tuple(group) not in CIRCLES] == []


def test_modules_have_no_circle() -> None:
    arrows = {module: targets for module, targets in ARROWS.items() if module}
    assert [group for group in circles(arrows) if tuple(group) not in CIRCLES] == []


def test_ctypes_has_few_places() -> None:
    users = {
        short(name)
        for name, targets in graph().items()
        if any(target.split(".")[0] in ("ctypes", "_ctypes") for target in targets)
    }
    assert users == CTYPES.keys()


@pytest.mark.parametrize(
    "source",
    [
        "import pybpftool.kernel.live",
        "from pybpftool.kernel import live",
        "from pybpftool.kernel.live import LiveKernel",
        "if TYPE_CHECKING:\n    from pybpftool.kernel.live import LiveKernel",
        "def f():\n    from pybpftool.kernel.live import LiveKernel",
        "run = __import__('pybpftool.kernel.live', fromlist=['x'])",
    ],
)
def test_every_way_to_import_is_seen(source: str) -> None:
    found = edges("pybpftool.objects.prog", source, {"pybpftool.kernel.live"})
    assert "pybpftool.kernel.live" in found
    assert not is_allowed("objects.prog", "kernel.live")


def test_a_table_of_modules_counts() -> None:
    table = 'T = ("net", 1)\nf = __import__(f"pybpftool.cli.{T[0]}")'
    assert edges("pybpftool.cli.main", table, {"pybpftool.cli.net"}) == {"pybpftool.cli.net"}


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("objects.prog", "output.stream"),
        ("objects.prog", "cli.context"),
        ("inspect.recorder", "kernel.live"),
        ("kernel.live", "control.pin"),
        ("btf.table", "kernel.interface"),
        ("insn.disasm", "kernel.interface"),
        ("cfg.graph", "kernel.interface"),
        ("uapi.bpf", "kernel.syscall"),
        ("control.pin", "objects.prog"),
    ],
)
def test_what_the_tables_forbid(module: str, target: str) -> None:
    assert not is_allowed(module, target)


def test_a_circle_is_found() -> None:
    arrows: dict[str, set[str]] = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert circles(arrows) == [["a", "b", "c"]]
