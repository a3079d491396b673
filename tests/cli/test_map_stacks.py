"""``map dump MAP stacks``."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.cli import assert_one_sentence, run
from tests.support.stacks import stack_host


def test_list() -> None:
    result = run("map", "dump", "name", "stacks", "stacks", "pid", "44", kernel=stack_host())
    assert result.text == (
        "stack 2: 6 frames\n"
        "\tffffffffc0200010 bpf_prog_1234567812345678_counter+0x10 [bpf]\n"
        "\tffffffffc0100001 xfs_read+0x1 [xfs]\n"
        "\t0000000000401010 main+0x10 (/usr/bin/agent)\n"
        "\t0000000000401500 (/usr/bin/agent)+0x1500\n"
        "\t00007f0000000010 ([vdso])+0x10\n"
        "\t0000000000000099 (unknown)\n"
        "stack 5: 2 frames\n"
        "\tffffffff81000150 do_read+0x50\n"
        "\tffffffff81000008 _stext+0x8\n"
        "Found 2 stacks\n"
    )
    rows = run("-j", "map", "dump", "id", "30", "stacks", kernel=stack_host()).json
    assert [row["id"] for row in rows] == [2, 5]
    first = {"address": 0xFFFFFFFF81000150, "kind": "kernel", "symbol": "do_read", "offset": 0x50}
    assert rows[1]["frames"][0] == first


def test_folded() -> None:
    kernel = stack_host()
    text = run("map", "dump", "id", "30", "stacks", "folded", kernel=kernel).text
    assert text.splitlines() == [
        "[unknown];[unknown];[unknown];[unknown];xfs_read;bpf_prog_1234567812345678_counter 1",
        "_stext;do_read 1",
    ]
    kernel.map(33, type=1, key_size=4, value_size=8, max_entries=8, name=b"counts")
    kernel.elems[33] = {struct.pack("<I", 5): struct.pack("<Q", 42)}
    words = ["map", "dump", "id", "30", "stacks", "folded", "counts", "name", "counts"]
    assert run(*words, kernel=kernel).text == "_stext;do_read 42\n"
    rows = run("-j", *words, kernel=kernel).json
    assert (rows[0]["count"], rows[0]["frames"][0]["symbol"]) == (42, "do_read")


def test_svg(tmp_path: Path) -> None:
    kernel = stack_host()
    text = run("map", "dump", "id", "30", "stacks", "svg", kernel=kernel).text
    ET.fromstring(text)
    assert "Stacks of map 30 (stacks)" in text
    path = tmp_path / "flame.svg"
    words = ["map", "dump", "id", "30", "stacks", "svg", str(path), "pid", "44"]
    assert run(*words, kernel=kernel).out == b""
    assert "main (1 samples, 50.00%)" in path.read_text()
    drawn = path.read_bytes()
    path.unlink()
    assert run("-j", *words, kernel=kernel).out == b"null\n"
    assert path.read_bytes() == drawn
    # Without a file, JSON has what would be drawn.
    assert len(run("-j", *words[:6], kernel=kernel).json) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("id 7 stacks", "map 7 is of type hash, not stack_trace"),
        ("id 30 stacks foo", "expected 'folded', 'svg', 'counts' or 'pid', got 'foo'"),
        ("id 30 stacks pid 45", "process 45 tells no names of its functions: "),
        ("id 30 stacks pid 0", "'0' is no process id"),
        ("id 30 stacks pid x", "cannot read 'x' as a process id"),
        ("id 30 stacks counts", "expected 'id', 'name' or 'pinned'"),
        ("id 30 stacks counts id 99", "no map with id 99"),
        ("id 30 stacks counts id 7 counts id 7", "only one map has the counts"),
        ("id 30 stacks svg /nonexistent/x", "/nonexistent/x"),
        ("id 30 folded", "unexpected argument 'folded'"),
    ],
)
def test_refusals(words: str, sentence: str) -> None:
    assert_one_sentence(run("map", "dump", *words.split(), kernel=stack_host()), sentence)
