"""``version``: ours, upstream's that we follow, and which adapters are usable."""

from __future__ import annotations

import sys

from pybpftool import UPSTREAM_VERSION, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

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


def run(ctx: Context, args: Args) -> None:
    """Print the versions; surplus words are ignored, as upstream does."""
    features = {name: _is_installed(package) for name, package in _ADAPTERS.items()}
    if ctx.json is not None:
        ctx.json.value(
            {"version": __version__, "upstream_version": UPSTREAM_VERSION, "features": features}
        )
        return
    usable = ", ".join(name for name, there in features.items() if there)
    ctx.out.write(
        f"pybpftool v{__version__}\nfollowing bpftool v{UPSTREAM_VERSION}\nfeatures: {usable}\n"
    )
