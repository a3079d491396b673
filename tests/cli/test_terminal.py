"""Colours and width of the terminal that standard output is, or is not."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator

import pytest

from pybpftool.cli.context import Context
from pybpftool.cli.options import Options
from pybpftool.cli.terminal import is_colored, terminal_width
from pybpftool.errors import UsageError
from pybpftool.output.stream import Output


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A context whose output is a terminal."""
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    here, there = pty.openpty()
    yield Context(Options(), Output(there))
    os.close(here)
    os.close(there)


def test_colours(on_terminal: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_colored(on_terminal, "auto")
    assert not is_colored(on_terminal, "never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_colored(on_terminal, "auto")
    assert is_colored(on_terminal, "always")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_colored(on_terminal, "auto")
    with pytest.raises(UsageError, match="did you mean 'never'"):
        is_colored(on_terminal, "nevr")


def test_width(on_terminal: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal_width(on_terminal) == 77


def test_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    monkeypatch.setenv("TERM", "xterm")
    reading, writing = os.pipe()
    ctx = Context(Options(), Output(writing))
    assert terminal_width(ctx) == 0
    assert not is_colored(ctx, "auto")
    assert is_colored(ctx, "always")
    os.close(reading)
    os.close(writing)
