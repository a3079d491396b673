"""Names of a string section: all at once, many at a time, one by one."""

from __future__ import annotations

import pytest

from pybpftool.btf import names as module
from pybpftool.btf.names import Names
from pybpftool.errors import FormatError

ASCII = b"\0int\0a\0\0long_name\0x%d\0end\0"
OTHER = "\0gr\u00f6\u00dfe\0b".encode() + b"\0\xff\xfe\0last\0"


def table(strings: bytes, base: Names | None = None) -> Names:
    data = b"before" + strings + b"behind\0"
    start = 0 if base is None else base._start + base._end - base._begin
    return Names(data, 6, 6 + len(strings), start, base)


def plainly(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("much", (1, 5, 100))
@pytest.mark.parametrize("strings", (ASCII, OTHER, b"\0", b"\0\0"))
def test_in_order(monkeypatch: pytest.MonkeyPatch, strings: bytes, much: int) -> None:
    monkeypatch.setattr(module, "_MUCH", much)
    count = len(strings)
    for since in range(count):
        for first in range(count):
            names = table(strings).in_order(since)
            for offset in (first, *range(count), *reversed(range(count))):
                assert names[offset] == plainly(strings, offset), (since, first)


def test_in_order_reads_no_further_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MUCH", 1)
    names = table(ASCII).in_order(5)
    assert names[5] == "a"
    assert names[1] == "int"
    assert dict(names) == {1: "int", 5: "a"}
    assert names[8] == "long_name"
    assert dict(names) == {1: "int", 5: "a", 7: "", 8: "long_name"}


def test_what_stands_for_no_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    names = table(ASCII).in_order(0)
    names[0] = "(anon)"
    assert [names[at] for at in (1, 0, 5)] == ["int", "(anon)", "a"]


def test_in_order_on_a_base() -> None:
    base = table(ASCII)
    names = table(OTHER[1:], base).in_order(0)
    assert [names[at] for at in (1, 5, len(ASCII))] == ["int", "a", "gr\u00f6\u00dfe"]
    with pytest.raises(FormatError, match="beyond its strings"):
        names[len(ASCII) + len(OTHER)]


def test_strings_of_a_hostile_length_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_NAMES", 10)
    names = table(ASCII).in_order(0)
    assert names[8] == "long_name"
    assert dict(names) == {8: "long_name"}


def test_offsets_of(monkeypatch: pytest.MonkeyPatch) -> None:
    strings = b"\0one\0two\0one\0three\0"
    assert table(strings).offsets_of({"one", "three", "none"}) == {"one": 1, "three": 13}
    names = table(OTHER)
    assert names.offsets_of({"gr\u00f6\u00dfe"}) == {"gr\u00f6\u00dfe": 1}
    # Those of the base are not its own.
    on_top = table(b"four\0one\0", table(strings))
    assert on_top.offsets_of({"one", "two"}) == {"one": len(strings) + 5}
    assert table(b"", table(strings)).offsets_of({"one"}) == {}
    monkeypatch.setattr(module, "_MAX_NAMES", 10)
    assert table(strings).offsets_of({"one"}) == {}


@pytest.mark.parametrize("character", ('"', "\\", "\n", "\x1f"))
def test_quoted(character: str) -> None:
    assert [table(ASCII).quoted()[at] for at in (1, 5, 18)] == ["int", "a", "x%d"]
    names = table(f"\0pl\0o{character}\0end\0".encode()).quoted()
    assert [names[at] for at in (1, 8 - 1)] == ["pl", "end"]
    assert names[4] not in (f"o{character}", "")
    import json

    assert json.loads(f'"{names[4]}"') == f"o{character}"
