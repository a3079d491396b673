"""Rows of hexadecimal bytes: the block-wise way against a plain reading of the format."""

from __future__ import annotations

import json
import random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpftool.output import hexrows
from pybpftool.output.hexrows import KEY, VALUE, Rows, Run, hex_list, hex_text, offset_rows


def by_the_book(data: bytes) -> str:
    """Two digits a byte; a blank between two, two after eight, a line break after sixteen."""
    text = ""
    for index, byte in enumerate(data):
        if index:
            text += "\n" if index % 16 == 0 else "  " if index % 8 == 0 else " "
        text += "%02x" % byte
    return text


@given(st.binary(max_size=70))
def test_hex_text(data: bytes) -> None:
    assert hex_text(data) == by_the_book(data)


def test_hex_text_of_known_bytes() -> None:
    assert hex_text(b"") == ""
    assert hex_text(bytes(range(18))) == ("00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f\n10 11")


@given(st.binary(max_size=40))
def test_hex_list(data: bytes) -> None:
    assert json.loads(hex_list(data)) == ["0x%02x" % byte for byte in data]


@pytest.mark.parametrize("end", [None, "]", "\n    ]"])
@given(data=st.binary(max_size=100), some=st.sampled_from([16, 32, 64]))
def test_pieces_of_a_run(end: str | None, data: bytes, some: int) -> None:
    with mock.patch.object(hexrows, "_SOME", some):
        pieces = [*Run(VALUE, 0, len(data), end).pieces(data)]
    assert "".join(pieces) == (hex_text(data) if end is None else hex_list(data, end))
    assert len(pieces) <= len(data) // some + 1
    rows = Rows(["<", Run(KEY, 1, 2, "]"), "=", Run(VALUE, 0, len(data), end), ">"], (4, len(data)))
    assert "".join(rows.pieces(b"abcd", data)) == rows.row(b"abcd", data)


def test_end_of_a_hex_list() -> None:
    assert hex_list(b"", "\n]") == "[]"
    assert hex_list(b"\x01\xfe", "\n]") == '["0x01","0xfe"\n]'


def expected(parts: list[str | Run], keys: bytes, values: bytes, pitches: tuple[int, int]) -> str:
    """One row after the other, made from the definition."""
    text = ""
    count = len(keys) // pitches[0] if pitches[0] else len(values) // pitches[1]
    for row in range(count):
        for part in parts:
            if isinstance(part, str):
                text += part
                continue
            data, pitch = ((keys, values)[part.source], pitches[part.source])
            run = data[row * pitch + part.offset :][: part.size]
            if part.end is None:
                text += by_the_book(run)
            elif run:
                text += "[" + ",".join('"0x%02x"' % byte for byte in run) + part.end
            else:
                text += "[]"
    return text


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 20),
    st.integers(1, 70),
    st.sampled_from((1, 2, 23, 24, 25, 200, 2047, 2048, 2049, 4100)),
    st.text("xyz", max_size=9),
    st.integers(0, 2**32),
)
def test_blocks(key_size: int, value_size: int, count: int, literal: str, seed: int) -> None:
    source = random.Random(seed)
    keys, values = source.randbytes(count * key_size), source.randbytes(count * value_size)
    half = value_size // 2
    parts: list[str | Run] = [
        "k" + literal,
        Run(KEY, 0, key_size),
        "\n",
        Run(VALUE, 0, value_size),
        "\n" + literal,
        Run(VALUE, half, value_size - half),
        "|",
        Run(KEY, 0, key_size, "]"),
        Run(VALUE, half, value_size - half, "\n  ]"),
        literal,
    ]
    rows = Rows(parts, (key_size, value_size))
    want = expected(parts, keys, values, (key_size, value_size))
    assert "".join(str(block, "ascii") for block in rows.blocks(keys, values, count)) == want
    assert "".join(rows.texts(keys, values, count)) == want
    assert rows.row(keys[:key_size], values[:value_size]) == want[: len(want) // count]


def test_blocks_can_be_used_again() -> None:
    """The buffer of one batch must leave nothing in the next, shorter one."""
    rows = Rows(["<", Run(KEY, 0, 3), ">", Run(VALUE, 0, 9, "]"), "\n"], (3, 9))
    for count in (3000, 40, 25, 2500):
        keys, values = random.randbytes(3 * count), random.randbytes(9 * count)
        both = "".join(str(block, "ascii") for block in rows.blocks(keys, values, count))
        one = [rows.row(keys[i * 3 : i * 3 + 3], values[i * 9 : i * 9 + 9]) for i in range(count)]
        assert both == "".join(one)


@pytest.mark.parametrize("size", (1025, 5000))
def test_wide_rows_are_made_one_by_one(size: int) -> None:
    rows = Rows([Run(VALUE, 0, size), "\n"], (0, size))
    values = random.randbytes(size * 30)
    text = "".join(str(block, "ascii") for block in rows.blocks(b"", values, 30))
    assert text == "".join(by_the_book(values[i * size :][:size]) + "\n" for i in range(30))
    assert rows._columns is None
    assert size > hexrows._WIDE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"A", "0000000\t41                                      | A\n"),
        (b"\0~\x7f", "0000000\t007e 7f                                 | .~.\n"),
        (b" bcdefgh", "0000000\t2062 6364 6566 6768                     |  bcdefgh \n"),
        (
            bytes(range(65, 82)),
            "0000000\t4142 4344 4546 4748 494a 4b4c 4d4e 4f50 | ABCDEFGH IJKLMNOP\n"
            "0000010\t51                                      | Q\n",
        ),
    ],
)
def test_rows_with_offsets(data: bytes, text: str) -> None:
    assert offset_rows(data) == text
