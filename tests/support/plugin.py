"""Whether pytest finds the plugin by itself."""

from __future__ import annotations

import importlib.metadata

MODULE = "pybpftool.pytest_plugin"


def missing() -> list[str]:
    """The plugin's module, unless it is installed as an entry point."""
    # As pytest itself looks: entry_points() leaves out what an unpacked sdist in the working
    # directory hides.
    found = (
        point.value
        for distribution in importlib.metadata.distributions()
        for point in distribution.entry_points
        if point.group == "pytest11"
    )
    return [] if MODULE in found else [MODULE]
