"""Imports every module and replays every recorded command, with the standard library alone.

Prints a line for each command: what came out, as a hash. Each Python has to print the same.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Needs packages, and pytest.
_LEFT_OUT = ("adapters", "pytest_plugin", "__main__")


def main() -> int:
    """Import, replay, print."""
    from tests.support import golden
    from tests.support.cli import run

    os.environ["TZ"] = "UTC"
    time.tzset()
    for path in sorted((ROOT / "pybpftool").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not set(parts) & set(_LEFT_OUT):
            import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    for folder in golden.folders():
        snapshot = str(folder / "snapshot.zip")
        for case in golden.cases(folder):
            done = run("--snapshot", snapshot, *case.args, stdin=case.stdin)
            digest = hashlib.sha256(repr((done.status, done.out, done.err)).encode())
            print(digest.hexdigest()[:16], folder.name, case.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
