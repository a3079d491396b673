"""`cgroup show` and `cgroup tree` on a tree of three levels with all flags."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tests.support.attachments import Scene, add_cgroups
from tests.tools.suites import Case, Live, case


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Make the tree."""
    scene = Scene(stack)
    live.extra["cgroup"] = add_cgroups(scene)


def commands(live: Live) -> Iterator[Case]:
    """The whole hierarchy, our tree, each cgroup of it, mistakes."""
    root = str(live.extra["cgroup"])
    for line in ("tree", f"tree {root}", f"tree {root} effective", f"tree {root}/", f"t {root} e"):
        yield case("cgroup " + line)
    for folder, _, _ in os.walk(root):
        for word in ("", "effective", "eff"):
            yield case(f"cgroup show {folder} {word}")
    for line in (
        "show",
        "show /nonexistent",
        "show /tmp",
        "show /etc/passwd",
        f"show {root} effective effective",
        f"show {root} nonsense",
        "tree /nonexistent",
        "tree /etc/passwd",
        "tree /tmp",
        f"tree {root} nonsense",
        f"attach {root}",
        f"attach {root} cgroup_device id 4294967295",
        f"attach {root} nonsense id 1",
        f"attach /tmp device id {live.corpus.progs[0].id if live.corpus.progs else 1}",
        f"detach {root} cgroup_device id 4294967295",
        f"detach {root} nonsense id 1",
        "help",
    ):
        yield case("cgroup " + line)
    # A word that is not a command: upstream prints its help, null in JSON.
    yield case("cgroup nonsense", modes=("",))
