"""What a process inherits: namespaces, missing capabilities, file systems that are not there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support import asm, load

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed"),
]


def ours(*words: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*under, sys.executable, "-m", "pybpftool", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def shell(script: str) -> tuple[str, ...]:
    """A mount namespace in which ``script`` is run before the command."""
    return ("unshare", "-m", "sh", "-c", script + '; exec "$@"', "sh")


def without(capability: str) -> tuple[str, ...]:
    return ("setpriv", "--bounding-set", f"-{capability}", "--inh-caps", f"-{capability}")


@pytest.fixture(scope="module")
def prog() -> Iterator[int]:
    code = asm.assemble([asm.mov64(asm.R0, 0), asm.exit_()])
    with load.prog_load("socket_filter", code, name="state") as fd:
        yield load.object_id(fd)


def loaded_at(text: str) -> str:
    found: list[str] = re.findall("loaded_at ([^ ]*)", text)
    return found[0]


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/time"), reason="no time namespaces")
def test_a_time_namespace(prog: int) -> None:
    here = ours("prog", "show", "id", str(prog))
    there = ours(
        "prog", "show", "id", str(prog), under=("unshare", "-T", "--boottime", "1000000", "-f")
    )
    if "unshare" in there.stderr:
        pytest.skip("this machine makes no time namespaces")
    assert loaded_at(there.stdout) == loaded_at(here.stdout)


def test_a_pid_namespace_without_a_proc_of_its_own(prog: int) -> None:
    shown = ours("-j", "prog", "show", "id", str(prog), under=("unshare", "-p", "-f"))
    pids = [holder["pid"] for holder in json.loads(shown.stdout)["pids"]]
    assert pids == [os.getpid()]


@pytest.mark.parametrize("words", ["prog show", "map show", "link show", "btf show", "perf show",
                                   "cgroup tree", "net show"])  # fmt: skip
@pytest.mark.parametrize("directory", ["/proc", "/sys", "/dev"])
def test_a_directory_that_is_not_there(words: str, directory: str) -> None:
    for options in ((), ("-j",)):
        shown = ours(*options, *words.split(), under=shell(f"mount -t tmpfs none {directory}"))
        assert "Traceback" not in shown.stderr and "mistake in pybpftool" not in shown.stderr
        assert shown.stderr.count("\n") <= 1, shown
        if options:
            json.loads(shown.stdout)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.parametrize("words", ["prog show", "map show", "link show", "btf show", "perf show",
                                   "cgroup tree", "net show", "net show all"])  # fmt: skip
@pytest.mark.parametrize("capability", ["sys_admin", "net_admin", "sys_ptrace"])
def test_one_document_without_a_capability(words: str, capability: str) -> None:
    shown = ours("-j", *words.split(), under=without(capability))
    assert "Traceback" not in shown.stderr and "mistake in pybpftool" not in shown.stderr
    json.loads(shown.stdout)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_the_capability_that_is_missing_is_named(prog: int) -> None:
    with open("/proc/sys/kernel/kptr_restrict") as file:
        if file.read().strip() == "2":
            pytest.skip("kernel.kptr_restrict hides addresses from everybody")
    shown = ours("prog", "dump", "jited", "id", str(prog), under=without("syslog"))
    if shown.returncode == 0:
        pytest.skip("kernel.perf_event_paranoid lets everybody see addresses")
    assert shown.stderr.count("\n") == 1 and "the capability CAP_SYSLOG" in shown.stderr
