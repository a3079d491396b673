"""Record a kernel for the golden tests: a snapshot, and upstream's answers at the same moment.

    python -m tests.tools.record 6.18 --upstream PATH/TO/bpftool
    python -m tests.tools.record debian-6.12 --upstream PATH/TO/bpftool --kernel 6.12
    python -m tests.tools.record --demo

Needs root.  The corpus of tests/support is loaded for the time.  With --kernel the recording is
made under that kernel in a virtual machine (tests/tools/vm.py).  Result, below fixtures/kernels:
NAME/snapshot.zip and the cases as tests/support/golden.py describes them, or demo.zip.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.support import golden, load
from tests.support.corpus import Corpus, load_corpus
from tests.tools.trim_snapshot import trim

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "fixtures" / "kernels"
# A zone with daylight saving time, spelt out so that no time zone database is needed.
TZ = "CET-1CEST,M3.5.0,M10.5.0/3"
ATTEMPTS = 30
# So many commands, the first, list everything that is loaded; the rest are about the corpus only.
LISTINGS = 6

Command = dict[str, Any]

JSON_FORMS: list[list[str]] = [[], ["-j"], ["-jp"]]
DUMP_FORMS: list[list[str]] = [[], ["opcodes"], ["linum"], ["opcodes", "linum"]]


def _in_all_forms(*words: str) -> list[Command]:
    return [{"args": [*form, *words]} for form in JSON_FORMS]


def _one(corpus: Corpus, label: str) -> int | None:
    try:
        return corpus.prog(label).id
    except KeyError:
        return None


def commands(corpus: Corpus, every: int = 1) -> list[Command]:
    """The command lines of a recording: every listing form, every dump form of every program.

    `every`: dump only each n-th program; upstream reads all kernel symbols anew for each.
    """
    found: list[Command] = []
    found += _in_all_forms("prog", "show")
    found += _in_all_forms("-f", "prog", "list")
    for label in ("xdp", "lines", "calls", "bound_near", "bound_far", "nameless", "kprobe"):
        id = _one(corpus, label)
        if id is not None:
            found += _in_all_forms("prog", "show", "id", str(id))
            found.append({"args": ["-f", "p", "s", "i", hex(id)]})
    for prog in corpus.progs:
        # The order of several pins of one program depends on all others' pins.
        for pin in prog.pins if len(prog.pins) == 1 else ():
            found += _in_all_forms("-f", "prog", "show", "pinned", pin)
            found.append({"args": ["prog", "dump", "xlated", "pinned", pin, "linum"]})
    twin = corpus.prog("twin0")
    tag = load.prog_tag(twin.fd)
    for reference in (["name", twin.name], ["tag", tag], ["na", "pt_same_tag"], ["t", tag.upper()]):
        found += _in_all_forms("prog", "show", *reference)
    for form in DUMP_FORMS:
        found += _in_all_forms("prog", "dump", "xlated", "name", twin.name, *form)
        found += _in_all_forms("prog", "dump", "xlated", "id", str(corpus.prog("lines").id), *form)
    for wrong in (
        ["show", "id", "4294967295"],
        ["show", "id", "x"],
        ["show", "id"],
        ["show", "tag", "0123456789abcdef"],
        ["show", "tag", "0123"],
        ["show", "name", "pt_nobody"],
        ["show", "pinned", "/sys/fs/bpf/pt_nothing"],
        ["show", "number", "1"],
        ["show", "id", str(twin.id), "more"],
        ["dump"],
        ["dump", "xlated"],
        ["dump", "xlated", "id", str(twin.id), "upside"],
        ["dump", "xlated", "name", twin.name, "file", "/dev/null"],
        ["nonsense"],
    ):
        found += _in_all_forms("prog", *wrong)
    # All programs in one run of upstream for each form.
    for form in DUMP_FORMS:
        text = "".join(f"prog dump xlated id {prog.id} {' '.join(form)}\n" for prog in corpus.progs)
        for output in JSON_FORMS if len(form) != 1 else JSON_FORMS[:2]:
            found.append({"args": [*output, "batch", "file", "-"], "stdin": text})
    found.append({"args": ["batch", "file", "-"], "stdin": "# nothing\n\n"})
    failing = f"prog show id {twin.id} # one\nprog \\\n show id 'x'\nprog show id {twin.id}\n"
    for output in JSON_FORMS:
        found.append({"args": [*output, "batch", "file", "-"], "stdin": failing})
    return found


def _answers(upstream: str, wanted: Iterable[Command]) -> list[golden.Case]:
    answers: list[golden.Case] = []
    for command in wanted:
        done = subprocess.run(
            [upstream, *command["args"]],
            input=command.get("stdin", "").encode(),
            capture_output=True,
            env={**os.environ, "TZ": TZ},
            check=False,
        )
        stdin = command.get("stdin", "").encode()
        answers.append(golden.Case(command["args"], not done.returncode, done.stdout, stdin))
    return answers


def _save_snapshot(path: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pybpftool", "snapshot", "save", path], check=True, cwd=ROOT
    )


def record(upstream: str, name: str, output: Path, every: int) -> None:
    """Record the running kernel with the corpus into `output`/NAME."""
    target = output / name
    target.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(load.temp_netns())
        corpus = load_corpus(stack, own_netns=True)
        wanted = commands(corpus, every)
        for attempt in range(ATTEMPTS):
            before = load.all_ids("prog"), load.all_ids("map")
            _save_snapshot(scratch + "/all.zip")
            answers = _answers(upstream, wanted[:LISTINGS])
            if (load.all_ids("prog"), load.all_ids("map")) == before:
                break
            # Somebody else loaded or unloaded something: the two don't belong together.
            print(f"attempt {attempt}: the kernel's objects changed meanwhile", file=sys.stderr)
            time.sleep(1)
        else:
            raise SystemExit("the kernel's objects never stood still")
        answers += _answers(upstream, wanted[LISTINGS:])
        trim(scratch + "/all.zip", str(target / "snapshot.zip"), wanted)
        version = subprocess.run([upstream, "version"], capture_output=True, text=True, check=True)
        golden.write(
            target,
            {
                "kernel": os.uname().release,
                "upstream": version.stdout.partition("\n")[0],
                "command": f"python -m tests.tools.record {target.name} --upstream PATH",
                "tz": TZ,
                # Upstream needs CONFIG_KALLSYMS_ALL to find the holders of objects.
                "pids": "yes" if b"pids " in answers[0].stdout else "no",
                "programs": str(len(corpus.progs)),
                "types": " ".join(sorted(corpus.types())),
            },
            answers,
        )
    for file in sorted(target.iterdir()):
        print(f"{file}: {file.stat().st_size} bytes")
    print(f"{len(answers)} commands, {len(corpus.progs)} programs")


# What the demonstration shows: labels of corpus programs.
DEMO = (
    "xdp",
    "calls",
    "lines",
    "prototypes",
    "global_sub",
    "cb_loop",
    "twin0",
    "twin1",
    "ref_hash",
    "meta_strings",
    "helpers",
    "raw_tp",
)


def record_demo(output: Path) -> None:
    """Record a few programs of the corpus into `output`/demo.zip."""
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        corpus = load_corpus(stack)
        progs = [prog for prog in corpus.progs if prog.label in DEMO]
        keep = {prog.id for prog in progs}
        whole = scratch + "/all.zip"
        _save_snapshot(whole)
        wanted = [*_in_all_forms("prog", "show"), *_in_all_forms("-f", "prog", "show")]
        for prog in progs:
            for form in DUMP_FORMS:
                wanted += _in_all_forms("prog", "dump", "xlated", "id", str(prog.id), *form)
        trim(whole, str(output / "demo.zip"), wanted, only_programs=keep)
    print(f"demo.zip: {(output / 'demo.zip').stat().st_size} bytes, {len(progs)} programs")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.record", description=__doc__)
    parser.add_argument("--upstream", help="the bpftool whose answers are recorded")
    parser.add_argument("name", nargs="?", help="directory of the recording")
    parser.add_argument("--kernel", help="record under this kernel series, in a virtual machine")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="dump each N-th program")
    parser.add_argument("--demo", action="store_true", help="make demo.zip")
    parser.add_argument("--output", type=Path, default=KERNELS)
    args = parser.parse_args(argv)
    # What was loaded and pinned goes in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    output = args.output.resolve()
    if args.demo:
        record_demo(output)
    elif args.name is None or args.upstream is None:
        parser.error("--demo, or a directory and --upstream, are needed")
    elif args.kernel is None:
        record(os.path.realpath(args.upstream), args.name, output, args.every)
    else:
        output.mkdir(parents=True, exist_ok=True)
        machine = [sys.executable, "tests/tools/vm.py", "--kernel", args.kernel]
        inside = ["-m", "tests.tools.record", "--upstream", os.path.realpath(args.upstream)]
        inside += [args.name, "--output", str(output), "--every", str(args.every)]
        place = ["--cwd", str(ROOT), "--share", str(output), "--timeout", "3000"]
        done = subprocess.run(
            [*machine, *place, "--", sys.executable, *inside], check=False, cwd=ROOT
        )
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
