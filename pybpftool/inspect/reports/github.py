"""A report for GitHub Actions: annotations on the output, Markdown for the step's summary.

Both syntaxes are of GitHub's "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.report import Finding, Outcome, Report

_COMMANDS = {"error": "error", "warn": "warning", "note": "notice"}
# What means something in Markdown or HTML.
_MARKDOWN = frozenset("\\`*_{}[]()<>#+!|~&@:$\"'")


def render(report: Report) -> str:
    """The annotations: workflow commands, one a line; at last the summary."""
    lines = []
    for outcome in report.outcomes:
        for finding in outcome.findings:
            lines.append(_annotation(report, outcome, finding))
        for reason in outcome.unknown:
            text = f"cannot be judged: {shown(reason)}"
            lines.append(_command("error", report, outcome, text))
        for note in (*outcome.skipped, *outcome.notes):
            lines.append(_command("notice", report, outcome, shown(note)))
    return "\n".join([*lines, data(report.summary()), ""])


def _annotation(report: Report, outcome: Outcome, finding: Finding) -> str:
    text = f"{finding.object}: " if finding.object else ""
    text += finding.sentence()
    if finding.source:
        text += f" [{finding.source}]"
    if finding.command:
        text += f"\n{finding.command}"
    return _command(_COMMANDS[finding.level], report, outcome, text)


def _command(name: str, report: Report, outcome: Outcome, text: str) -> str:
    properties = []
    if report.policy and outcome.rule.line:
        properties = [f"file={value(shown(report.policy))}", f"line={outcome.rule.line}"]
    properties.append(f"title={value(shown(outcome.rule.id))}")
    return f"::{name} {','.join(properties)}::{data(text)}"


def data(text: str) -> str:
    """The message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def value(text: str) -> str:
    """A property of a workflow command."""
    return data(text).replace(":", "%3A").replace(",", "%2C")


def markdown(report: Report) -> str:
    """The summary of the step."""
    lines = ["### BPF policy", "", "| outcome | rule | object | expected | found |",
             "|---|---|---|---|---|"]  # fmt: skip
    for outcome in report.outcomes:
        mark, rule = outcome.status, escaped(shown(outcome.rule.id))
        rows = [
            (finding.object, f"{finding.what}: {finding.expected}", finding.found)
            for finding in outcome.findings
        ]
        rows += [("", "", f"cannot be judged: {shown(reason)}") for reason in outcome.unknown]
        rows += [("", "", f"skipped: {shown(reason)}") for reason in outcome.skipped]
        for row in rows or [("", "", "")]:
            lines.append(f"| {mark} | {rule} | {' | '.join(escaped(cell) for cell in row)} |")
    return "\n".join([*lines, "", escaped(report.summary()), ""])


def escaped(text: str) -> str:
    """Text for a cell of a table in Markdown, in which nothing has a meaning."""
    text = "".join([f"&#{ord(c)};" if c in _MARKDOWN else c for c in text])
    return text.replace("www.", "www&#46;")
