"""A loader that loads and unloads without a pause: programs, maps, BTF, links, pins, devices.

    python -m tests.support.churn FOLDER CGROUP

Pins are below FOLDER, of a bpf file system, and links in CGROUP. Prints "ready", and after SIGTERM
how many objects it made and in how many seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

from tests.support import asm, load
from tests.support.btfbuild import SIGNED, BtfBuilder

AT_ONCE = 8


@contextlib.contextmanager
def _cycle(folder: str, cgroup: int, types: bytes) -> Iterator[int]:
    """Some objects of each kind, that are gone after it; how many."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        btf = enter(load.btf_load(types))
        maps = [
            enter(load.map_create(kind, 4, 4, 4, name="churn", btf=btf, btf_key=1, btf_value=1))
            for kind in ("hash", "array") * (AT_ONCE // 2)
        ]
        progs = [
            enter(load.prog_load("cgroup_skb", asm.ret(1), name="churn")) for _ in range(AT_ONCE)
        ]
        links = [enter(load.link_create(prog, cgroup, "cgroup_inet_egress")) for prog in progs[:4]]
        for index, fd in enumerate((progs[0], maps[0], links[0])):
            load.obj_pin(fd, f"{folder}/{index}")
            stack.callback(os.unlink, f"{folder}/{index}")
        yield 1 + len(maps) + len(progs) + len(links)


def main(folder: str, cgroup: str) -> None:
    """Go on until SIGTERM."""
    is_over: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: is_over.append(1))
    builder = BtfBuilder()
    builder.add_int("int", 4, SIGNED)
    types = builder.build()
    place = os.open(cgroup, os.O_RDONLY)
    print("ready", flush=True)
    count, begin = 0, time.monotonic()
    while not is_over:
        with _cycle(folder, place, types) as made:
            count += made
    print(count, time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
