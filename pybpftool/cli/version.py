"""``version``: ours, upstream's that we follow, libbpf's, and which adapters are usable.

Under the name ``bpftool`` upstream's comes first: build systems compare the first number
that ``bpftool --version`` prints with the one that they need.
"""

from __future__ import annotations

import posix
import sys

from pybpftool import UPSTREAM_VERSION, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool version

Prints the version of this program, that of bpftool which it follows, that of the system's
libbpf, and which packages it found. As bpftool it prints the version of bpftool first.
"""

_SONAME = "libbpf.so.1"
# Feature name -> the package that its adapter needs.
_ADAPTERS = {
    "capstone": "capstone",
    "graphviz": "graphviz",
    "pyelftools": "elftools",
    "pyroute2": "pyroute2",
    "tabulate": "tabulate",
}


def _is_installed(package: str) -> bool:
    # What importlib.util.find_spec() does for a top-level name, without importing importlib.util.
    return any(
        finder.find_spec(package, None) is not None
        for finder in sys.meta_path
        if hasattr(finder, "find_spec")
    )


def _is_called_bpftool() -> bool:
    return sys.argv[0].rpartition("/")[2] == "bpftool"


def libbpf_version() -> str | None:
    """The version of the system's libbpf, as ``1.1``; None where there is none.

    It is told by the name of its file where possible.
    """
    for directory in _directories():
        try:
            target = posix.readlink(f"{directory}/{_SONAME}")
        except OSError:
            continue
        # libbpf.so.1 -> libbpf.so.1.1.2
        parts = target.rpartition("libbpf.so.")[2].split(".")
        if len(parts) >= 2 and all(part.isdecimal() for part in parts):
            return ".".join(parts[:2])
        break
    from pybpftool.control.libbpf import LibbpfError, library

    try:
        return library().version
    except LibbpfError:
        return None


def _directories() -> list[str]:
    """Where the dynamic linker looks, in its order."""
    paths = posix.environ.get(b"LD_LIBRARY_PATH", b"").decode("utf-8", "surrogateescape")
    given = [path for path in paths.split(":") if path]
    # What this Python can load: one of 32 bits runs on a 64-bit kernel, too.
    triplet = getattr(sys.implementation, "_multiarch", f"{posix.uname().machine}-linux-gnu")
    wide = ["/lib64", "/usr/lib64"] if sys.maxsize > 1 << 32 else []
    roots = ("/usr/local/lib", f"/lib/{triplet}", f"/usr/lib/{triplet}", *wide)
    return [*given, *roots, "/lib", "/usr/lib"]


def run(ctx: Context, args: Args) -> None:
    """Print the versions; surplus words are ignored, as upstream does."""
    features = {name: _is_installed(package) for name, package in _ADAPTERS.items()}
    as_bpftool = _is_called_bpftool()
    libbpf = libbpf_version()
    if ctx.json is not None:
        versions = {"version": __version__, "upstream_version": UPSTREAM_VERSION}
        if as_bpftool:
            versions = {"version": UPSTREAM_VERSION, "pybpftool_version": __version__}
        ctx.json.value({**versions, "libbpf_version": libbpf, "features": features})
        return
    usable = ", ".join(name for name, there in features.items() if there)
    ours, theirs = f"pybpftool v{__version__}", f"bpftool v{UPSTREAM_VERSION}"
    names = f"{theirs}\nby {ours}" if as_bpftool else f"{ours}\nfollowing {theirs}"
    loader = f"using libbpf v{libbpf}" if libbpf else "without libbpf"
    ctx.out.write(f"{names}\n{loader}\nfeatures: {usable}\n")
