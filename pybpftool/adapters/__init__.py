"""One module for each third-party package; nothing else imports them."""

from __future__ import annotations

from pybpftool.errors import BpfError


def missing(purpose: str, package: str, error: Exception) -> BpfError:
    """What to raise where a package cannot be imported: a sentence that says how to get it."""
    why = "which is not installed"
    if not isinstance(error, ModuleNotFoundError):
        why = f"which does not work ({error})"
    return BpfError(f"{purpose} needs the Python package {package}, {why}: pip install {package}")
