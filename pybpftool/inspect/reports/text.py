"""A report for people."""

from __future__ import annotations

from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.report import Finding, Outcome, Report

_WORDS = {"passed": "ok", "failed": "FAILED", "warned": "warning", "unknown": "UNKNOWN",
          "skipped": "skipped"}  # fmt: skip


def render(report: Report) -> str:
    """One paragraph a rule that did not pass, one line for one that did; then the summary."""
    lines = []
    for outcome in report.outcomes:
        lines += _lines(outcome)
    return "\n".join([*lines, report.summary(), ""])


def _lines(outcome: Outcome) -> list[str]:
    rule = outcome.rule
    why = f"  ({shown(rule.why)})" if rule.why and outcome.status != "passed" else ""
    lines = [f"{_WORDS[outcome.status]:<8} {shown(rule.id)}{why}"]
    for finding in outcome.findings:
        lines += finding_lines(finding)
    lines += [f"    cannot be judged: {shown(reason)}" for reason in outcome.unknown]
    lines += [f"    skipped: {shown(reason)}" for reason in outcome.skipped]
    lines += [f"    note: {shown(note)}" for note in outcome.notes]
    return lines


def finding_lines(finding: Finding) -> list[str]:
    """What a finding says, one thing a line."""
    place = f"  [{finding.source}]" if finding.source else ""
    head = f"{finding.object}: " if finding.object else ""
    return [
        f"    {head}{finding.what}{place}",
        f"        expected  {finding.expected}",
        f"        found     {finding.found}",
        *([f"        see       {finding.command}"] if finding.command else []),
    ]
