"""Times whole runs of pybpftool beside upstream's bpftool and prints ratios.

    python -m bench.run [UPSTREAM] [--pairs N] [--only WORD]

UPSTREAM is the path of a bpftool binary; without it only our own times are shown.
Every workload makes the kernel objects that it needs and takes them away again.
A pair is one run of ours and one of upstream's, one after the other, so that a drift
of the machine's speed hits both; the first pair is not counted. Shown are the medians
and the median of the ratios, with the peak memory of the largest process.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import statistics
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MODULES = ("prog", "btf", "map", "links", "jit")
LEAST_PAIRS = 5


class Workload(NamedTuple):
    """One command line to time.

    ``setup`` is entered before the first run; what it returns is the command's words,
    unless ``words`` gives them. ``bar`` is the largest ratio that the project accepts.
    ``output`` is where standard output goes ("pipe", or a file path).
    """

    name: str
    words: Sequence[str]
    bar: float
    setup: Callable[[], AbstractContextManager[Sequence[str] | None]] = nullcontext
    output: str = "pipe"


class Run(NamedTuple):
    """Seconds of wall clock, MiB of peak memory, exit status."""

    seconds: float
    mib: float
    status: int


def run_once(command: Sequence[str], output: str) -> Run:
    """Run a command to its end, reading what it prints as fast as it comes."""
    if output == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = -1, os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    begin = time.perf_counter()
    pid = os.posix_spawnp(
        command[0],
        list(command),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    os.close(writer)
    if reader >= 0:
        while os.read(reader, 1 << 20):
            pass
        os.close(reader)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    return Run(seconds, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))


def our_command() -> str:
    """The installed console script beside this interpreter, or the one on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "pybpftool")
    found = beside if os.access(beside, os.X_OK) else shutil.which("pybpftool")
    if found is None:
        raise SystemExit("pybpftool is not installed: pip install . first")
    return found


def measure(workload: Workload, ours: str, upstream: str | None, pairs: int) -> None:
    """Time one workload and print its row."""
    try:
        with workload.setup() as words:
            arguments = list(words if words is not None else workload.words)
            mine: list[Run] = []
            theirs: list[Run] = []
            for _ in range(pairs + 1):
                mine.append(run_once([ours, *arguments], workload.output))
                if upstream is not None:
                    theirs.append(run_once([upstream, *arguments], workload.output))
    except OSError as error:
        print(f"{workload.name:44} not run: {error}")
        return
    del mine[0], theirs[:1]
    note = "" if mine[-1].status == 0 else f"  ours failed with status {mine[-1].status}"
    row = f"{workload.name:44} {statistics.median(r.seconds for r in mine) * 1e3:9.1f} ms"
    memory = f"{max(r.mib for r in mine):6.0f}"
    if theirs:
        ratios = [m.seconds / t.seconds for m, t in zip(mine, theirs, strict=True)]
        ratio = statistics.median(ratios)
        row += f" {statistics.median(r.seconds for r in theirs) * 1e3:9.1f} ms {ratio:7.2f}x"
        row += f" {workload.bar:5.2f}x {'ok  ' if ratio <= workload.bar else 'OVER'}"
        memory += f" /{max(r.mib for r in theirs):5.0f}"
        if mine[-1].status == 0 != theirs[-1].status:
            note = f"  upstream failed with status {theirs[-1].status}"
    print(f"{row} {memory} MiB{note}", flush=True)


def workloads(only: str) -> Iterator[Workload]:
    """The workloads of all modules whose names contain ``only``."""
    for name in MODULES:
        try:
            module = importlib.import_module(f"bench.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"bench.{name}":
                raise
            continue
        for workload in module.WORKLOADS:
            if only in workload.name:
                yield workload


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("upstream", nargs="?", help="path of upstream's bpftool")
    parser.add_argument("--pairs", type=int, default=LEAST_PAIRS)
    parser.add_argument("--only", default="", help="only workloads whose name contains this")
    options = parser.parse_args()
    upstream = options.upstream
    if upstream is not None and shutil.which(upstream) is None:
        print(f"there is no program {upstream}: showing our own times only")
        upstream = None
    print(f"{'workload':44} {'ours':>12} {'upstream':>12} {'ratio':>8} {'bar':>6}      peak memory")
    for workload in workloads(options.only):
        measure(workload, our_command(), upstream, max(options.pairs, LEAST_PAIRS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
