"""A report as JSON; its ``$id`` is :data:`SCHEMA`."""

from __future__ import annotations

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
            "id": outcome.rule.id,
            "level": outcome.rule.level,
            "status": outcome.status,
            "objects": outcome.objects,
        }
        if outcome.rule.line:
            rule["line"] = outcome.rule.line
        if outcome.rule.why:
            rule["why"] = outcome.rule.why
        rule["findings"] = [finding.json() for finding in outcome.findings]
        rule["unknown"] = outcome.unknown
        rule["skipped"] = outcome.skipped
        rule["notes"] = outcome.notes
        rules.append(rule)
    kernel: dict[str, Any] = {"release": report.release, "machine": report.machine}
    if report.recorded_at is not None:
        kernel["recorded_at"] = report.recorded_at
    return {
        "$schema": SCHEMA,
        "policy": report.policy,
        "kernel": kernel,
        "rules": rules,
        "summary": {**report.counts, "exit_status": report.exit_status},
    }


def render(report: Report) -> str:
    """The document as text."""
    from pybpftool.output.jsontext import pretty

    return pretty(document(report)) + "\n"
