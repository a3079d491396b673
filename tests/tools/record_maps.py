"""Record what upstream prints of the maps of `map_corpus` whose elements have an order.

    python -m tests.tools.record_maps PATH_OF_UPSTREAM

Per-CPU maps are left out: their dumps depend on the number of CPUs.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.support.map_corpus import Maps, load_maps

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "map"
MODES = {"": "plain", "-j": "json", "-jp": "pretty"}
# The rest has ids, hashes or the number of CPUs in its output.
ORDERED = ("array", "lpm_trie", "devmap", "queue", "stack", "bloom_filter", "ringbuf", "arena")


def chosen(maps: Maps) -> list[tuple[str, int]]:
    """Labels and ids of the maps whose dumps are always the same."""
    return [(item.label, item.id) for item in maps.made if item.type in ORDERED]


def main() -> None:
    """Command line."""
    rows = ["# label of the map in tests/support/map_corpus.py  ok|fails\n"]
    FIXTURE.joinpath("expected").mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for label, number in chosen(load_maps(stack)):
            outcomes = set()
            for mode, form in MODES.items():
                words = [sys.argv[1], *mode.split(), "map", "dump", "id", str(number)]
                done = subprocess.run(words, capture_output=True, check=False)
                FIXTURE.joinpath("expected", f"{label}.{form}").write_bytes(done.stdout)
                outcomes.add("ok" if done.returncode == 0 else "fails")
            rows.append(f"{label}  {' and '.join(sorted(outcomes))}\n")
    FIXTURE.joinpath("maps.txt").write_text("".join(rows))


def recorded() -> dict[str, bool]:
    """The maps by label, and whether their dumps succeed."""
    lines = FIXTURE.joinpath("maps.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {label: outcome == "ok" for label, outcome in rows}


if __name__ == "__main__":
    main()
