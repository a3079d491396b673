"""Each kind of system call of each reading command fails once: a sentence, or no difference."""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import faults, load
from tests.support.asm import ret

pytestmark = [pytest.mark.live, pytest.mark.slow]

SECONDS = float(os.environ.get("FAULT_SECONDS", "80"))
ERRNOS = ("EPERM", "EACCES", "ENOENT", "ENOMEM", "EIO", "EINTR", "EAGAIN")
# Of glibc, which ends the process by itself or believes whatever brk(2) returns; what never fails.
NOT_OURS = {"futex", "rseq", "set_robust_list", "brk", "execve", "exit", "exit_group", "getpid"}
NOT_OURS |= {"gettid", "getuid", "geteuid", "rt_sigreturn"}
COMMANDS = """
prog show
-j -f prog show
-j map show
link show
-j link show
btf show
-j net show
net show all
-j cgroup tree
-j perf show
iter list
token list
-j struct_ops show
prog dump xlated id PROG
-j prog dump jited id PROG
prog dump joined id PROG
-j map dump id MAP
btf dump file /sys/kernel/btf/vmlinux root_id 1
btf dump file /sys/kernel/btf/vmlinux root_id 100 format c
-j attachments
owners
why prog PROG
-j doctor
report OUT
metrics show
metrics write OUT
-j cbpf sockets
snapshot save OUT
snapshot save OUT elements none
--table prog show
""".strip().splitlines()


@pytest.fixture(scope="module")
def ids() -> Iterator[dict[str, str]]:
    load.requires_bpf()
    if not faults.works():
        pytest.skip("no filters of system calls here")
    faults.import_everything()
    with (
        load.prog_load("xdp", ret(2), name="faulty") as prog,
        load.map_create("hash", 4, 4, 2, name="faulty") as map,
    ):
        load.map_update(map, b"\1\0\0\0", b"\2\0\0\0")
        yield {"PROG": str(load.object_id(prog)), "MAP": str(load.object_id(map, "map"))}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def complaint(argv: list[str], done: faults.Outcome) -> str:
    """What is wrong with how a command line ended; nothing if nothing is."""
    both = done.stderr + done.stdout[-4096:]
    if done.hung:
        return "hung"
    if done.status < 0:
        return f"ended by signal {-done.status}"
    for telltale in ("Traceback", "mistake in pybpftool"):
        if telltale in both:
            return both
    if done.stderr.count("\n") > 6:
        return f"many words: {done.stderr}"
    is_lost = "cannot write the output" in done.stderr
    if "-j" in argv and not is_lost:
        try:
            json.loads(done.stdout, parse_constant=_no_constant)
        except ValueError as error:
            return f"{error}: {done.stdout[-200:]}"
    if done.status == 255 and not (done.stderr or done.stdout):
        return "a failure without a word"
    return ""


def left_over(folder: Path, done: faults.Outcome) -> str:
    """What is wrong with the files that a command line left, which are taken away."""
    names = [path.name for path in folder.iterdir()]
    for path in folder.iterdir():
        path.unlink()
    if done.hung:
        return ""
    if done.status == 255 and names:
        return f"a failure, yet there are {names}"
    return "" if names == ["out"] or done.status == 255 else f"files: {names}"


def test_nothing_fails_in_vain(ids: dict[str, str]) -> None:
    """The launcher does what it says: the call fails, and the command tells it."""
    calls = Counter(faults.run(["btf", "show"]).calls)
    next_id = next(call for call in calls if call[1] == 23)  # BPF_BTF_GET_NEXT_ID
    done = faults.run(["btf", "show"], next_id, 1, errno.EPERM)
    assert done.count >= 1
    assert complaint(["btf", "show"], done) == ""


def test_each_call_fails_once(ids: dict[str, str], tmp_path: Path) -> None:
    names = faults.names()
    end = time.monotonic() + SECONDS
    found: list[str] = []
    tried = 0
    for number, line in enumerate(COMMANDS):
        argv = [ids.get(word, word) for word in line.split()]
        argv = [str(tmp_path / "out") if word == "OUT" else word for word in argv]
        writes = "OUT" in line
        calls = Counter(faults.run(argv, limit=60).calls)
        if writes:
            (tmp_path / "out").unlink()
        share = time.monotonic() + (end - time.monotonic()) / (len(COMMANDS) - number)
        for turn, (call, count) in enumerate(sorted(calls.items())):
            if names.get(call[0]) in NOT_OURS:
                continue
            # Another errno for each command, and each position: all of them over the commands.
            for position, nth in enumerate({1, 2, count} & set(range(1, count + 1))):
                if time.monotonic() > share:
                    break
                name = ERRNOS[(number + turn + position) % len(ERRNOS)]
                done = faults.run(argv, call, nth, getattr(errno, name))
                tried += 1
                told = left_over(tmp_path, done) if writes else ""
                told = complaint(argv, done) or told
                if told:
                    what = f"{names.get(call[0], call[0])} {call[1]}"
                    found.append(f"{line}: call {nth} of {count} {what} {name}: {told}")
    assert tried > len(COMMANDS)
    assert not found, "\n".join(found)
