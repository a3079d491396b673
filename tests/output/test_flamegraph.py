"""Flame graphs."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from pybpftool.output.flamegraph import svg

SPACE = "{http://www.w3.org/2000/svg}"


def frames(*names: str, kind: str = "kernel") -> list[tuple[str, str]]:
    return [(name, kind) for name in names]


def boxes(text: str) -> dict[str, tuple[int, int, int]]:
    """Title up to the count -> (start, count, depth)."""
    found = {}
    for group in ET.fromstring(text).iter(f"{SPACE}g"):
        if "data-x" in group.attrib:
            title = group.find(f"{SPACE}title")
            assert title is not None and title.text is not None
            name = title.text.rpartition(" (")[0]
            found[name] = tuple(int(group.attrib[f"data-{key}"]) for key in "xwd")
    return found  # type: ignore[return-value]


def test_boxes_are_merged_and_in_the_order_of_the_alphabet() -> None:
    text = svg([(frames("main", "write"), 3), (frames("main", "read"), 1), (frames("idle"), 4),
                (frames("main", "read", "copy"), 2)], "t")  # fmt: skip
    assert boxes(text) == {
        "all": (0, 10, 0),
        "idle": (0, 4, 1),
        "main": (4, 6, 1),
        "read": (4, 3, 2),
        "copy": (4, 2, 3),
        "write": (7, 3, 2),
    }
    assert "main (6 samples, 60.00%)" in text


def test_it_stands_alone() -> None:
    text = svg([(frames("a"), 1)], "t")
    assert re.findall(r"(?:href|src|url|import)\b", text) == []
    assert [url for url in re.findall(r"https?://[^\"\s]+", text) if "w3.org" not in url] == []


def test_names_are_hostile() -> None:
    name = '<script>alert("1")</script>\x1b[1m\u202e\udcff&'
    text = svg([(frames(name), 1)], "<b>&\x00")
    ET.fromstring(text)
    assert "<script>alert" not in text
    assert "\x1b" not in text and "\u202e" not in text
    assert r"\x1b[1m\u202e\xff&amp;" in text


def test_narrow_and_deep_ones() -> None:
    text = svg([(frames("wide"), 1_000_000), (frames("narrow"), 1)], "t")
    assert "narrow" not in boxes(text)
    deep = svg([(frames(*["f"] * 3000), 1)], "t")
    assert max(depth for _, _, depth in boxes(deep).values()) == 512
    assert "no stacks" in svg([], "t")
