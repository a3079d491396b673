""".ci/test: its status is what the tests said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Stands for Python: tells what it was asked, and fails as often as the test says.
PYTHON = r"""#!/bin/sh
case "$*" in
*"coverage run"*) part=quick ;;
*--last-failed*) part=again ;;
*--ignore=tests/live) part=slow ;;
*tests/live\ -k\ longest) part=vm2 ;;
*tests/live\ -k\ *) part=vm ;;
*"coverage report"*) part=report ;;
*) part=combine ;;
esac
echo "ran $part"
case " $FAILS " in
*" $part:"*)
    echo "=== FAILURES ==="
    echo "in the $part tests"
    code=${FAILS##*"$part":}
    exit ${code%% *} ;;
esac
"""


def outcome(place: Path, fails: str, **environment: str) -> tuple[int, str]:
    """Status and output of ``.ci/test`` where the parts named (as NAME:STATUS) fail."""
    (place / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "test", place / ".ci" / "test")
    (place / "venv" / "bin").mkdir(parents=True)
    for path, text in (
        (place / ".ci" / "setup", "#!/bin/sh\n"),
        (place / "venv" / "bin" / "python", PYTHON),
    ):
        path.write_text(text)
        path.chmod(0o755)
    done = subprocess.run(
        [place / ".ci" / "test"],
        env={
            "PATH": "/usr/bin:/bin",
            "FAILS": fails,
            "PYBPFTOOL_VENV": str(place / "venv"),
            "TMPDIR": str(place),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert not list(place.glob("tmp.*")), "its own files are removed"
    return done.returncode, done.stdout


def test_all_parts_pass(tmp_path: Path) -> None:
    status, printed = outcome(tmp_path, "")
    assert status == 0, printed
    assert [line for line in printed.splitlines() if line.startswith("ran")] == [
        f"ran {part}" for part in ("quick", "combine", "report", "slow", "vm2", "vm")
    ]


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ("quick:1", 0),  # what fails once alone is tried once more
        ("slow:1", 0),
        ("quick:1 again:1", 1),
        ("quick:2", 2),  # interrupted, or nothing collected
        ("quick:2 slow:1", 2),
        ("slow:1 again:1", 1),
        ("vm:1", 1),
        ("vm2:1", 1),
        ("report:2", 1),
    ],
)
def test_a_part_fails(tmp_path: Path, fails: str, expected: int) -> None:
    status, printed = outcome(tmp_path, fails)
    assert status == expected, printed
    for part in ("quick", "slow", "vm", "vm2"):
        told = f"What failed of the {part} tests:\n=== FAILURES ===\nin the {part} tests"
        assert (told in printed) == (f"{part}:" in fails)
    assert ("ran again" in printed) == ("quick:1" in fails or "slow:1" in fails)


def test_no_virtual_machine_is_wanted(tmp_path: Path) -> None:
    status, printed = outcome(tmp_path, "", PYBPFTOOL_VM_KERNELS="")
    assert status == 0, printed
    assert "ran vm\n" in printed
    assert "vm2" not in printed
