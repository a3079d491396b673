"""`feature` with every word, `token` with file systems that delegate."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator

from tests.tools.suites import Case, Live, case

OPTIONS = (
    "delegate_cmds=map_create:prog_load:btf_load:token_create:link_create",
    "delegate_maps=any,delegate_progs=xdp:syscall,delegate_attachs=0x20",
)
PROBES = (
    "feature",
    "feature probe",
    "feature probe kernel full",
    "feature p k",
    "feature probe unprivileged",
    "feature probe full unprivileged macros",
    "feature probe macros",
    "feature probe macros prefix MY_",
    "feature probe full macros prefix MY_ kernel",
    "feature probe dev lo",
    "feature probe full dev lo macros prefix X",
    "feature probe dev pybt_nothing",
    "feature probe dev",
    "feature probe kernel kernel",
    "feature probe dev lo kernel",
    "feature probe prefix X",
    "feature probe macros prefix",
    "feature probe macros prefix X prefix Y",
    "feature probe macros macros",
    "feature probe anything",
)
GROUPS = (
    "prog_types",
    "map_types",
    "attach_types",
    "link_types",
    "helpers",
    "p",
    "m",
    "a",
    "l",
    "h",
)


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Mount file systems that delegate, where the kernel lets them (6.9)."""
    for options in OPTIONS:
        path = stack.enter_context(tempfile.TemporaryDirectory(prefix="delegates "))
        command = ["mount", "-t", "bpf", "-o", options, "bpf", path]
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            stack.callback(subprocess.run, ["umount", path], check=True)


def commands(live: Live) -> Iterator[Case]:
    """Probes, names, tokens."""
    for line in PROBES:
        yield case(line)
    for group in GROUPS:
        yield case(f"feature list_builtins {group}")
    for line in ("feature list_builtins nonsense", "feature list p more"):
        yield case(line)
    for line in ("token", "token show", "token list", "token l", "token show anything"):
        yield case(line)
    wrong = ("feature nonsense", "feature list_builtins", "token nonsense")
    for line in ("feature help", "token help", *wrong):
        yield case(line, modes=("",))
