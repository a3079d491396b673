"""Times whole runs of pybpftool beside upstream's bpftool and another state of our own.

    python -m bench.run [UPSTREAM] [--against COMMAND] [--pairs N] [--only WORD]...
                         [--cpu] [--scale]

UPSTREAM is the path of a bpftool binary. COMMAND is another pybpftool: a program, or the
directory of a checkout, which the same Python then runs: before and after in one run.
For times as users have them, let --python be that of an environment without development
tools: coverage alone adds 9 ms to the start of every Python of its environment.
Every workload makes the kernel objects that it needs and takes them away again.
One round is one run of each, one after the other and the next time in reverse, so that
a drift of the machine's speed hits all; the first round is not counted. Shown are medians
of times and of ratios, with the peak memory of the largest process. A workload is called
slower than before only when both the median of the ratios and the ratio of the best
times say so: other work on the machine seldom hits both.

With --cpu processor time (user and system, of all processes of a run) takes the place of the
clock's: on a machine with other work it is the steadier of the two.
With --scale: what one object costs at growing numbers of them, which has to stay flat.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.states import State
from bench.workloads import SCALES, WORKLOADS, Workload

ROOT = Path(__file__).resolve().parents[1]
LEAST_ROUNDS, ROUNDS = 5, 9
SLOWER = 1.03
GROWTH = 1.25
OURS, BEFORE, THEIRS = "ours", "before", "upstream"
Commands = Mapping[str, Sequence[str]]


class Run(NamedTuple):
    """Seconds of wall clock (or of processor time), MiB of peak memory, exit status."""

    seconds: float
    mib: float
    status: int


class How(NamedTuple):
    """How often a workload runs, and whether its processor time counts."""

    rounds: int
    is_cpu: bool


def run_once(command: Sequence[str], output: str, is_cpu: bool = False) -> Run:
    """Run a command to its end, reading what it prints as fast as it comes."""
    reader = -1
    if output == "pipe":
        reader, writer = os.pipe()
    elif output == "null":
        writer = os.open(os.devnull, os.O_WRONLY)
    else:
        # A file without a name: gone when the last descriptor is.
        writer, path = tempfile.mkstemp(prefix="pybt-bench-")
        os.unlink(path)
    # A child starts with its parent's peak: make that what the parent has now.
    Path("/proc/self/clear_refs").write_text("5")
    begin = time.perf_counter()
    pid = os.posix_spawnp(
        command[0],
        list(command),
        {name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
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
    if is_cpu:
        seconds = usage.ru_utime + usage.ru_stime
    return Run(seconds, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))


def checkout_command(root: Path, python: str) -> list[str]:
    """The installed command, from a checkout: a shell that starts Python as our script does."""
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    code = (
        f"import sys; sys.path[:0] = [{str(root)!r}]; sys.path.append({packages!r})\n"
        "from pybpftool.cli.main import run; run()"
    )
    return ["/bin/sh", "-c", 'exec "$@"', "sh", python, "-I", "-S", "-X", "utf8", "-c", code]


def our_command(given: str, python: str) -> list[str]:
    """The words that start one of ours: a checkout's directory, or a program."""
    if os.path.isdir(given):
        return checkout_command(Path(given).resolve(), python)
    return [_program(given)]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"there is no program {name}")
    return found


def measure(
    workload: Workload, commands: Commands, words: Mapping[str, str], how: How
) -> dict[str, list[Run]]:
    """The runs of each command, the first round left out."""
    found: dict[str, list[Run]] = {}
    lines: list[tuple[str, list[str]]] = []
    for who, command in commands.items():
        line = workload.words
        if who == THEIRS and workload.theirs != "same":
            if workload.theirs is None:
                continue
            line = workload.theirs
        arguments = [word.format_map(words) for word in line.split()]
        lines.append((who, [*command, *arguments]))
    for number in range(how.rounds + 1):
        for who, arguments in lines if number % 2 else reversed(lines):
            run = run_once(arguments, workload.output, how.is_cpu)
            if number:
                found.setdefault(who, []).append(run)
    return found


def ratio(first: Sequence[Run], second: Sequence[Run]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(first, second))


def _median(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


class Report:
    """Rows as they come, and what they amount to at the end."""

    def __init__(self, commands: Commands) -> None:
        self.others = [who for who in (BEFORE, THEIRS) if who in commands]
        self.logs: dict[str, list[float]] = {who: [] for who in self.others}
        self.slower: list[str] = []
        head = f"{'workload':44} {OURS:>10}"
        for who in self.others:
            head += f" {who:>10} {'ratio':>7}"
            head += f" {'best':>7}       " if who == BEFORE else f" {'bar':>5}     "
        print(f"{head} peak MiB", flush=True)

    def row(self, workload: Workload, runs: Mapping[str, Sequence[Run]]) -> None:
        """Print one workload."""
        ours = runs[OURS]
        text = f"{workload.name:44} {_median(ours) * 1e3:7.1f} ms"
        memory = [f"{max(run.mib for run in ours):.0f}"]
        notes = [
            f"{who} failed ({some[-1].status})" for who, some in runs.items() if some[-1].status
        ]
        for who in self.others:
            if who not in runs:
                text += " " * 31
                continue
            relation = ratio(ours, runs[who])
            text += f" {_median(runs[who]) * 1e3:7.1f} ms {relation:6.2f}x"
            memory.append(f"{max(run.mib for run in runs[who]):.0f}")
            if not notes:
                self.logs[who].append(math.log(relation))
            if who == BEFORE:
                best = min(r.seconds for r in ours) / min(r.seconds for r in runs[who])
                is_slower = min(relation, best) > SLOWER
                text += f" {best:6.2f}x {'SLOWER' if is_slower else '      '}"
                if is_slower:
                    self.slower.append(workload.name)
            else:
                text += f" {workload.bar:5.2f} {'ok  ' if relation <= workload.bar else 'OVER'}"
        print(f"{text} {' / '.join(memory)}{'  ' if notes else ''}{', '.join(notes)}", flush=True)

    def close(self) -> None:
        """Print the geometric means, and what became slower."""
        for who, logs in self.logs.items():
            if logs:
                mean = math.exp(statistics.fmean(logs))
                print(f"geometric mean of {len(logs)} ratios to {who}: {mean:.3f}")
        if self.slower:
            print("slower than before by more than 3 %: " + "; ".join(self.slower))


def run_workloads(commands: Commands, only: Sequence[str], how: How) -> int:
    """Time the workloads whose names contain a word of `only`; 1 when one became slower."""
    wanted = [w for w in WORKLOADS if not only or any(word in w.name for word in only)]
    report = Report(commands)
    for state, group in itertools.groupby(wanted, key=lambda workload: workload.state):
        with entered(state, group) as (words, workloads):
            for workload in workloads:
                report.row(workload, measure(workload, commands, words, how))
    report.close()
    return int(bool(report.slower))


@contextlib.contextmanager
def entered(
    state: State, group: Iterable[Workload]
) -> Iterator[tuple[Mapping[str, str], list[Workload]]]:
    """The state's words and the workloads; none where the kernel does not allow the state."""
    workloads = list(group)
    with contextlib.ExitStack() as stack:
        try:
            words = stack.enter_context(state())
        except OSError as error:
            for workload in workloads:
                print(f"{workload.name:44} not run: {error}", flush=True)
            yield {}, []
            return
        yield words, workloads


def run_scales(commands: Commands, only: Sequence[str], how: How) -> int:
    """Print what one more object costs, from each number of objects to the next.

    The first figure has the start of the command in it. 1 when an object of ours costs
    more among many than among fewer.
    """
    grown = []
    for name, states, line, counts in SCALES:
        if only and not any(word in name for word in only):
            continue
        found: dict[str, list[tuple[int, list[Run]]]] = {who: [] for who in commands}
        for count in counts:
            theirs = None if "snapshot" in line else "same"
            workload = Workload(name, states(count), line, 0, "null", theirs)
            with entered(workload.state, [workload]) as (words, allowed):
                for one in allowed:
                    for who, runs in measure(one, commands, words, how).items():
                        found[who].append((count, runs))
        for who, measured in found.items():
            if not measured:
                continue
            costs = object_costs([(count, _median(runs)) for count, runs in measured])
            row = [
                f"{count:,}: {cost * 1e6:.1f} us, {max(run.mib for run in runs):.0f} MiB"
                for (count, runs), cost in zip(measured, costs)
            ]
            if has_grown([_median(runs) / count for count, runs in measured]):
                row.append("GROWS")
                if who == OURS:
                    grown.append(name)
            print(f"{name:28} {who:9} {'   '.join(row)}", flush=True)
    if grown:
        print("an object costs more among many: " + "; ".join(grown))
    return int(bool(grown))


def has_grown(averages: Sequence[float]) -> bool:
    """Whether an object among many takes longer than among fewer, the start shared by all."""
    return any(later > GROWTH * sooner for sooner, later in zip(averages, averages[1:]))


def object_costs(measured: Sequence[tuple[int, float]]) -> list[float]:
    """Seconds that one more object takes, from each count to the next; the first from none."""
    costs = []
    before, passed = 0, 0.0
    for count, seconds in measured:
        costs.append(max(0.0, seconds - passed) / (count - before))
        before, passed = count, seconds
    return costs


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("upstream", nargs="?", help="path of upstream's bpftool")
    parser.add_argument(
        "--ours", default=str(ROOT), help="what is measured (default: this checkout)"
    )
    parser.add_argument("--against", help="another pybpftool: a program or a checkout's directory")
    parser.add_argument(
        "--python", default=sys.executable, help="the Python that runs checkouts (default: this)"
    )
    parser.add_argument("--pairs", type=int, default=ROUNDS, help="rounds (default %(default)s)")
    parser.add_argument("--only", action="append", default=[], help="workloads whose name has this")
    parser.add_argument("--cpu", action="store_true", help="processor time, not the clock's")
    parser.add_argument(
        "--scale", action="store_true", help="the cost of an object by their number"
    )
    options = parser.parse_args(argv)
    commands: dict[str, Sequence[str]] = {OURS: our_command(options.ours, options.python)}
    if options.against is not None:
        commands[BEFORE] = our_command(options.against, options.python)
    if options.upstream is not None:
        commands[THEIRS] = [_program(options.upstream)]
    how = How(max(options.pairs, LEAST_ROUNDS), options.cpu)
    return (run_scales if options.scale else run_workloads)(commands, options.only, how)


if __name__ == "__main__":
    sys.exit(main())
