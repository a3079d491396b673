"""Columns by name, filters and orders."""

from __future__ import annotations

from typing import Any

import pytest

from pybpftool.errors import UsageError
from pybpftool.inspect.columns import COLUMNS, DEFAULT, Filter, chosen, order, sort, value_words
from pybpftool.inspect.unknown import Hidden

ROW = {
    "id": 7,
    "type": "xdp",
    "name": "cali_in",
    "bytes_memlock": 8192,
    "jited": True,
    "age": 7200,
    "run_time_ns": 1_500_000,
    "map_ids": [3, 40],
    "pids": [{"pid": 5, "comm": "agent"}],
    "attached": [{"hook": "xdp", "dev": "eth0", "position": 1, "detail": "generic", "link_id": 4}],
}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("type=xdp", True),
        ("type=xdp,name=cali_*", True),
        ("type=xdp,name=felix_*", False),
        ("type!=xdp", False),
        ("id=7", True),
        ("id=0x7", True),
        ("id=?", True),  # a pattern
        ("memlock>=8K", True),
        ("bytes_memlock>8K", False),
        ("memlock<1M", True),
        ("age>1h", True),
        ("age<1.5h", False),
        ("run_time_ns>1ms", True),
        ("jited=yes", True),
        ("jited=0", False),
        ("map_ids=40", True),
        ("map_ids=4", False),
        ("pids=agent", True),
        ("pids=agent(5)", True),
        ("attached=eth*", True),
        ("attached=xdp dev eth0*", True),
        ("tag=", True),
        ("tag=*", False),
        ("tag!=", False),
        ("name=", False),
        ("verified_insns>0", False),
    ],
)
def test_filters(text: str, passes: bool) -> None:
    assert Filter([text], "prog").passes(ROW.get) is passes


def test_all_terms_of_all_filters_count() -> None:
    assert not Filter(["type=xdp", "id>9"], "prog").passes(ROW.get)
    assert Filter([], "prog").passes(ROW.get)
    assert Filter(["memlock>1,type=x*"], "prog").columns == ["bytes_memlock", "type"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nam=x", "no column 'nam'; did you mean 'name'"),
        ("qqq=x", "no column 'qqq'; there are age, attach_to"),
        ("type", "cannot read 'type' as a filter"),
        ("", "cannot read '' as a filter"),
        ("=x", "no column ''"),
        ("memlock>lots", "'lots', which is no number"),
        ("id>0x", "no number"),
    ],
)
def test_refused_filters(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("(", "\\(")):
        Filter([text], "prog")


def test_choosing() -> None:
    assert chosen("", "link") == DEFAULT["link"].split()
    assert chosen("id,memlock,id", "prog") == ["id", "bytes_memlock"]
    assert chosen("+tag,uid", "prog") == [*DEFAULT["prog"].split(), "tag", "uid"]
    assert set(chosen("all", "map")) == set(COLUMNS["map"])
    with pytest.raises(UsageError, match="did you mean 'verified_insns'"):
        chosen("id,verified_ins", "prog")


def test_the_usual_columns_exist() -> None:
    assert DEFAULT.keys() == {word for word in COLUMNS if not word.startswith("top")}
    for word, names in DEFAULT.items():
        assert set(names.split()) <= COLUMNS[word].keys()


def test_order() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "type": "xdp", "bytes_memlock": 5},
        {"id": 2, "type": "kprobe", "bytes_memlock": Hidden("no")},
        {"id": 3, "type": "xdp", "bytes_memlock": 9},
        {"id": 4, "type": "kprobe"},
    ]

    def ids(by: str) -> list[int]:
        gets: list[Any] = [row.get for row in rows]
        sort(gets, order(by, "prog"))
        return [get("id") for get in gets]

    assert ids("") == [1, 2, 3, 4]
    assert ids("-memlock") == [3, 1, 2, 4]
    assert ids("memlock") == [1, 3, 2, 4]
    assert ids("type,-id") == [4, 2, 3, 1]
    with pytest.raises(UsageError, match="no column 'memlok'"):
        order("-memlok", "prog")


def test_words() -> None:
    assert value_words(ROW["attached"]) == "xdp dev eth0 position 1 generic"
    assert value_words(ROW["pids"]) == "agent(5)"
    assert value_words([True, 3]) == "yes, 3"
    assert value_words({"hook": 1, "x": [2]}) == "hook 1 x 2"
