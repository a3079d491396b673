"""Kinds 20 to 22, where the parameters of inlined functions are: raw dump, C, merging, checks."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import run


def build() -> BtfBuilder:
    """Type 1 int, 2 its prototype; 3 a constant, 4 a place, 5 a prototype of both, 6 a section."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4)
    proto = btf.add_func_proto(number, [("a", number), ("b", number)])
    constant = btf.add_raw(20, "", -4, struct.pack("<Q", (7 << 32) + 5), kflag=True)
    place = btf.add_raw(20, "", 8, struct.pack("<HHi", 6, 3, -16))
    both = btf.add_raw(21, "", 0, struct.pack("<II", constant, place), vlen=2)
    name = btf.string("inlined")
    section = struct.pack("<4I", name, proto, both, 0x1234)
    btf.add_raw(22, ".locs", 0, section, vlen=1)
    return btf


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "locations.btf"
    file.write_bytes(build().build())
    return str(file)


def test_text(path: str) -> None:
    result = run("btf", "dump", "file", path)
    assert (result.status, result.err) == (0, b"")
    assert result.text.splitlines()[4:] == [
        "[3] LOC_PARAM '(anon)' size=-4 value=30064771077",
        "[4] LOC_PARAM '(anon)' size=8 reg=6 flags=0x3 offset=-16",
        "[5] LOC_PROTO '(anon)' vlen=2",
        "\ttype_id=3",
        "\ttype_id=4",
        "[6] LOCSEC '.locs' vlen=1",
        "\t'inlined' func_proto_type_id=2 loc_proto_type_id=5 offset=4660",
    ]


@pytest.mark.parametrize("option", ["-j", "-p"])
def test_json(path: str, option: str) -> None:
    types = json.loads(run(option, "btf", "dump", "file", path).out)["types"]
    names = ("id", "kind", "name")
    shown = [{key: row[key] for key in row if key not in names} for row in types[2:]]
    assert shown == [
        {"size": -4, "value": 30064771077},
        {"size": 8, "reg": 6, "flags": 3, "offset": -16},
        {"vlen": 2, "params": [{"type_id": 3}, {"type_id": 4}]},
        {
            "vlen": 1,
            "locs": [
                {
                    "name": "inlined",
                    "func_proto_type_id": 2,
                    "loc_proto_type_id": 5,
                    "offset": 4660,
                }
            ],
        },
    ]
    assert [row["kind"] for row in types[2:]] == ["LOC_PARAM", "LOC_PARAM", "LOC_PROTO", "LOCSEC"]


def test_one_type_alone_and_nothing_of_it_in_c(path: str) -> None:
    alone = run("btf", "dump", "file", path, "root_id", "5").text
    assert alone.splitlines()[0] == "[5] LOC_PROTO '(anon)' vlen=2"
    result = run("btf", "dump", "file", path, "format", "c")
    assert result.status == 0
    assert "inlined" not in result.text


def test_ids_and_names_are_checked() -> None:
    for tail, vlen, kind in (
        (struct.pack("<I", 99), 1, 21),
        (struct.pack("<4I", 0, 99, 1, 0), 1, 22),
        (struct.pack("<4I", 0, 1, 99, 0), 1, 22),
        (struct.pack("<4I", 9999, 1, 1, 0), 1, 22),
        (struct.pack("<I", 0), 0, 20),  # cut off
    ):
        btf = BtfBuilder()
        btf.add_int("int", 4)
        btf.add_raw(kind, "", 0, tail, vlen=vlen)
        with pytest.raises(FormatError):
            Btf.from_bytes(btf.build())


def test_merged_locations_refer_to_merged_types(tmp_path: Path) -> None:
    base = BtfBuilder()
    base.add_int("int", 4)
    (tmp_path / "base").write_bytes(base.build())
    files = []
    for name in ("a", "b"):
        part = BtfBuilder(first_id=2, base_strings=len(b"\0int\0"))
        part.add_typedef("same", 1)
        place = part.add_raw(20, "", 4, struct.pack("<HHi", ord(name), 0, 0))
        part.add_raw(21, "", 0, struct.pack("<I", place), vlen=1)
        (tmp_path / name).write_bytes(part.build())
        files += ["file", str(tmp_path / name)]
    result = run("-B", str(tmp_path / "base"), "btf", "dump", *files)
    assert result.text == (
        "[2] TYPEDEF 'same' type_id=1\n"
        "[3] LOC_PARAM '(anon)' size=4 reg=97 flags=0x0 offset=0\n"
        "[4] LOC_PROTO '(anon)' vlen=1\n\ttype_id=3\n"
        "[5] LOC_PARAM '(anon)' size=4 reg=98 flags=0x0 offset=0\n"
        "[6] LOC_PROTO '(anon)' vlen=1\n\ttype_id=5\n"
    )
