"""Without the five packages: what they serve says which one it needs, and all else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.adapters import missing

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "fixtures" / "host" / "snapshot.zip"
BARE = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'pybpftool'\n"
    "from pybpftool.cli.main import run; run()"
)


def bare(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command with the standard library alone."""
    options = ["--snapshot", RECORDING, *words]
    command = [sys.executable, "-I", "-S", "-c", BARE, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        "prog show",
        "prog dump xlated id 166795",
        "prog dump xlated id 166795 visual",
        "map show",
        "link show",
        "btf show",
        "-j prog show",
        "cgroup tree",
        "perf show",
    ],
)
def test_works_all_the_same(words: str) -> None:
    done = bare(*words.split())
    assert (done.returncode, done.stderr) == (0, "")


def test_half_of_the_joined_view(tmp_path: Path) -> None:
    done = bare("prog", "dump", "joined", "id", "166795")
    assert done.returncode == 0
    assert "; return count_drop(ctx);" in done.stdout
    assert done.stderr.startswith("Without machine code: disassembling machine code needs the")
    done = bare("prog", "dump", "joined", "id", "166795", "html", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install capstone" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("capstone", "prog dump jited id 166795"),
        ("graphviz", "prog dump xlated id 166795 visual svg {}/x.svg"),
        ("tabulate", "prog show --table"),
    ],
)
def test_says_what_is_missing(package: str, words: str, tmp_path: Path) -> None:
    done = bare(*words.format(tmp_path).split())
    assert done.returncode == 255
    assert done.stderr.endswith(
        f" needs the Python package {package}, which is not installed: pip install {package}\n"
    )
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("pyelftools", "import pybpftool.adapters.elftools"),
        ("pyroute2", "from pybpftool.adapters import netlink; netlink.request_set_xdp(1, 2, 3)"),
    ],
)
def test_every_adapter(package: str, code: str) -> None:
    guarded = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pybpftool.errors import BpfError\n"
        f"try:\n    {code}\nexcept BpfError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-I", "-S", "-c", guarded]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"needs the Python package {package}, which is not installed" in done.stdout


def test_a_broken_one_is_not_called_missing() -> None:
    text = str(missing("drawing", "graphviz", ImportError("no libz.so")))
    assert "which does not work (no libz.so)" in text
