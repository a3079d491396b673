"""``attachments`` on a machine with a bit of everything: the union of the listings, once each."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import attachments, load, netdevs
from tests.support.attachments_union import compare
from tests.support.cli import run

pytestmark = pytest.mark.live

UPSTREAM = shutil.which("bpftool-up")


@pytest.fixture(scope="module")
def scene() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        made = attachments.Scene(stack)
        attachments.add_links(made)
        attachments.add_perf(made)
        attachments.add_cgroups(made)
        netdevs.add_net(made)
        yield


def ours(*words: str) -> Any:
    return json.loads(run("-j", *words).out)


def upstream(*words: str) -> Any:
    command = [str(UPSTREAM), "-j", *words]
    if words[2:3] == ("netns",):
        command = ["nsenter", f"--net={words[3]}", str(UPSTREAM), "-j", *words[:2]]
    done = subprocess.run(command, capture_output=True, check=False)
    # Of a flow dissector it leaves out the braces.
    return json.loads(re.sub(rb'\["id":(\d+)\]', rb'[{"id":\1}]', done.stdout) or b"[]")


@pytest.mark.parametrize("ask", [ours, upstream])
def test_union(scene: None, ask: Any) -> None:
    if ask is upstream and UPSTREAM is None:
        pytest.skip("there is no upstream bpftool to compare with")
    for _ in range(5):  # others may change the machine meanwhile
        result = run("-j", "attachments")
        own = os.stat("/proc/thread-self/ns/net").st_ino
        others = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                others[os.stat(f"/proc/{pid}/ns/net").st_ino] = f"/proc/{pid}/ns/net"
        others.pop(own, None)
        wrong = compare(ask, json.loads(result.out), ["", *others.values()])
        if not wrong:
            break
    assert wrong == []
    assert result.status == 0
    hooks = {row["hook"] for row in json.loads(result.out)}
    assert {"xdp", "tcx/ingress", "cgroup_inet_egress", "raw_tracepoint", "iter"} <= hooks


def test_text_has_a_line_each(scene: None) -> None:
    lines = run("attachments").text.splitlines()
    assert lines[0].split()[:2] == ["hook", "target"]
    some = run("attachments", "--filter", "hook=xdp", "--columns", "dev,prog_id").text.splitlines()
    assert all(line.split()[1].isdigit() for line in some[2:]) and len(some) >= 5
