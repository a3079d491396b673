"""Workloads of ``link show``, ``perf show``, ``cgroup tree`` and ``net show``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from bench.run import Workload
from tests.support import attachments, corpus, load, netdevs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Setup = Callable[[], AbstractContextManager[Sequence[str] | None]]

LINKS = 1000
PROCESSES, DESCRIPTORS = 200, 50
CGROUPS = 500


def linked(words: Sequence[str]) -> Setup:
    """A thousand links of one program to cgroups."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with contextlib.ExitStack() as stack:
            corpus.many_links(stack, LINKS)
            yield words

    return setup


def _hold(parent: int, events: Sequence[int]) -> None:
    """The life of a process: some descriptors, until the parent closes its end of the pipe."""
    os.dup2(parent, 3)
    kept = {0, 1, 2, 3, *events}
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)
    for _ in range(DESCRIPTORS - len(kept)):
        os.open("/dev/null", os.O_RDONLY)
    os.read(3, 1)
    os._exit(0)


@contextlib.contextmanager
def processes() -> Iterator[Sequence[str]]:
    """200 processes of 50 descriptors each, five of them raw tracepoints with a program."""
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(
            load.prog_load("raw_tracepoint", b"\xb7" + bytes(7) + b"\x95" + bytes(7))
        )
        names = ("sys_enter", "sys_exit", "sched_switch", "sched_wakeup", "sched_process_exit")
        events = [stack.enter_context(load.raw_tracepoint_open(program, name)).fd for name in names]
        reader, writer = os.pipe()
        children = []
        for _ in range(PROCESSES):
            child = os.fork()
            if not child:
                os.close(writer)
                _hold(reader, events)
            children.append(child)
        try:
            yield ["perf", "show"]
        finally:
            os.close(writer)
            os.close(reader)
            for child in children:
                os.waitpid(child, 0)


def tree(words: Sequence[str]) -> Setup:
    """500 cgroups on three levels, every tenth with two programs."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with contextlib.ExitStack() as stack:
            scene = attachments.Scene(stack)
            root = stack.enter_context(load.temp_cgroup())
            kinds = ("cgroup_inet_egress", "cgroup_inet_ingress")
            for number in range(CGROUPS - 1):
                path = f"{root}/{number % 5}/{number // 5 % 10}/{number}"
                os.makedirs(path)
                if number % 10:
                    continue
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                for kind in kinds:
                    load.prog_attach(fd, scene.prog("cgroup_skb", 1, attach=kind), kind, 2)
                os.close(fd)
            yield [word.format(root=root) for word in words]

    return setup


@contextlib.contextmanager
def devices() -> Iterator[Sequence[str]]:
    """Devices with XDP, tcx and tc programs, in a network namespace of its own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        netdevs.add_net(attachments.Scene(stack))
        yield ["net", "show"]


WORKLOADS = (
    Workload("link show, 1,000 links", (), 0.4, linked(["link", "show"])),
    Workload("link show, 1,000 links -j", (), 0.4, linked(["-j", "link", "show"])),
    Workload("perf show, 200 processes of 50 files", (), 1.0, processes),
    Workload("cgroup tree, 500 cgroups", (), 0.9, tree(["cgroup", "tree", "{root}"])),
    # The bar of this one is 200 ms; upstream takes some 5.
    Workload("net show, bar 200 ms", (), 40.0, devices),
)
