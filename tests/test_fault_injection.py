"""Each kind of system call of each command fails once: a sentence, or no difference.

Commands that change something leave all of it, or nothing.
"""

from __future__ import annotations

import errno
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import bpfc, faults, load
from tests.support.asm import ret

pytestmark = [pytest.mark.live, pytest.mark.slow]

SECONDS = float(os.environ.get("FAULT_SECONDS", "70"))
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
-j cbpf seccomp SELF
cbpf compile tcp
cbpf dis TEXT
top --once --interval 100ms
-j monitor --for 50ms
feature probe
feature list_builtins kfuncs
why pid SELF
why dev lo
diff RECORDED
check TEXT --report sarif=OUT
metrics show --stats --interval 100ms
-j obj show OBJECT
obj dis OBJECT
obj relocs OBJECT
obj check OBJECT --against RECORDED
-j obj verify OBJECT
gen skeleton OBJECT
gen skeleton -L OBJECT
gen subskeleton OBJECT
gen python OBJECT
gen object OUT OBJECT
gen min_core_btf /sys/kernel/btf/vmlinux OUT OBJECT
prog load OBJECT PINS/new
prog loadall OBJECT PINS/new
prog pin id PROG PINS/new
-j prog run id PROG data_in OBJECT repeat 1
prog run id PROG data_in OBJECT data_out OUT
prog profile id PROG duration 1 cycles
map create PINS/new type hash key 4 value 4 entries 4 name faulty
map lookup id MAP key 1 0 0 0
map pin id MAP PINS/new
snapshot save OUT
snapshot save OUT elements none
--table prog show
""".strip().splitlines()


SILENT = "a failure without a word"
SOURCE = """
int hits;
SEC("xdp") int faulty(struct xdp_md *ctx) { hits++; return 2; }
"""
POLICY = """
schema = 1
[[rule]]
id = "none"
prog = { name = "nothing*" }
count = 0
"""


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the words in capitals stand for; without a clang there is no OBJECT."""
    load.requires_bpf()
    if not faults.works():
        pytest.skip("no filters of system calls here")
    faults.import_everything()
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "text").write_text(POLICY)
    words = {
        "SELF": str(os.getpid()),
        "TEXT": str(folder / "text"),
        "RECORDED": str(Path(__file__).parents[1] / "fixtures" / "host" / "snapshot.zip"),
    }
    if bpfc.find_clang() is not None:
        words["OBJECT"] = bpfc.compile_object(folder, SOURCE, "faulty.bpf")
    with (
        load.temp_bpffs() as pins,
        load.prog_load("xdp", ret(2), name="faulty") as prog,
        load.map_create("hash", 4, 4, 2, name="faulty") as map,
    ):
        load.map_update(map, b"\1\0\0\0", b"\2\0\0\0")
        words |= {"PROG": str(load.object_id(prog)), "MAP": str(load.object_id(map, "map"))}
        yield words | {"PINS": pins}


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
        return SILENT
    return ""


def left_over(folder: Path, done: faults.Outcome) -> str:
    """What is wrong with the files or pins that a command line left, which are taken away."""
    names = [path.name for path in folder.iterdir()]
    for path in folder.iterdir():
        if path.is_dir():
            for pin in path.iterdir():
                pin.unlink()
            path.rmdir()
        else:
            path.unlink()
    # Where only the words about it could not be written, what was made stays.
    if done.hung or "cannot write the output" in done.stderr:
        return ""
    if done.status == 255 and names:
        return f"a failure, yet there are {names}"
    return "" if len(names) == 1 or done.status in (2, 255) else f"files: {names}"


def test_nothing_fails_in_vain(ids: dict[str, str]) -> None:
    """The launcher does what it says: the call fails, and the command tells it."""
    calls = Counter(faults.run(["btf", "show"]).calls)
    next_id = next(call for call in calls if call[1] == 23)  # BPF_BTF_GET_NEXT_ID
    done = faults.run(["btf", "show"], next_id, 1, errno.EPERM)
    assert done.count >= 1
    assert complaint(["btf", "show"], done) == ""


def injections(calls: Counter[faults.Call], number: int) -> list[tuple[faults.Call, int, str]]:
    """Which call is to fail, the how manieth and with what; in no order, but the same each time."""
    names = faults.names()
    found = []
    for turn, (call, count) in enumerate(sorted(calls.items())):
        if names.get(call[0]) in NOT_OURS:
            continue
        # Another errno for each command, and each position: all of them over the commands.
        for position, nth in enumerate({1, 2, count} & set(range(1, count + 1))):
            name = ERRNOS[(number + turn + position) % len(ERRNOS)]
            if (names.get(call[0]), name) != ("statfs", "ENOENT"):  # a folder that is there, or not
                found.append((call, nth, name))
    random.Random(number).shuffle(found)
    return found


def test_each_call_fails_once(ids: dict[str, str], tmp_path: Path) -> None:
    names = faults.names()
    end = time.monotonic() + SECONDS
    found: list[str] = []
    tried = 0
    lines = [line for line in COMMANDS if "OBJECT" in ids or "OBJECT" not in line]
    for number, line in enumerate(lines):
        words = {**ids, "OUT": str(tmp_path / "out")}
        argv = line.split()
        for word, meant in words.items():
            argv = [each.replace(word, meant) if word in each else each for each in argv]
        made = tmp_path if "OUT" in line else Path(ids["PINS"]) if "PINS" in line else None
        whole = faults.run(argv, limit=60)
        told = complaint(argv, whole) or (left_over(made, whole) if made else "")
        assert not told, f"{line}: {told}"
        share = time.monotonic() + (end - time.monotonic()) / (len(lines) - number)
        calls = Counter(whole.calls)
        for call, nth, name in injections(calls, number):
            if time.monotonic() > share:
                break
            done = faults.run(argv, call, nth, getattr(errno, name))
            tried += 1
            told = left_over(made, done) if made else ""
            told = complaint(argv, done) or told
            if told == SILENT and whole.status == 255 and names.get(call[0]) == "write":
                continue  # what failed is the sentence itself
            if told:
                what = f"{names.get(call[0], call[0])} {call[1]}"
                found.append(f"{line}: call {nth} of {calls[call]} {what} {name}: {told}")
    assert tried > len(lines)
    assert not found, "\n".join(found)
