"""A report as JSON; its ``$id`` is :data:`SCHEMA`."""

from __future__ import annotations

from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.report import Report

SCHEMA = "urn:pybpftool:schema:check:1"
"""The ``$id`` of the schema."""


def document(report: Report) -> dict[str, Any]:
    """The whole report as plain data; the summary comes last."""
    rules = []
    for outcome in report.outcomes:
        rule: dict[str, Any] = {
            "id": shown(outcome.rule.id),
            "level": outcome.rule.level,
            "status": outcome.status,
            "objects": outcome.objects,
        }
        if outcome.rule.line:
            rule["line"] = outcome.rule.line
        if outcome.rule.why:
            rule["why"] = shown(outcome.rule.why)
        rule["findings"] = [{**finding.json(), "rule": rule["id"]} for finding in outcome.findings]
        rule["unknown"] = list(map(shown, outcome.unknown))
        rule["skipped"] = list(map(shown, outcome.skipped))
        rule["notes"] = list(map(shown, outcome.notes))
        rules.append(rule)
    kernel: dict[str, Any] = {
        "release": shown(report.release),
        "machine": shown(report.machine),
    }
    if report.recorded_at is not None:
        kernel["recorded_at"] = report.recorded_at
    return {
        "$schema": SCHEMA,
        "policy": shown(report.policy),
        "kernel": kernel,
        "rules": rules,
        "summary": {**report.counts, "exit_status": report.exit_status},
    }


def render(report: Report) -> str:
    """The document as text."""
    from pybpftool.output.jsontext import pretty

    return pretty(document(report)) + "\n"
