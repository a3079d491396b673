#!/usr/bin/env python3
"""Run our tool beside upstream's over many command lines and compare what they print.

    python tests/tools/differential.py --upstream PATH [SUITE...] [-- OURS...]

Standard output is compared byte for byte, success or failure, and whether standard error is empty;
only the differences listed in `differences.py` are allowed for.  The corpus of `tests.support` is
loaded for the time of the run.  A command line that differs is tried again, because other
processes of the machine may have loaded or dropped objects between the two runs.

Ends with status 0 when everything is equal, 1 when something differs, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.support import asm, load  # noqa: E402
from tests.support.corpus import Corpus, load_corpus  # noqa: E402
from tests.tools import suites  # noqa: E402
from tests.tools.differences import DIFFERENCES  # noqa: E402

TIME_LIMIT = 300


@dataclass
class Answer:
    """What one tool did."""

    status: int
    out: bytes
    err: bytes
    file: bytes | None = None
    pid: int = 0

    def names_itself(self) -> bool:
        """Does the tool count itself among the holders of an object?"""
        own = rb"\tpids [^\n]*\(%d\)|\"pid\":\s*%d\b" % (self.pid, self.pid)
        return bool(self.pid and re.search(own, self.out))

    def outcome(self) -> tuple[bool, bool]:
        """(succeeded, wrote to standard error)."""
        return self.status == 0, bool(self.err)


@dataclass
class Comparison:
    """One command line in one mode, by both tools."""

    line: str
    ours: Answer
    upstream: Answer
    equal: bool
    tries: int


class Runner:
    """Runs pairs of commands and compares."""

    def __init__(
        self, ours: Sequence[str], upstream: str, scratch: str, retries: int, pids: bool
    ) -> None:
        self.tools = [list(ours), [upstream]]
        self.scratch = scratch
        self.retries = retries
        self.upstream_has_pids = pids

    def _start(self, side: int, words: Sequence[str], stdin: bytes) -> subprocess.Popen[bytes]:
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        return subprocess.Popen(
            [*self.tools[side], *(self._file(side) if w == suites.OUT else w for w in words)],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )

    def _file(self, side: int) -> str:
        return os.path.join(self.scratch, "out%d" % side)

    def _finish(
        self, side: int, process: subprocess.Popen[bytes], words: Sequence[str], stdin: bytes
    ) -> Answer:
        try:
            out, err = process.communicate(stdin or None, timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += b"\n(stopped after %d s)" % TIME_LIMIT
        answer = Answer(process.returncode, out, err, pid=process.pid)
        if suites.OUT in words:
            with contextlib.suppress(FileNotFoundError):
                answer.file = Path(self._file(side)).read_bytes()
                os.unlink(self._file(side))
        return answer

    def compare(self, case: suites.Case, mode: str) -> Comparison:
        """Run both, again when they differ, and compare."""
        words = [*mode.split(), *case.words]
        line = shlex.join(words)
        tries = 0
        while True:
            tries += 1
            if case.alone:
                answers = [
                    self._finish(side, self._start(side, words, case.stdin), words, case.stdin)
                    for side in (0, 1)
                ]
            else:
                pair = [self._start(side, words, case.stdin) for side in (0, 1)]
                answers = [
                    self._finish(side, process, words, case.stdin)
                    for side, process in enumerate(pair)
                ]
            ours, upstream = answers
            equal = self.equal(ours, upstream)
            if equal or tries > self.retries:
                return Comparison(line, ours, upstream, equal, tries)
            time.sleep(0.2)

    def normal(self, answer: Answer, side: str) -> bytes:
        """The answer's output without the wanted differences."""
        data = answer.out
        for difference in DIFFERENCES:
            if difference.side not in ("both", side):
                continue
            if difference.only_without_pids and self.upstream_has_pids:
                continue
            data = difference.apply(data)
        return data

    def equal(self, ours: Answer, upstream: Answer) -> bool:
        """Same outcome and output?  A tool that names itself is wrong, whatever upstream shows."""
        if ours.names_itself():
            return False
        if ours.status and upstream.status and not (upstream.out + upstream.err).strip():
            # SILENT_FAILURE in differences.py
            return bool(ours.out + ours.err)
        if ours.status and upstream.status and not upstream.err and ours.err:
            # The same, where upstream's output does not tell of the failure either.
            normal = self.normal(ours, "ours"), self.normal(upstream, "upstream")
            return ours.file == upstream.file and same_but_for_clock(*normal)
        printed_yet_failed = (
            upstream.status
            and not ours.status
            and upstream.out.strip()
            and not upstream.err
            and b'"error"' not in upstream.out
        )
        return (
            (ours.outcome() == upstream.outcome() or bool(printed_yet_failed))
            and ours.file == upstream.file
            and same_but_for_clock(self.normal(ours, "ours"), self.normal(upstream, "upstream"))
        )

    def explain(self, comparison: Comparison) -> Iterator[str]:
        """A unified diff from upstream's answer to ours, and the outcomes where they differ."""
        ours, upstream = comparison.ours, comparison.upstream
        if ours.outcome() != upstream.outcome():
            for name, answer in (("upstream", upstream), ("ours", ours)):
                err = answer.err.decode("utf-8", "replace").strip().splitlines()
                yield "  %s: status %d, stderr %r" % (name, answer.status, err[-1] if err else "")
        if ours.names_itself():
            yield "  our process %d names itself as a holder" % ours.pid
        pairs = [(self.normal(upstream, "upstream"), self.normal(ours, "ours"))]
        if ours.file != upstream.file:
            pairs.append((upstream.file or b"", ours.file or b""))
        for first, second in pairs:
            if first == second:
                continue
            old, new = (_readable(data) for data in (first, second))
            rows = list(
                difflib.unified_diff(
                    old.splitlines(), new.splitlines(), "upstream", "ours", lineterm="", n=2
                )
            )
            yield from ("  " + row[:400] for row in rows[:60])
            if not rows:
                yield "  (only the line ends differ: %r, %r)" % (first[-20:], second[-20:])


_LOADED_AT = re.compile(
    rb'(?P<key>loaded_at |"loaded_at":\s*)'
    rb"(?:(?P<text>\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d{4})|(?P<unix>\d+))"
)


def same_but_for_clock(ours: bytes, upstream: bytes) -> bool:
    """Equal, where load times may be one second apart.

    They are the kernel's uptime clock plus the difference of two clocks that each tool reads one
    after the other: close to a full second the results go either way.
    """
    if ours == upstream:
        return True
    if _LOADED_AT.sub(rb"\g<key>", ours) != _LOADED_AT.sub(rb"\g<key>", upstream):
        return False
    times = [[_seconds(found) for found in _LOADED_AT.finditer(data)] for data in (ours, upstream)]
    return all(abs(first - second) <= 1 for first, second in zip(*times))


def _seconds(found: re.Match[bytes]) -> int:
    if found["unix"]:
        return int(found["unix"])
    return int(datetime.strptime(found["text"].decode(), "%Y-%m-%dT%H:%M:%S%z").timestamp())


def _readable(data: bytes) -> str:
    """As text; JSON without line breaks gets one before every key."""
    text = data.decode("utf-8", "backslashreplace")
    return text.replace(',"', '\n,"') if text[:1] in "[{" and text.count("\n") < 2 else text


def upstream_shows_pids(upstream: str) -> bool:
    """Does upstream name the holder of a program that this process holds?"""
    with load.prog_load("socket_filter", asm.ret(0), name="held_by_us") as fd:
        words = [upstream, "-j", "prog", "show", "id", str(load.object_id(fd))]
        done = subprocess.run(words, capture_output=True, check=False)
        return b'"pids"' in done.stdout


def _own_group() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="differential.py",
        usage="differential.py --upstream PATH [OPTIONS] [SUITE...] [-- OURS...]",
        description="Compare our output with upstream's, byte for byte.",
        epilog="Suites: %s." % ", ".join(suites.names()),
    )
    parser.add_argument("--upstream", required=True, metavar="PATH", help="upstream's bpftool")
    parser.add_argument("--show", type=int, default=3, metavar="N", help="print N diffs (3)")
    parser.add_argument("--no-corpus", action="store_true", help="only what is loaded already")
    parser.add_argument("--no-links", action="store_true", help="attach nothing")
    parser.add_argument("--only", metavar="REGEX", help="command lines that match")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th command line")
    parser.add_argument("--mode", action="append", metavar="OPTIONS", help="only this output mode")
    parser.add_argument("--retries", type=int, default=2, help="further tries of what differs (2)")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long")
    parser.add_argument("--save", metavar="FILE", help="all diffs into a file")
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    words = list(sys.argv[1:] if argv is None else argv)
    ours = [sys.executable, "-m", "pybpftool"]
    if "--" in words:
        cut = words.index("--")
        ours = words[cut + 1 :] or ours
        words = words[:cut]
    args = parser.parse_args(words)
    chosen = args.suites or suites.names()
    unknown = [name for name in chosen if name not in suites.names()]
    if unknown:
        parser.error("no suite %s; there are %s" % (unknown[0], ", ".join(suites.names())))
    reason = load.why_no_bpf()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    if not os.access(args.upstream, os.X_OK):
        print("%s can't be executed" % args.upstream, file=sys.stderr)
        return 2
    _own_group()
    os.environ["PYTHONPATH"] = str(ROOT)
    modes = args.mode
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="differential-"))
        stack.enter_context(load.temp_netns())
        if args.no_corpus:
            corpus = Corpus()
        else:
            corpus = load_corpus(
                stack, links=not args.no_links, own_netns=True, beyond_upstream=False
            )
        live = suites.Live(corpus, scratch)
        pids = upstream_shows_pids(args.upstream)
        runner = Runner(ours, args.upstream, scratch, args.retries, pids)
        save = stack.enter_context(open(args.save, "w")) if args.save else None
        print(
            "corpus: %d programs of %d types, %d maps, %d links; upstream %s holders"
            % (
                len(corpus.progs),
                len(corpus.types()),
                len(corpus.maps),
                len(corpus.links),
                "names" if pids else "can't name",
            ),
            flush=True,
        )
        loaded = [suites.get(name) for name in chosen]
        for suite in loaded:
            suites.prepare(suite, stack, live)
        failed = False
        shown = 0
        end = time.monotonic() + args.seconds if args.seconds else float("inf")
        for name, suite in zip(chosen, loaded):
            equal = total = 0
            started = time.monotonic()
            number = 0
            for case in suite.commands(live):
                for mode in case.modes if modes is None else modes:
                    if args.only and not re.search(args.only, " ".join([mode, *case.words])):
                        continue
                    number += 1
                    if (number - 1) % args.every or time.monotonic() > end:
                        continue
                    found = runner.compare(case, mode)
                    total += 1
                    equal += found.equal
                    if found.equal:
                        continue
                    print("differs: %s" % found.line, flush=True)
                    text = "\n".join(runner.explain(found))
                    if shown < args.show:
                        print(text, flush=True)
                        shown += 1
                    if save:
                        save.write("%s\n%s\n" % (found.line, text))
                        save.flush()
            took = time.monotonic() - started
            print("%s: %d / %d equal, %.0f s" % (name, equal, total, took), flush=True)
            failed = failed or equal != total
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
