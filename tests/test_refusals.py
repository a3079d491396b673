"""Whatever a command is refused, `-j` and `-p` print one document that a strict parser takes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any, NoReturn

import pytest

from tests.support import asm, load

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed"),
]

TELLTALE = re.compile(b"Traceback|mistake in pybpftool")

# What reads, what would change something that is not there, and what can't be understood.
COMMANDS = """
prog show
prog show id ID
prog show id 4294967290
prog show name nothing_has_it
prog show pinned /nonexistent
prog show id
prog show somehow 1
prog dump xlated id ID
prog dump xlated id ID visual
prog dump jited id ID
prog dump joined id ID
prog load /etc/passwd /nonexistent
prog run id ID data_in /etc/hostname
prog run id 4294967290 data_in /etc/hostname
prog attach id 4294967290 flow_dissector
prog detach id 4294967290 flow_dissector
prog profile id 4294967290 duration 1 cycles
prog tracelog stdout id 4294967290
prog pin id 4294967290 /nonexistent
map show
map show id 4294967290
map dump id 4294967290
map dump name nothing_has_it
map dump id 4294967290 stacks
map lookup id 4294967290 key 0 0 0 0
map getnext id 4294967290
map peek id 4294967290
map update id 4294967290 key 0 value 0
map delete id 4294967290 key 0
map freeze id 4294967290
map create /nonexistent/map type array key 4 value 4 entries 1 name refused
link show
link show id 4294967290
link show pinned /nonexistent
link detach id 4294967290
cgroup show /nonexistent
cgroup show /
cgroup tree
cgroup attach /nonexistent ingress id 4294967290
perf show
net show
net show dev lo
net show dev nothing_has_it
net show netns 4294967290
net attach xdp id 4294967290 dev lo
net detach xdp dev nothing_has_it
btf show
btf show id 4294967290
btf dump id 4294967290
btf dump file /sys/kernel/btf/vmlinux root_id 1
btf dump file /etc/passwd
btf dump file /nonexistent
feature probe dev lo
feature probe dev nothing_has_it
feature list_builtins prog_types
feature list_builtins nothing
struct_ops show
struct_ops dump
struct_ops unregister id 4294967290
struct_ops register /etc/passwd
iter list
iter pin /etc/passwd /nonexistent
token show
snapshot show /nonexistent
snapshot save /nonexistent/host.zip
diff /nonexistent
check /nonexistent
obj show /etc/passwd
obj dis /nonexistent
gen skeleton /etc/passwd
gen min_core_btf /nonexistent /nonexistent /etc/passwd
why prog ID
why pid 1
why map 4294967290
why dev lo
why cgroup /nonexistent
attachments
owners
doctor
top --once
metrics show
cbpf sockets
cbpf seccomp 1
cbpf dis /nonexistent
cbpf compile tcp
cbpf compile tcp link nothing
feature diff /nonexistent
gen python /etc/passwd
gen subskeleton /etc/passwd
gen object /nonexistent/x /etc/passwd
obj verify /etc/passwd
obj verify /nonexistent --compare /etc/passwd
obj check /nonexistent
obj relocs /etc/passwd
monitor --for 50ms
monitor --calls --for 50ms
why pin /nonexistent
why link 4294967290
metrics write /nonexistent/x
metrics show --stats --interval 50ms
report /nonexistent/x
check --since /nonexistent
struct_ops dump id 4294967290
map pin id 4294967290 /nonexistent
link pin id 4294967290 /nonexistent
net show all
prog loadall /etc/passwd /nonexistent
batch file /nonexistent
--table prog show
--table --columns id,nothing prog show
--full prog show id 4294967290
version
prog nothing
nothing
""".strip().splitlines()

NO_CAPS = "--inh-caps=-all --bounding-set=-all"
CALLERS = {
    "root": "",
    "without CAP_SYS_ADMIN": "setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin",
    "CAP_BPF and CAP_PERFMON": f"setpriv {NO_CAPS},+bpf,+perfmon",
    "CAP_BPF alone": f"setpriv {NO_CAPS},+bpf",
    "no capability": f"setpriv {NO_CAPS}",
    "no /proc": "unshare --mount sh -c 'mount -t tmpfs none /proc; exec \"$@\"' sh",
    "no /sys": "unshare --mount sh -c 'mount -t tmpfs none /sys; exec \"$@\"' sh",
}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), f"a name twice: {names}"
    return dict(pairs)


def _no_constant(text: str) -> NoReturn:
    raise AssertionError(f"{text} is not JSON")


def _fault(done: subprocess.CompletedProcess[bytes]) -> str:
    """What is wrong with a run; empty when nothing is."""
    if TELLTALE.search(done.stdout + done.stderr) or done.returncode < 0:
        return "did not end by itself"
    if not done.stdout.strip():
        return "failed without a document" if done.returncode else ""
    try:
        json.loads(done.stdout.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, AssertionError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("caller", CALLERS)
def test_one_document(caller: str) -> None:
    under = shlex.split(CALLERS[caller])
    faults = []
    with load.prog_load("socket_filter", asm.ret(0), name="refusals") as fd:
        number = str(load.object_id(fd))
        for turn, command in enumerate(COMMANDS):
            words = command.replace("ID", number).split()
            done = subprocess.run(
                [*under, sys.executable, "-m", "pybpftool", ("-j", "-p")[turn % 2], *words],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            fault = _fault(done)
            if fault:
                faults.append((command, fault, done.stdout[-200:], done.stderr[-300:]))
    assert not faults
