"""``show --full``: more fields behind upstream's, with names in place of ids."""

from __future__ import annotations

import json
from errno import EINVAL
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import pybpftool
from pybpftool.errors import KernelError
from pybpftool.kernel.interface import BpfObject
from tests.support.cli import assert_one_sentence, run
from tests.support.golden import FIXTURES
from tests.support.hosts import Host, host
from tests.support.saved import save

SCHEMA = json.loads((Path(pybpftool.__file__).parent / "data" / "show-1.schema.json").read_text())

pytestmark = pytest.mark.usefixtures("utc")


def test_programs() -> None:
    rows = run("-j", "prog", "show", "--full", kernel=host()).json
    plain = run("-j", "prog", "show", kernel=host()).json
    for row, base in zip(rows, plain):
        assert {key: row[key] for key in base} == base
    assert {key: rows[1][key] for key in rows[1] if key not in plain[1]} == {
        "verified_insns": 40,
        "subprograms": 1,
        "attached": [{"hook": "tcx/ingress", "dev": "eth0", "link_id": 20}],
        "maps": ["flows"],
        "owner": ["unit:agent.service"],
    }
    one = run("-j", "prog", "show", "name", "counter", "--full", kernel=host()).json
    assert one == rows[1]
    text = run("prog", "show", "id", "2", "--full", kernel=host()).text
    assert text.startswith(run("prog", "show", "id", "2", kernel=host()).text)
    assert "\tverified_insns 40  subprograms 1\n\tattached tcx/ingress dev eth0\n" in text


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


class Hashing(Host):
    """A kernel that tells the hash of a frozen array, as Linux does since 6.18."""

    def map_hash(self, map: BpfObject) -> bytes:
        if map.id != 8:
            raise KernelError.of("cannot get the hash", EINVAL)
        return sha256(self.elems[map.id][bytes(4)]).digest()


def hashing(size: int = 104) -> Host:
    kernel = host()
    kernel.__class__ = Hashing
    for obj in kernel.all["map"].values():
        obj.info = obj.info[:size]
    return kernel


def test_the_hash_of_a_frozen_array(tmp_path: Path) -> None:
    expected = sha256((5).to_bytes(4, "little")).hexdigest()
    flows, config = run("-j", "map", "show", "--full", kernel=hashing()).json
    assert (config["name"], config["hash"]) == ("config", expected)
    assert "hash" not in flows
    assert f"\thash {expected}\n" in run("map", "show", "--full", kernel=hashing()).text
    # A recording keeps it, an older kernel does not tell it.
    path = save(hashing(), tmp_path / "s.zip")
    assert run("-j", "--snapshot", path, "map", "show", "id", "8", "--full").json == config
    assert pybpftool.load(path).map("config").hash == expected
    assert pybpftool.load(path).map("flows").hash is None
    old = run("-j", "map", "show", "--full", kernel=hashing(88)).json
    assert all("hash" not in row for row in old)


def _described(value: Any, schema: dict[str, Any]) -> None:
    """Each property of a value, and of what is in it, stands in the schema."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            _described(item, schema["items"])
    elif isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            assert name in schema["properties"], name
            _described(item, schema["properties"][name])


@pytest.mark.parametrize("word", ["prog", "map", "link"])
@pytest.mark.parametrize(
    "snapshot",
    ["kernels/6.18", "link/debian-6.1", "link/debian-6.12", "host", "check/6.12.zip", "hand"],
)
def test_schema(word: str, snapshot: str, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is missing")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    if snapshot == "hand":
        path = save(hashing(), tmp_path / "s.zip")
    else:
        path = str(FIXTURES / snapshot)
        path += "" if path.endswith(".zip") else "/snapshot.zip"
    shown = run("-j", "-f", "--snapshot", path, word, "show", "--full").json
    validator.validate(shown)
    if isinstance(shown, dict):  # the recording has no such objects
        assert {"error", "kind"} <= set(shown) <= {"error", "kind", "errno"}
        return
    one = {"$ref": f"#/$defs/{word}", "$defs": SCHEMA["$defs"]}
    for row in shown:
        jsonschema.Draft202012Validator(one).validate(row)
        _described(row, one)


def test_the_schema_can_fail() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is missing")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert SCHEMA["$id"] == "urn:pybpftool:schema:show:1"
    (row, *_) = run("-j", "prog", "show", "--full", kernel=host()).json
    assert validator.is_valid([row]) and validator.is_valid(row)
    for wrong in ({**row, "id": "7"}, {**row, "attached": [{"dev": "eth0"}]}, {"id": 7}):
        assert not validator.is_valid([wrong])


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["prog", "show", "id", "99"], {"kind": "not_found", "errno": 2}),
        (["prog", "show", "name", "nobody"], {"kind": "not_found"}),
        (["prog", "show", "id", "x"], {"kind": "usage"}),
        (["map", "show", "pinned", "/nonexistent"], {"kind": "not_found", "errno": 2}),
    ],
)
def test_errors_name_their_kind(words: list[str], more: dict[str, object]) -> None:
    told = run("-j", *words, "--full", kernel=host()).json
    assert told.pop("error")
    assert told == more
    assert list(run("-j", *words, kernel=host()).json) == ["error"]
