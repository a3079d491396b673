"""``check``: whether what is loaded is as a policy wishes it."""

from __future__ import annotations

from pybpftool.cli.diff import EXIT_TROUBLE
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.inspect.baseline import Baseline
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.policy import Policy
    from pybpftool.inspect.report import Report

HELP = """\
Usage: pybpftool check [FILE] [OPTIONS]
       pybpftool check help

Judges programs, maps and links by the rules of FILE, bpf.toml if none is named; see
pybpftool-check(8) for the rules. Exit status: 0 all as wished, 1 findings, 2 something
could not be judged.

Options:
       --since SNAPSHOT    nothing may be left that was not there when it was saved
       --wait TIME         try again until all is as wished, for at most TIME (15s, 2m)
"""

DEFAULT = "bpf.toml"
_PAUSE = 0.25  # seconds between two tries
_LONGEST = 24 * 3600.0


def run(ctx: Context, args: Args) -> None:
    """Run ``check``."""
    if args.peek() == "help":
        ctx.show_help(HELP)
        return
    ctx.failure_status = EXIT_TROUBLE
    words = args.rest()
    if len(words) > 1:
        raise UsageError(f"unexpected argument '{words[1]}': 'check' takes one policy")
    options = dict(ctx.options.of_object)
    wait = _seconds(options["wait"]) if "wait" in options else 0.0
    from pybpftool.cli.recorded import guarded

    if ctx.options.snapshot is None and "since" not in options:
        _check(ctx, words, options.get("since"), wait)
    else:
        guarded(lambda: _check(ctx, words, options.get("since"), wait))


def _check(ctx: Context, words: list[str], since: str | None, wait: float) -> None:
    from pybpftool.inspect.reports import text

    policy = _policy(words, since)
    report = _judged(ctx, policy, since, wait)
    if ctx.json is not None:
        from pybpftool.inspect.reports import json

        ctx.json.value(json.document(report))
    else:
        ctx.out.write(text.render(report))
    ctx.status = report.exit_status


def _policy(words: list[str], since: str | None) -> Policy:
    """The policy; with ``--since`` alone, that nothing is left."""
    import os

    from pybpftool.inspect.policy import Policy, leak_rules, load

    if not words and since is not None and not os.path.exists(DEFAULT):
        return Policy("", leak_rules())
    policy = load(words[0] if words else DEFAULT)
    if since is not None and not any(rule.is_new for rule in policy.rules):
        policy.rules += leak_rules()
    return policy


def _judged(ctx: Context, policy: Policy, since: str | None, wait: float) -> Report:
    import time

    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.judge import Judge
    from pybpftool.kernel.snapshot import SnapshotKernel

    if wait and not ctx.kernel.is_live:
        raise UsageError("there is nothing to wait for: a recorded kernel does not change")
    before: Inventory | None = None
    if since is not None:
        before = Inventory(SnapshotKernel.load(since))
    baseline = _baseline(policy)
    end = time.monotonic() + wait
    while True:
        report = Judge(Inventory(ctx.kernel), before, baseline).report(policy)
        if not report.exit_status or time.monotonic() >= end:
            return report
        time.sleep(min(_PAUSE, max(end - time.monotonic(), 0)))


def _baseline(policy: Policy) -> Baseline | None:
    """The ``bpf.lock`` beside the policy, where a rule needs one and it is there."""
    import os

    from pybpftool.inspect import baseline

    if not any("grows" in rule.checks for rule in policy.rules):
        return None
    path = lock_path(policy.path)
    return baseline.load(path) if os.path.exists(path) else None


def lock_path(path: str) -> str:
    """Where the baseline of a policy is: ``bpf.lock`` for ``bpf.toml``."""
    return (path[: -len(".toml")] if path.endswith(".toml") else path) + ".lock"


def _seconds(word: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    digits = word.rstrip("msh")
    unit = units.get(word[len(digits) :] or "s")
    if unit is None or not (digits.isascii() and digits.replace(".", "", 1).isdigit()):
        raise UsageError(f"cannot read '{word}' as a time like 15s, 500ms or 2m")
    seconds = float(digits) * unit
    if seconds > _LONGEST:
        raise UsageError(f"'{word}' is longer than a day")
    return seconds
