"""The help of each command ends with two examples, which are made of words that there are."""

from __future__ import annotations

import shlex
from importlib import import_module

import pytest

from pybpftool.cli.examples import EXAMPLES
from pybpftool.cli.main import OBJECTS
from pybpftool.cli.options import scan
from tests.support.cli import run

# The words of bpftool, and those of ours that look at files.
OF_BPFTOOL = "prog map link cgroup perf net feature btf gen struct_ops iter token"
WORDS = [*OF_BPFTOOL.split(), "snapshot", "obj", "why", "cbpf", "metrics"]
ALONE = [word for word in OBJECTS if word not in WORDS and word != "help"]
VERBS = {
    word: [verb for verb, _ in import_module(f"pybpftool.cli.{word}").VERBS]
    for word in OBJECTS
    if word in WORDS
}


def test_each_command_has_two() -> None:
    needed = {f"{w} {v}" for w, verbs in VERBS.items() for v in verbs if v not in ("help", "list")}
    assert {*EXAMPLES} == needed | {*ALONE}
    assert all(len({*lines}) == 2 for lines in EXAMPLES.values())


@pytest.mark.parametrize("command", EXAMPLES)
def test_they_are_of_this_command(command: str) -> None:
    word, _, verb = command.partition(" ")
    assert not verb or verb in VERBS[word]
    for line in EXAMPLES[command]:
        _, words, error = scan(shlex.split(line.partition(" > ")[0]))
        assert error is None
        assert words[: 2 if verb else 1] == command.split()


@pytest.mark.parametrize("command", ["map update", "map upd", "prog list", "map getnext"])
def test_help_shows_them(command: str) -> None:
    word, verb = command.split()
    meant = {"upd": "update", "list": "show"}.get(verb, verb)
    for words in ((word, verb, "--help"), (word, "help", verb)):
        done = run(*words)
        assert done.status == 0
        for line in EXAMPLES[f"{word} {meant}"]:
            assert f"\n  pybpftool {line}\n" in done.text
    assert "Examples:" not in run(word, "--help").errors


@pytest.mark.parametrize("word", ALONE)
def test_help_of_a_word_shows_them(word: str) -> None:
    for words in ((word, "--help"), ("-h", word)):
        done = run(*words)
        assert (done.status, done.errors) == (0, "")
        assert done.text.startswith("Usage: pybpftool ")
        for line in EXAMPLES[word]:
            assert f"\n  pybpftool {line}\n" in done.text
