"""The depth of recursion, on interpreters whose calls take the C stack and on others."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.depth import recursion_limit


def test_deep_enough_for_real_types() -> None:
    assert recursion_limit() >= 5000


@pytest.mark.parametrize("stack", [1 << 20, 8 << 20, 64 << 20])
def test_the_limit_comes_before_the_end_of_the_stack(stack: int) -> None:
    program = (
        "import sys; from pybpftool.depth import recursion_limit\n"
        "class Visitor:\n"
        "    def visit(self, a, b, c=True):\n"
        "        return self.visit(a + 1, False, c)\n"
        "sys.setrecursionlimit(recursion_limit())\n"
        "try: Visitor().visit(0, True)\n"
        "except RecursionError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(  # noqa: PLW1509
            resource.RLIMIT_STACK, (stack, resource.getrlimit(resource.RLIMIT_STACK)[1])
        ),
    )
    assert (done.returncode, done.stdout) == (0, b"refused\n"), done


def test_every_limit_is_this_one() -> None:
    """A number that suits one interpreter ends another."""
    package = Path(__file__).parents[1] / "pybpftool"
    found = [
        (path.name, given)
        for path in package.rglob("*.py")
        for given in re.findall(r"\.setrecursionlimit\((.*)\)\n", path.read_text())
    ]
    assert found
    assert {given for _, given in found} <= {"recursion_limit()", "limit"}, found
