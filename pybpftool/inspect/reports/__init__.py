"""Reports of a check, each in the syntax of its readers."""

from __future__ import annotations

FORMATS = ("text", "github", "junit", "json", "tap", "sarif")
"""Each is a module of this package with a function ``render(report)``."""
