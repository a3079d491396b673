"""A report as SARIF 2.1.0, the format of code scanning."""

from __future__ import annotations

from pybpftool import __version__
from pybpftool.inspect.wording import shown
from pybpftool.output.jsontext import pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.report import Finding, Outcome, Report

_LEVELS = {"error": "error", "warn": "warning", "note": "note"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(report: Report) -> str:
    """The log, with one run; the summary stands in the properties at its end."""
    rules = [_rule(outcome) for outcome in report.outcomes]
    results = [
        _result(report, index, outcome, finding)
        for index, outcome in enumerate(report.outcomes)
        for finding in outcome.findings
    ]
    unknown = [
        {"level": "error", "associatedRule": {"id": shown(outcome.rule.id), "index": index},
         "message": {"text": f"cannot be judged: {shown(reason)}"}}
        for index, outcome in enumerate(report.outcomes)
        for reason in outcome.unknown
    ]  # fmt: skip
    invocation: dict[str, Any] = {"executionSuccessful": not unknown}
    if unknown:
        invocation["toolExecutionNotifications"] = unknown
    driver = {"name": "pybpftool check", "version": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
        "properties": {"summary": report.summary(), **report.counts},
    }
    return pretty({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}) + "\n"


def _rule(outcome: Outcome) -> dict[str, Any]:
    rule = outcome.rule
    return {
        "id": shown(rule.id),
        "shortDescription": {"text": shown(rule.why) or f"BPF policy: {shown(rule.id)}"},
        "defaultConfiguration": {"level": _LEVELS[rule.level]},
    }


def _result(report: Report, index: int, outcome: Outcome, finding: Finding) -> dict[str, Any]:
    text = f"{finding.object}: " if finding.object else ""
    text += finding.sentence()
    if finding.command:
        text += f" ({finding.command})"
    location: dict[str, Any] = {}
    if report.policy:
        location["physicalLocation"] = _physical(report.policy, outcome.rule.line)
    if finding.object:
        location["logicalLocations"] = [
            {"fullyQualifiedName": finding.object, "kind": "object"},
        ]
    result: dict[str, Any] = {
        "ruleId": shown(outcome.rule.id),
        "ruleIndex": index,
        "level": _LEVELS[finding.level],
        "message": {"text": text},
    }
    if location:
        result["locations"] = [location]
    file, _, line = finding.source.rpartition(":")
    if file and line.isdigit():
        where = {"physicalLocation": _physical(file, int(line)), "id": 1}
        result["relatedLocations"] = [{**where, "message": {"text": "the program's source"}}]
    # The same finding keeps it from run to run, whatever the ids are.
    result["partialFingerprints"] = {"finding/v1": f"{finding.object}/{finding.what}"}
    return result


def _physical(path: str, line: int) -> dict[str, Any]:
    artifact: dict[str, Any] = {"uri": uri(path)}
    if not path.startswith("/"):
        artifact["uriBaseId"] = "%SRCROOT%"
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if line > 0:
        physical["region"] = {"startLine": line}
    return physical


def uri(path: str) -> str:
    """A path as a URI reference: relative to the root of the sources where it is relative."""
    from urllib.parse import quote

    while path.startswith("./"):
        path = path[2:]
    text = quote(path.encode("utf-8", "surrogateescape"), safe="/")
    return f"file://{text}" if path.startswith("/") else text
