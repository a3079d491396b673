"""A report in the Test Anything Protocol, version 14."""

from __future__ import annotations

from pybpftool.inspect.wording import shown
from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.inspect.report import Outcome, Report


def render(report: Report) -> str:
    """The plan, a line a rule with a block of what was found, and the summary."""
    lines = ["TAP version 14", f"1..{len(report.outcomes)}"]
    for number, outcome in enumerate(report.outcomes, 1):
        lines += _lines(number, outcome)
    return "\n".join([*lines, f"# {report.summary()}", ""])


def _lines(number: int, outcome: Outcome) -> list[str]:
    status = outcome.status
    is_good = status in ("passed", "skipped")
    line = f"{'ok' if is_good else 'not ok'} {number} - {described(shown(outcome.rule.id))}"
    if status == "skipped":
        line += f" # SKIP {described(shown(outcome.skipped[0]))}"
    elif status == "warned" and not outcome.unknown:
        line += f" # TODO {outcome.rule.level} only"
    block = []
    for finding in outcome.findings:
        block.append("  - finding:")
        fields = {**finding.json(), "rule": shown(finding.rule)}
        block += [f"      {key}: {_scalar(value)}" for key, value in fields.items()]
    block += [f"  - unknown: {_scalar(shown(reason))}" for reason in outcome.unknown]
    block += [f"  - skipped: {_scalar(shown(reason))}" for reason in outcome.skipped]
    block += [f"  - note: {_scalar(shown(note))}" for note in outcome.notes]
    return [line, "  ---", *block, "  ..."] if block else [line]


def _scalar(value: object) -> str:
    """A value in YAML, whose strings in quotes are those of JSON."""
    return quote(value) if isinstance(value, str) else str(value)


def described(text: str) -> str:
    """A description, in which ``#`` would begin a directive."""
    return text.replace("\\", "\\\\").replace("#", "\\#")
