"""Record what upstream prints of the maps of `map_corpus` whose elements have an order.

    python -m tests.tools.record_maps PATH_OF_UPSTREAM

Per-CPU maps are left out: their dumps depend on the number of CPUs.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
from pathlib import Path

from tests.support.map_corpus import Maps, load_maps

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures/map/dumps.json.gz"
MODES = ("", "-j", "-jp")
# The rest has ids, hashes or the number of CPUs in its output.
ORDERED = ("array", "lpm_trie", "devmap", "queue", "stack", "bloom_filter", "ringbuf", "arena")


def chosen(maps: Maps) -> list[tuple[str, int]]:
    """Labels and ids of the maps whose dumps are always the same."""
    return [(item.label, item.id) for item in maps.made if item.type in ORDERED]


def main() -> None:
    """Command line."""
    answers: dict[str, dict[str, list[object]]] = {}
    with contextlib.ExitStack() as stack:
        for label, number in chosen(load_maps(stack)):
            for mode in MODES:
                words = [sys.argv[1], *mode.split(), "map", "dump", "id", str(number)]
                done = subprocess.run(words, capture_output=True, check=False)
                row = [done.returncode == 0, done.stdout.decode("utf-8", "surrogateescape")]
                answers.setdefault(label, {})[mode] = row
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(answers, indent=0, sort_keys=True)
    FIXTURE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
