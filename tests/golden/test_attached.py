"""Links, perf events, cgroups and networks of Debian's kernels, replayed beside upstream's answers.

`tests/tools/record_attached.py` makes the recordings below fixtures/link in virtual machines:
kprobes, kprobe_multi, fentry, fexit, freplace, LSM and netkit, which other kernels cannot attach,
with the holders and cookies that upstream shows there.
"""

from __future__ import annotations

import functools
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import run
from tests.tools.differences import DIFFERENCES

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "link"
NAMES = sorted(path.parent.name for path in FIXTURES.glob("*/answers.json.xz"))


@functools.cache
def recording(name: str) -> dict[str, Any]:
    """A recording: kernel, labels of the links, commands with upstream's answers."""
    with lzma.open(FIXTURES / name / "answers.json.xz") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _cases() -> list[Any]:
    return [
        pytest.param(name, number, id=f"{name}-{number}-{'_'.join(answer['args'])[:40]}")
        for name in NAMES
        for number, answer in enumerate(recording(name)["answers"])
    ]


def _normal(data: bytes, side: str, kernel: str) -> bytes:
    for difference in DIFFERENCES:
        is_cookie = difference.name.startswith("cookies of held perf event links")
        if difference.side in ("both", side) and not difference.only_without_pids:
            data = difference.apply(data)
        elif is_cookie and side == "upstream" and kernel.startswith("6.1."):
            # Before 6.9 only a BPF program can read the cookies of perf events; upstream has one.
            data = difference.apply(data)
    return data


@pytest.mark.parametrize(("name", "number"), _cases())
def test_as_upstream(name: str, number: int) -> None:
    answer = recording(name)["answers"][number]
    snapshot = str(FIXTURES / name / "snapshot.zip")
    result = run("--snapshot", snapshot, *answer["args"])
    assert (result.status == 0) == answer["ok"], result.errors
    expected = answer["stdout"].encode("utf-8", "surrogateescape")
    kernel = recording(name)["kernel"]
    assert _normal(result.out, "ours", kernel) == _normal(expected, "upstream", kernel)


@pytest.mark.parametrize("name", NAMES)
def test_recordings_show_what_other_kernels_lack(name: str) -> None:
    links = set(recording(name)["links"])
    assert {"kprobe", "kretprobe", "fentry", "fexit", "freplace", "lsm", "tracepoint"} <= links
    if name == "debian-6.12":
        assert {
            "kprobe_multi",
            "kretprobe_multi",
            "kprobe_offset",
            "fmod_ret",
            "lsm_cgroup",
        } <= links
        assert {
            "netkit_primary",
            "tcx_ingress",
            "uprobe_multi",
            "sockmap_msg",
            "struct_ops",
        } <= links
        text = next(
            a["stdout"] for a in recording(name)["answers"] if a["args"] == ["link", "show"]
        )
        assert "\n\tbpf_cookie " in text and "\n\tpids python" in text
