"""The live tests inside Debian's kernels, where kprobes, fentry, LSM and holders' names exist."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import vm

ROOT = Path(__file__).resolve().parents[2]
# Two machines, since under emulation one test file takes as long as a quarter of the others.
LONGEST = "tests/live/test_snapshot.py"
# $PYBPFTOOL_VM_KERNELS narrows it: "6.12", or "" for none.
SERIES = os.environ.get("PYBPFTOOL_VM_KERNELS", "6.1 6.12").split()


def machine(series: str) -> list[str]:
    """The words that run a command under this kernel; skips when it can't be had."""
    reason = vm.why_not()
    if reason:
        pytest.skip(reason)
    try:
        vm.get_kernel(series, vm.cache_dir())
    except (vm.VmError, OSError) as error:
        pytest.skip(str(error))
    return [sys.executable, str(ROOT / "tests" / "tools" / "vm.py"), "--kernel", series]


@pytest.mark.slow
@pytest.mark.parametrize("series", SERIES)
def test_status_and_streams(series: str) -> None:
    script = "echo out; echo err >&2; uname -r; exit 7"
    done = subprocess.run(
        [*machine(series), "--timeout", "300", "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    first, release = done.stdout.splitlines()
    assert first == "out"
    assert release.startswith(series + ".")
    assert done.stderr == "err\n"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["most", "longest"])
@pytest.mark.parametrize("series", SERIES)
def test_live_suite(series: str, part: str, tmp_path: Path) -> None:
    """The live tests pass under another kernel; its report comes back through a shared folder."""
    report = tmp_path / "report.txt"
    # What asks or shows the kernel; under emulation all live tests would take half an hour, and
    # those of rights, which start Python a hundred times, five minutes.
    files = sorted(
        str(path.relative_to(ROOT))
        for folder in ("kernel", "live")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        if path.name != "test_rights.py" and "mark.live" in path.read_text(encoding="utf-8")
    )
    files.remove(LONGEST)
    if part == "longest":
        files = [LONGEST]
    pytest_words = [sys.executable, "-m", "pytest", "-q", "-m", "live and not slow", "-p"]
    command = shlex.join([*pytest_words, "no:cacheprovider", *files])
    inside = f"{command} >{shlex.quote(str(report))} 2>&1"
    done = subprocess.run(
        [
            *(*machine(series), "--timeout", "3000", "--cwd", str(ROOT), "--share", str(tmp_path)),
            *("--env", "PYTHONDONTWRITEBYTECODE=1", "--", "sh", "-c", inside),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    text = report.read_text() if report.exists() else ""
    assert done.returncode == 0, "%s\n%s" % (text[-4000:], done.stderr)
    assert " passed" in text
