"""Recorded kernels, replayed: byte for byte what upstream printed when they were recorded.

`tests/tools/record.py` makes the recordings below fixtures/kernels.  Allowed for are only the
differences that `tests/tools/differences.py` lists.
"""

from __future__ import annotations

import functools
import json
import lzma
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Result, run
from tests.tools.differences import DIFFERENCES, Difference

KERNELS = Path(__file__).resolve().parents[2] / "fixtures" / "kernels"
NAMES = sorted(path.parent.name for path in KERNELS.glob("*/answers.json.xz"))

# Values of the corpus' metadata that upstream writes as something that is no JSON, or gives up on.
METADATA = [
    Difference(
        "floats (text)",
        "upstream leaves out the variables after the first whose type it cannot print",
        "ours",
        rb"(\n\t\tpi = \(unsupported-kind\))\n\t\thalf = \(unsupported-kind\)",
        rb"\1",
    ),
    Difference(
        "floats (JSON of upstream)",
        "upstream writes a word that is no JSON, then an error",
        "upstream",
        rb'"pi":\s*\(unsupported-kind\),\{\s*"error":\s*"\*"\s*\}',
        b'"pi": FLOATS',
    ),
    Difference(
        "floats (JSON)",
        "ours are numbers",
        "ours",
        rb'"pi":\s*3\.25,\s*"half":\s*0\.5',
        b'"pi": FLOATS',
    ),
    Difference(
        "a quote as a char",
        "upstream does not escape it",
        "upstream",
        rb'("(?:char3|quote0)":\s*)"""',
        rb'\1"\""',
    ),
    Difference(
        "a backslash as a char",
        "upstream does not escape it",
        "upstream",
        rb'("(?:char4|quote1)":\s*)"\\",',
        rb'\1"\\\\",',
    ),
]


@functools.cache
def recording(name: str) -> dict[str, Any]:
    """A recording: kernel, time zone, whether upstream found holders, commands with answers."""
    with lzma.open(KERNELS / name / "answers.json.xz") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _cases() -> list[Any]:
    return [
        pytest.param(name, number, id=f"{name}-{number}-{'_'.join(answer['args'])[:40]}")
        for name in NAMES
        for number, answer in enumerate(recording(name)["answers"])
    ]


@pytest.fixture
def zone() -> Iterator[Any]:
    before = os.environ.get("TZ")

    def set_zone(name: str) -> None:
        os.environ["TZ"] = name
        time.tzset()

    yield set_zone
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


def replay(name: str, answer: dict[str, Any]) -> Result:
    snapshot = str(KERNELS / name / "snapshot.zip")
    return run("--snapshot", snapshot, *answer["args"], stdin=answer.get("stdin", "").encode())


@pytest.mark.parametrize(("name", "number"), _cases())
def test_as_upstream(name: str, number: int, zone: Any) -> None:
    kernel = recording(name)
    answer = kernel["answers"][number]
    zone(kernel["tz"])
    result = replay(name, answer)
    ours, theirs = result.out, answer["stdout"].encode("utf-8", "surrogateescape")
    for difference in [*DIFFERENCES, *METADATA]:
        if difference.only_without_pids and kernel["pids"]:
            continue
        if difference.side != "upstream":
            ours = difference.apply(ours)
        if difference.side != "ours":
            theirs = difference.apply(theirs)
    if answer["ok"]:
        assert result.err == b""
        assert ours == theirs
        assert result.status == 0
    else:
        assert result.status != 0
        if result.err:
            assert b"Traceback" not in result.err
        # Where upstream prints its help (null as JSON) or nothing at all, ours says why.
        if theirs.strip() not in (b"", b"null"):
            assert ours == theirs
    if answer["args"][0] in ("-j", "-jp"):
        json.loads(result.out)


@pytest.mark.parametrize("name", NAMES)
def test_holders_are_shown_where_upstream_shows_none(name: str) -> None:
    rows = run("-j", "--snapshot", str(KERNELS / name / "snapshot.zip"), "prog", "show").json
    held = [row for row in rows if "pids" in row]
    assert len(held) >= recording(name)["programs"]
    assert all(set(holder) == {"pid", "comm"} for row in held for holder in row["pids"])


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_covers_what_it_is_for(name: str) -> None:
    kernel = recording(name)
    assert kernel["programs"] >= 40
    assert len(kernel["types"]) >= 20
    text = "".join(answer["stdout"] for answer in kernel["answers"])
    for sign in ("[file:", "metadata", "run_time_ns", "pinned", "btf_id",
                 "subprog[", "lock *(", "map[id:", "if w", "call pc", "\\n; "):  # fmt: skip
        assert re.search(re.escape(sign).replace("\\\\n", "\n"), text), sign


@pytest.mark.parametrize("name", NAMES)
def test_recordings_stay_small(name: str) -> None:
    for file in ("snapshot.zip", "answers.json.xz"):
        assert (KERNELS / name / file).stat().st_size < 400_000


def test_there_are_recordings() -> None:
    assert NAMES
