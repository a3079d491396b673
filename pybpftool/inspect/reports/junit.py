"""A report as JUnit XML: a test case a rule."""

from __future__ import annotations

from pybpftool.inspect.reports.text import finding_lines
from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.report import Outcome, Report

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;"}


def render(report: Report) -> str:
    """The document; the summary stands in ``system-out`` at its end."""
    counts = report.counts
    numbers = (
        f'tests="{counts["rules"]}" failures="{counts["failed"]}" errors="{counts["unknown"]}"'
        f' skipped="{counts["skipped"]}"'
    )
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {numbers}>"]
    lines.append(f'  <testsuite name="pybpftool check" {numbers}>')
    lines.append("    <properties>")
    for name, value in (("release", report.release), ("machine", report.machine)):
        lines.append(f'      <property name="{name}" value="{attribute(shown(value))}"/>')
    lines.append("    </properties>")
    for outcome in report.outcomes:
        lines += _case(report, outcome)
    lines.append(f"    <system-out>{content(report.summary())}</system-out>")
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _case(report: Report, outcome: Outcome) -> list[str]:
    name = attribute(shown(outcome.rule.id))
    place = f' file="{attribute(shown(report.policy))}"' if report.policy else ""
    if place and outcome.rule.line:
        place += f' line="{outcome.rule.line}"'
    head = f'    <testcase classname="bpf" name="{name}"{place}'
    inside = []
    texts = [line.strip() for finding in outcome.findings for line in finding_lines(finding)]
    reasons = [shown(reason) for reason in outcome.unknown]
    if outcome.status == "failed":
        message = attribute(outcome.findings[0].sentence())
        text = content("\n".join(texts + [f"cannot be judged: {reason}" for reason in reasons]))
        inside.append(f'      <failure message="{message}" type="finding">{text}</failure>')
    elif outcome.status == "unknown" or reasons:
        message = attribute(reasons[0])
        text = content("\n".join(reasons))
        inside.append(f'      <error message="{message}" type="unknown">{text}</error>')
    elif outcome.status == "skipped":
        inside.append(f'      <skipped message="{attribute(shown(outcome.skipped[0]))}"/>')
    rest = texts if outcome.status == "warned" else []
    rest += [shown(note) for note in outcome.notes]
    if rest:
        inside.append(f"      <system-out>{content(chr(10).join(rest))}</system-out>")
    return [head + ">", *inside, "    </testcase>"] if inside else [head + "/>"]


def attribute(text: str) -> str:
    """The value of an attribute."""
    return "".join([_ENTITIES.get(c, c) for c in _valid(text)])


def content(text: str) -> str:
    """Text between tags."""
    return "".join([_ENTITIES[c] if c in "&<>" else c for c in _valid(text)])


def _valid(text: str) -> str:
    """Text without the characters that XML cannot hold (XML 1.0, production 2)."""
    return "".join(
        [c if c in "\t\n" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff"
         else f"\\u{ord(c):04x}" for c in text]
    )  # fmt: skip
