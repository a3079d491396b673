"""Reports in six syntaxes: hostile names stay text, every report ends with its summary."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pybpftool
from pybpftool.inspect.policy import Rule
from pybpftool.inspect.report import Finding, Outcome, Report
from pybpftool.inspect.reports import FORMATS, github, junit, sarif, tap, text
from pybpftool.inspect.reports import json as json_report
from pybpftool.inspect.wording import shown
from tests.support.fakekernel import FakeKernel

SCHEMA = json.loads((Path(pybpftool.__file__).parent / "data" / "check-1.schema.json").read_text())
HOSTILE = "a%0A::error::x\r\n:,|`<b>&\"'#\\ \x1b[31m\x00\x07\udcff\u202e\u2028\ufffe@you www.x.org"


def report(word: str = HOSTILE) -> Report:
    """One rule of each outcome, with a word in every place that a name can reach."""
    outcomes = []
    for status in ("passed", "failed", "warned", "unknown", "skipped"):
        rule = Rule(f"{status} {word}", "prog", 7)
        rule.level = "warn" if status == "warned" else "error"
        rule.why = word
        outcome = Outcome(rule)
        if status in ("failed", "warned"):
            outcome.findings.append(
                Finding(
                    rule.id, rule.level, "owner", shown(word), shown(word), shown(word), 5,
                    shown(f"{word}.c") + ":12", "pybpftool prog show id 5", 7,
                )
            )  # fmt: skip
        outcome.unknown = [word] if status == "unknown" else []
        outcome.skipped = [word] if status == "skipped" else []
        outcome.notes = [word]
        outcomes.append(outcome)
    kernel = FakeKernel()
    kernel.release = word
    return Report(f"dir/{word}.toml", kernel, outcomes)


def render(name: str, subject: Report) -> str:
    module = __import__(f"pybpftool.inspect.reports.{name}", fromlist=("render",))
    rendered: str = module.render(subject)
    return rendered


@pytest.mark.parametrize("name", FORMATS)
def test_no_control_character_passes(name: str) -> None:
    rendered = render(name, report())
    for character in rendered.replace("\n", ""):
        assert character.isprintable(), (name, hex(ord(character)))
        assert character not in "\u202e\u2028"
    rendered.encode()


@pytest.mark.parametrize("name", FORMATS)
def test_the_summary_is_at_the_end(name: str) -> None:
    rendered = render(name, report("x"))
    sentence = "5 rules: 1 passed, 1 failed, 1 warned, 1 could not be judged, 1 skipped; Linux x"
    if name == "json":
        assert list(json.loads(rendered))[-1] == "summary"
    elif name == "sarif":
        assert json.loads(rendered)["runs"][0]["properties"]["summary"].startswith(sentence)
        assert rendered.index("summary") > rendered.rindex("ruleId")
    else:
        assert any(sentence in line for line in rendered.splitlines()[-3:])


def test_github_annotations() -> None:
    lines = github.render(report()).splitlines()
    command = re.compile(r"::(error|warning|notice) file=([^,:]*),line=7,title=([^,:]*)::(.*)")
    for line in lines[:-1]:
        found = command.fullmatch(line)
        assert found, line
        for part in found.groups():
            assert "\r" not in part
        # Every per cent sign begins an escape of ours.
        assert not re.search(r"%(?!25|0D|0A|3A|2C)", line), line
    kinds = [line.split()[0] for line in lines[:-1]]
    assert kinds.count("::error") == 2  # a finding, one that cannot be judged
    assert kinds.count("::warning") == 1
    assert lines[-1].startswith("5 rules: ")


def test_github_markdown() -> None:
    rows = github.markdown(report()).splitlines()
    table = [row for row in rows if row.startswith("|")]
    assert len(table) == 2 + 5
    for row in table:
        assert row.count("|") == 6
    for mark in "`<>*[]@":
        assert mark not in "".join(table)


def test_junit() -> None:
    root = ET.fromstring(junit.render(report()))
    assert root.attrib == {"tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
    cases = list(root.iter("testcase"))
    names = [case.attrib["name"] for case in cases]
    assert names[0] == "passed " + shown(HOSTILE).replace("\ufffe", "\\ufffe")
    assert [case.find("failure") is not None for case in cases] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert cases[3].find("error") is not None
    assert cases[4].find("skipped") is not None
    assert cases[1].attrib["line"] == "7"
    assert "pybpftool prog show id 5" in (cases[1].find("failure").text or "")  # type: ignore[union-attr]


def test_tap() -> None:
    lines = tap.render(report()).splitlines()
    assert lines[:2] == ["TAP version 14", "1..5"]
    tests = [line for line in lines if re.match(r"(not )?ok \d", line)]
    assert [line.split(" - ")[0] for line in tests] == [
        "ok 1", "not ok 2", "not ok 3", "not ok 4", "ok 5",
    ]  # fmt: skip
    directives = [re.findall(r"(?<!\\)# (\w+)", line) for line in tests]
    assert directives == [[], [], ["TODO"], [], ["SKIP"]]
    assert lines.count("  ---") == lines.count("  ...") == 5
    assert lines[-1].startswith("# 5 rules: ")


def validate(instance: Any, schema: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is missing")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(instance)


@pytest.mark.parametrize("word", ["x", HOSTILE, ""])
def test_json_fits_its_schema(word: str) -> None:
    document = json.loads(json_report.render(report(word or "r")).encode("utf-8", "replace"))
    assert document["$schema"] == SCHEMA["$id"] == json_report.SCHEMA
    validate(document, SCHEMA)


def test_sarif() -> None:
    log = json.loads(sarif.render(report()))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == 5
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
        assert re.fullmatch(r"dir/[A-Za-z0-9%._~-]*\.toml", place["artifactLocation"]["uri"])
        assert place["region"] == {"startLine": 7}
        source = result["relatedLocations"][0]["physicalLocation"]
        assert source["region"] == {"startLine": 12}
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 1


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a/b.toml", "a/b.toml"), ("./b.toml", "b.toml"), ("/etc/b c.toml", "file:///etc/b%20c.toml"),
        ("ä.toml", "%C3%A4.toml"), ("a:b", "a%3Ab"),
    ],
)  # fmt: skip
def test_sarif_uris(path: str, uri: str) -> None:
    assert sarif.uri(path) == uri


@given(st.text(min_size=1))
def test_any_word_in_every_syntax(word: str) -> None:
    subject = report(word)
    assert ET.fromstring(junit.render(subject)).tag == "testsuites"
    json.loads(sarif.render(subject))
    json.loads(json_report.render(subject))
    for line in github.render(subject).splitlines()[:-1]:
        assert line.startswith("::")
    assert len(github.markdown(subject).splitlines()) == 4 + 5 + 2
    assert len(tap.render(subject).splitlines()) == len(tap.render(report("x")).splitlines())
    assert len(text.render(subject).splitlines()) == len(text.render(report("x")).splitlines())
