"""``check``: whether what is loaded is as a policy wishes it."""

from __future__ import annotations

from pybpftool.cli.diff import EXIT_TROUBLE
from pybpftool.cli.durations import seconds
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
       pybpftool check --write [FILE]
       pybpftool check help

Judges programs, maps and links by the rules of FILE, bpf.toml if none is named; see
pybpftool-check(8) for the rules. Exit status: 0 all as wished, 1 findings, 2 something
could not be judged. With --write it proposes FILE, and bpf.lock beside it, from what is
loaded.

Options:
       --report FORMAT[=PATH]   text, github, junit, json, tap or sarif; to standard output
                           if no path is given; may be given several times
       --write             write a policy that what is loaded now fulfils, and the baseline
       --since SNAPSHOT    nothing may be left that was not there when it was saved
       --wait TIME         try again until all is as wished, for at most TIME (15s, 2m)
"""

DEFAULT = "bpf.toml"
_PAUSE = 0.25  # seconds between two tries


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
    since = options.get("since")
    if "write" in options:

        def work() -> None:
            _write(ctx, words[0] if words else DEFAULT, options)

    else:
        reports = _reports(ctx)
        wait = seconds(options["wait"]) if "wait" in options else 0.0

        def work() -> None:
            _check(ctx, words, since, wait, reports)

    if ctx.options.snapshot is None and since is None:
        work()
        return
    from pybpftool.cli.recorded import guarded

    guarded(work)


def _check(
    ctx: Context, words: list[str], since: str | None, wait: float, reports: list[tuple[str, str]]
) -> None:
    policy = _policy(words, since)
    report = _judged(ctx, policy, since, wait)
    for name, path in reports:
        if path:
            from pybpftool.output.files import write_file

            write_file(path, _rendered(name, report).encode("utf-8", "backslashreplace"))
    if ctx.json is not None:
        from pybpftool.inspect.reports import json

        ctx.json.value(json.document(report))
    else:
        ctx.out.set_errors("backslashreplace")
        for name in [name for name, path in reports if not path]:
            ctx.out.write(_rendered(name, report))
    if any(name == "github" for name, _ in reports):
        _append_summary(ctx, report)
    ctx.status = report.exit_status


def _rendered(name: str, report: Report) -> str:
    module = __import__(f"pybpftool.inspect.reports.{name}", fromlist=("render",))
    text: str = module.render(report)
    return text


def _reports(ctx: Context) -> list[tuple[str, str]]:
    """The formats asked for and their paths, an empty one for standard output."""
    import os

    from pybpftool.inspect.reports import FORMATS
    from pybpftool.inspect.wording import nearest

    reports: list[tuple[str, str]] = []
    for name, value in ctx.options.of_object:
        if name != "report":
            continue
        form, equals, path = value.partition("=")
        if form not in FORMATS:
            hint = nearest(form, FORMATS) or f"; there are {', '.join(FORMATS)}"
            raise UsageError(f"there is no report '{form}'{hint}")
        if equals and not path:
            raise UsageError(f"expected a path behind '{form}='")
        if path and path in [other for _, other in reports]:
            raise UsageError(f"two reports are to be written to '{path}'")
        reports.append((form, path))
    on_output = [form for form, path in reports if not path]
    if len(on_output) > 1:
        raise UsageError(f"only one report fits standard output, not {' and '.join(on_output)}")
    if on_output and ctx.json is not None and on_output != ["json"]:
        raise UsageError(f"-j prints JSON where the report '{on_output[0]}' should be")
    if not on_output and ctx.json is None:
        on_actions = os.environ.get("GITHUB_ACTIONS") == "true"
        reports.append(("github" if on_actions else "text", ""))
    return reports


def _append_summary(ctx: Context, report: Report) -> None:
    """Add to the summary of a step of GitHub Actions, where there is one."""
    import os

    from pybpftool.inspect.reports import github

    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    from pybpftool.output.files import append_file

    append_file(path, github.markdown(report).encode("utf-8", "backslashreplace"))


def _write(ctx: Context, path: str, options: dict[str, str]) -> None:
    """``check --write``: a policy, unless there is one, and the baseline of this kernel."""
    import os

    others = [name for name in options if name != "write"]
    if others:
        raise UsageError(f"'--write' and '--{others[0]}' exclude one another")
    from pybpftool.inspect import baseline
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.inspect.proposal import proposal
    from pybpftool.output.files import write_file

    inventory = Inventory(ctx.kernel)
    lock = baseline.lock_path(path)
    known = baseline.load(lock) if os.path.exists(lock) else baseline.Baseline(lock, [])
    written = []
    if not os.path.lexists(path):
        write_file(path, proposal(inventory).encode("utf-8"))
        written.append(path)
    section = baseline.section_of(ctx.kernel, inventory.items("prog").values())
    write_file(lock, known.with_section(section).text().encode("utf-8"))
    written.append(lock)
    if ctx.json is not None:
        ctx.json.value({"written": written})
    else:
        ctx.out.write("".join(f"wrote {path}\n" for path in written))
        if path not in written:
            ctx.out.write(f"kept {path}, which is there already\n")


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
    if wait:
        ctx.stay()
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
    path = baseline.lock_path(policy.path)
    return baseline.load(path) if os.path.exists(path) else None
