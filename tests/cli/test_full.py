"""``show --full``: more fields behind upstream's, with names in place of ids."""

from __future__ import annotations

import pytest

from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host

pytestmark = pytest.mark.usefixtures("utc")


def test_programs() -> None:
    rows = run("-j", "prog", "show", "--full", kernel=host()).json
    plain = run("-j", "prog", "show", kernel=host()).json
    for row, base in zip(rows, plain):
        assert {key: row[key] for key in base} == base
    assert {key: rows[1][key] for key in rows[1] if key not in plain[1]} == {
        "verified_insns": 40,
        "subprograms": 0,
        "attached": [{"hook": "tcx/ingress", "dev": "eth0", "link_id": 20}],
        "maps": ["flows"],
        "owner": ["unit:agent.service"],
    }
    one = run("-j", "prog", "show", "name", "counter", "--full", kernel=host()).json
    assert one == rows[1]
    text = run("prog", "show", "id", "2", "--full", kernel=host()).text
    assert text.startswith(run("prog", "show", "id", "2", kernel=host()).text)
    assert "\tverified_insns 40  subprograms 0\n\tattached tcx/ingress dev eth0\n" in text


def test_maps_and_links() -> None:
    rows = run("-j", "map", "show", "--full", "--elements", kernel=host()).json
    assert rows[0]["used_by"] == ["counter"]
    assert (rows[0]["map_extra"], rows[0]["elements"]) == (0, 1)
    assert "elements" not in run("-j", "map", "show", "--full", kernel=host()).json[0]
    assert "\tmap_extra 0  elements 1\n" in run("map", "show", "--full", "--elements",
                                                kernel=host()).text  # fmt: skip
    (link,) = run("-j", "link", "show", "--full", kernel=host()).json
    assert link["prog"] == "counter"
    assert link["attached"] == [{"hook": "tcx/ingress", "dev": "eth0", "link_id": 20}]
    assert run("-j", "link", "show", "id", "20", "--full", kernel=host()).json == link


def test_what_an_old_kernel_does_not_tell_is_left_out() -> None:
    kernel = host()
    kernel.all["prog"][2].info = kernel.all["prog"][2].info[:216]
    row = run("-j", "prog", "show", "id", "2", "--full", kernel=kernel).json
    assert "verified_insns" not in row
    assert row["name"] == "counter"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["prog", "dump", "xlated", "id", "2", "--full"], "belongs to 'show', not to 'dump'"),
        (["map", "show", "--elements"], "goes with '--full'"),
        (["btf", "show", "--full"], "belongs to 'prog'"),
        (["prog", "show", "id", "9", "--full"], "no prog with id 9"),
        (["link", "show", "id", "20", "x", "--full"], "unexpected argument 'x'"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    assert_one_sentence(run(*words, kernel=host()), sentence)
