"""Every case of every recording below fixtures/, byte for byte what upstream printed.

tests/support/golden.py says how a recording is kept.  Allowed for are only the differences that
tests/tools/differences.py lists, and those below.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import golden
from tests.support.cli import run
from tests.tools.differences import DIFFERENCES, Difference

FOLDERS = [str(folder.relative_to(golden.FIXTURES)) for folder in golden.folders()]
KERNELS = [name for name in FOLDERS if name.startswith("kernels/")]
LINKS = [name for name in FOLDERS if name.startswith("link/")]
# Cases are never lost unnoticed.
AT_LEAST = {"kernels/6.18": 142, "link/debian-6.1": 63, "link/debian-6.12": 63}

# Values of the corpus' metadata that upstream writes as something that is no JSON, or gives up on.
METADATA = [
    Difference(
        "floats (text)",
        "upstream cannot print them, and leaves out the variables that follow",
        "ours",
        rb"(\n\t\tpi = )3\.25\n\t\thalf = 0\.5",
        rb"\1(unsupported-kind)",
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


def _cases() -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}-{case.name}")
        for name in FOLDERS
        for case in golden.cases(golden.FIXTURES / name)
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


def normal(data: bytes, side: str, facts: dict[str, str]) -> bytes:
    """Without the differences that are allowed."""
    for difference in [*DIFFERENCES, *METADATA]:
        # Before 6.9 only a BPF program can read the cookies of perf events; upstream has one.
        is_old = facts["kernel"].startswith("6.1.") and side == "upstream"
        if is_old and difference.name.startswith("cookies of held perf event links"):
            data = difference.apply(data)
        elif difference.only_without_pids and facts["pids"] == "yes":
            continue
        elif difference.side in ("both", side):
            data = difference.apply(data)
    return data


@pytest.mark.parametrize(("name", "case"), _cases())
def test_as_upstream(name: str, case: golden.Case, zone: Any) -> None:
    facts = golden.origin(golden.FIXTURES / name)
    zone(facts["tz"])
    snapshot = str(golden.FIXTURES / name / "snapshot.zip")
    result = run("--snapshot", snapshot, *case.args, stdin=case.stdin)
    ours, theirs = normal(result.out, "ours", facts), normal(case.stdout, "upstream", facts)
    assert (result.status == 0) == case.is_ok, result.errors
    if case.is_ok:
        assert result.err == b""
        assert ours == theirs
    else:
        assert b"Traceback" not in result.err
        # Where upstream prints its help (null as JSON) or nothing at all, ours says why.
        if theirs.strip() not in (b"", b"null"):
            assert ours == theirs
    if case.args[0] in ("-j", "-jp"):
        json.loads(result.out)


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_whole(name: str) -> None:
    folder = golden.FIXTURES / name
    cases = golden.cases(folder)
    assert len(cases) >= AT_LEAST.get(name, 1)
    assert {path.name for path in folder.glob("expected/*")} == {case.name for case in cases}
    assert {"kernel", "upstream", "command", "tz", "pids"} <= set(golden.origin(folder))


def test_there_are_recordings() -> None:
    assert set(AT_LEAST) <= set(FOLDERS)


@pytest.mark.parametrize("name", KERNELS)
def test_holders_are_shown_where_upstream_shows_none(name: str) -> None:
    folder = golden.FIXTURES / name
    rows = run("-j", "--snapshot", str(folder / "snapshot.zip"), "prog", "show").json
    held = [row for row in rows if "pids" in row]
    assert len(held) >= int(golden.origin(folder)["programs"])
    assert all(set(holder) == {"pid", "comm"} for row in held for holder in row["pids"])


@pytest.mark.parametrize("name", KERNELS)
def test_a_recording_covers_what_it_is_for(name: str) -> None:
    facts = golden.origin(golden.FIXTURES / name)
    assert int(facts["programs"]) >= 40
    assert len(facts["types"].split()) >= 20
    text = b"".join(case.stdout for case in golden.cases(golden.FIXTURES / name)).decode()
    for sign in ("[file:", "metadata", "run_time_ns", "pinned", "btf_id",
                 "subprog[", "lock *(", "map[id:", "if w", "call pc", "\\n; "):  # fmt: skip
        assert re.search(re.escape(sign).replace("\\\\n", "\n"), text), sign


@pytest.mark.parametrize("name", LINKS)
def test_recordings_show_what_other_kernels_lack(name: str) -> None:
    links = set(golden.origin(golden.FIXTURES / name)["links"].split(", "))
    assert {"kprobe", "kretprobe", "fentry", "fexit", "freplace", "lsm", "tracepoint"} <= links
    if name == "link/debian-6.12":
        assert {"kprobe_multi", "kretprobe_multi", "kprobe_offset", "fmod_ret"} <= links
        assert {"lsm_cgroup", "netkit_primary", "tcx_ingress", "uprobe_multi"} <= links
        assert {"sockmap_msg", "struct_ops"} <= links
        cases = {tuple(case.args): case for case in golden.cases(golden.FIXTURES / name)}
        text = cases["link", "show"].stdout
        assert b"\n\tbpf_cookie " in text and b"\n\tpids python" in text


@pytest.mark.parametrize("name", FOLDERS)
def test_snapshots_stay_small(name: str) -> None:
    path: Path = golden.FIXTURES / name / "snapshot.zip"
    assert path.stat().st_size < 400_000
