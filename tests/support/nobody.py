"""Runs the command as nobody, without any capability or with the few that are named."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

import pytest

_SETPRIV = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all", sys.executable]


@functools.cache
def _why_not() -> str:
    """What keeps nobody from running this Python and these sources; empty when nothing does."""
    if os.geteuid() or shutil.which("setpriv") is None:
        return "needs root, which gives it up"
    words = [*_SETPRIV, "-c", "import pybpftool.cli.main"]
    tried = subprocess.run(words, check=False, capture_output=True, text=True)
    if tried.returncode:
        return f"others may not run this Python: {tried.stderr.strip().splitlines()[-1:]}"
    return ""


def as_nobody(
    *words: str, caps: str = "", hides_pids: bool = False
) -> subprocess.CompletedProcess[str]:
    """What ``pybpftool WORDS`` comes to for nobody; skips where nobody may not run it.

    :param caps: capabilities that nobody has all the same, as ``"bpf perfmon"``.
    :param hides_pids: with a /proc that shows no processes of others (``hidepid=2``).
    """
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    command = [*_SETPRIV, "-m", "pybpftool", *words]
    if caps:
        some = "".join([f",+{cap}" for cap in caps.split()])
        command[4:5] = [f"--inh-caps=-all{some}", f"--ambient-caps=-all{some}"]
    if hides_pids:
        mount = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
        command[:0] = ["unshare", "-m", "--propagation", "private", "sh", "-c", mount, "sh"]
    return subprocess.run(command, check=False, capture_output=True, text=True)
