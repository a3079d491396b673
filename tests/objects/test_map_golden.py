"""`map dump` against the recorded answers of upstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import run
from tests.support.map_corpus import Maps, all_maps
from tests.tools.record_maps import FIXTURE, MODES, chosen, recorded

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def maps() -> Iterator[Maps]:
    """The corpus."""
    with all_maps() as made:
        yield made


def test_dumps_are_those_of_upstream(maps: Maps) -> None:
    succeeds = recorded()
    compared = 0
    for label, number in chosen(maps):
        for mode, form in MODES.items():
            answer = FIXTURE.joinpath("expected", f"{label}.{form}").read_bytes()
            result = run(*mode.split(), "map", "dump", "id", str(number))
            assert (result.status == 0, result.out) == (succeeds[label], answer), (label, mode)
            compared += 1
    assert compared >= 60


def test_every_dump_is_json_and_agrees_with_the_kernel(maps: Maps) -> None:
    """Keys of -j are those that were put in, for every type that has readable elements."""
    checked = 0
    for item in maps.made:
        result = run("-j", "map", "dump", "id", str(item.id))
        pretty = run("-jp", "map", "dump", "id", str(item.id))
        assert result.json == pretty.json
        keys = [bytes(int(byte, 16) for byte in row["key"]) for row in result.json]
        assert len(keys) == len(set(keys)), item.label
        if item.keys and not item.type.startswith("lru"):
            assert set(item.keys) <= set(keys), item.label
            checked += 1
        plain = run("map", "dump", "id", str(item.id))
        assert (plain.status == 0) == (result.status == 0)
        if result.status:
            assert plain.errors.startswith("Error: cannot list the keys of map")
            assert plain.text in ("Found 0 elements\n", "[]\n")
    assert checked >= 60


def test_show_one_and_show_all_agree(maps: Maps) -> None:
    wanted = {item.id for item in maps.made}
    listed = {row["id"]: row for row in run("-j", "map", "show").json if row["id"] in wanted}
    lines = run("map", "show").text
    for item in maps.made:
        one = run("-j", "map", "show", "id", str(item.id)).json
        assert listed[item.id] == one
        assert one["type"] == item.type
        assert one["bytes_key"] == item.key_size
        assert f"\n{item.id}: {item.type}  " in "\n" + lines


def test_a_snapshot_answers_the_same(maps: Maps, tmp_path: Path) -> None:
    path = str(tmp_path / "kernel.zip")
    assert run("snapshot", "save", path, "elements", "all").status == 0
    for item in maps.made[::20]:
        for mode, verb in (
            ("", "show"),
            ("-j", "show"),
            ("-f", "show"),
            ("", "dump"),
            ("-j", "dump"),
        ):
            words = [*mode.split(), "map", verb, "id", str(item.id)]
            replayed, now = run("--snapshot", path, *words), run(*words)
            assert (replayed.status, replayed.text) == (now.status, now.text), (item.label, words)
