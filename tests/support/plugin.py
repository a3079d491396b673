"""Whether pytest finds the plugin by itself."""

from __future__ import annotations

import importlib.metadata

MODULE = "pybpftool.pytest_plugin"


def missing() -> list[str]:
    """The plugin's module, unless it is installed as an entry point."""
    points = importlib.metadata.entry_points()
    # As of Python 3.10 this is no dict any more.
    if hasattr(points, "select"):
        group = list(points.select(group="pytest11"))
    else:
        group = list(points.get("pytest11", ()))
    return [] if any(point.value == MODULE for point in group) else [MODULE]
