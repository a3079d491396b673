"""The help of each command ends with two examples, which are made of words that there are."""

from __future__ import annotations

from importlib import import_module

import pytest

from pybpftool.cli.commands import OBJECTS
from pybpftool.cli.examples import EXAMPLES
from pybpftool.cli.options import scan
from tests.support.cli import run

# The words of bpftool, and those of ours that look at files.
OF_BPFTOOL = "prog map link cgroup perf net feature btf gen struct_ops iter token"
WORDS = [*OF_BPFTOOL.split(), "snapshot", "obj"]
VERBS = {
    word: [verb for verb, _ in import_module(f"pybpftool.cli.{word}").VERBS]
    for word in OBJECTS
    if word in WORDS
}


def test_each_command_has_two() -> None:
    needed = {f"{w} {v}" for w, verbs in VERBS.items() for v in verbs if v not in ("help", "list")}
    assert needed <= {*EXAMPLES}
    assert all(len({*lines}) == 2 for lines in EXAMPLES.values())


@pytest.mark.parametrize("command", EXAMPLES)
def test_they_are_of_this_command(command: str) -> None:
    word, verb = command.split()
    assert verb in VERBS[word]
    for line in EXAMPLES[command]:
        _, words, error = scan(line.partition(" > ")[0].split())
        assert error is None
        assert words[:2] == [word, verb]


@pytest.mark.parametrize("command", ["map update", "map upd", "prog list", "map getnext"])
def test_help_shows_them(command: str) -> None:
    word, verb = command.split()
    meant = {"upd": "update", "list": "show"}.get(verb, verb)
    for words in ((word, verb, "--help"), (word, "help", verb)):
        done = run(*words)
        assert done.status == 0
        for line in EXAMPLES[f"{word} {meant}"]:
            assert f"\n  pybpftool {line}\n" in done.text
    assert "Examples:" not in run(word, "--help").text
