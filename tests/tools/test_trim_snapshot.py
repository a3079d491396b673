"""A trimmed snapshot gives the same answers, and keeps nothing else."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.support.cli import run
from tests.support.hosts import host
from tests.support.saved import save
from tests.tools import trim_snapshot

COMMANDS: list[trim_snapshot.Command] = [
    {"args": ["-j", "prog", "show"]},
    {"args": ["prog", "dump", "xlated", "id", "2"]},
    {"args": ["prog", "show", "id", "99"]},
]


def answers(path: str) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(json.loads(archive.read("answers.json"))["answers"])


@pytest.fixture
def whole(tmp_path: Path) -> str:
    return save(host(), tmp_path / "whole.zip")


def test_the_same_answers_from_less(whole: str, tmp_path: Path) -> None:
    target = str(tmp_path / "small.zip")
    before = trim_snapshot.replay(whole, COMMANDS)
    trim_snapshot.trim(whole, target, COMMANDS)
    assert trim_snapshot.replay(target, COMMANDS) == before
    assert [result.status for result in before] == [0, 0, 255]
    assert answers(target) < answers(whole)
    assert not any(question.startswith("map_value") for question in answers(target))
    assert run("--snapshot", target, "map", "dump", "id", "7").status == 255


def test_only_some_programs(whole: str, tmp_path: Path) -> None:
    target = str(tmp_path / "one.zip")
    trim_snapshot.trim(whole, target, COMMANDS[:2], {2})
    assert [prog["id"] for prog in run("-j", "--snapshot", target, "prog").json] == [2]
    assert not any("prog:1" in question for question in answers(target))


def test_what_would_change_an_answer_does_not_stay(
    whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lost.zip"
    monkeypatch.setattr(trim_snapshot._Watched, "get", dict.get)
    monkeypatch.setattr(trim_snapshot._Watched, "__getitem__", dict.__getitem__)
    monkeypatch.setattr(trim_snapshot._Watched, "__contains__", dict.__contains__)
    with pytest.raises(SystemExit, match="would change the answer to"):
        trim_snapshot.trim(whole, str(target), COMMANDS)
    assert not target.exists()


def test_the_command_line(whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, target = tmp_path / "commands.json", tmp_path / "small.zip"
    commands.write_text(json.dumps(COMMANDS))
    monkeypatch.setattr("sys.argv", ["trim_snapshot", whole, str(target), str(commands)])
    trim_snapshot.main()
    assert target.exists()
    monkeypatch.setattr("sys.argv", ["trim_snapshot", whole])
    with pytest.raises(SystemExit, match="Make a snapshot small enough"):
        trim_snapshot.main()
