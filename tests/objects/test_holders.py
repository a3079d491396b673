"""The holders of an object as text."""

from __future__ import annotations

from pybpftool.objects.holders import pids_text


def test_nobody() -> None:
    assert pids_text([]) == ""
    assert pids_text(()) == ""


def test_lists_one_after_the_other() -> None:
    some, others = [(1, "init"), (20, "agent\udcff")], [(1, "init")]
    for holders, text in (
        (some, "\n\tpids init(1), agent\udcff(20)"),
        (some, "\n\tpids init(1), agent\udcff(20)"),
        (others, "\n\tpids init(1)"),
        (list(some), "\n\tpids init(1), agent\udcff(20)"),
        ([], ""),
        (some, "\n\tpids init(1), agent\udcff(20)"),
    ):
        assert pids_text(holders) == text
