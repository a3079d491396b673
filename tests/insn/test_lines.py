"""Line records: which instruction shows which, and how they read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.insn.lines import (
    LineCursor,
    LineInfo,
    jited_line_ranges,
    json_formats,
    line_addresses_mended,
    plain_formats,
)

STRINGS = {0: "", 1: " \t\v\f\r x = 5%d;", 20: 'say("hi")', 40: "a.c", 60: "   "}


def pack(records: list[tuple[int, int, int, int]], order: str = "<", tail: bytes = b"") -> bytes:
    return b"".join(struct.pack(order + "4I", *record) + tail for record in records)


def looked_up(offs: list[int], slot: int, skip: int) -> int | None:
    """One lookup, word for word: the last record before the first one beyond the slot."""
    if skip >= len(offs) or slot < offs[skip]:
        return None
    for i in range(skip, len(offs)):
        if offs[i] > slot:
            return i - 1
    return len(offs) - 1


def walked(offs: list[int], starts: list[int]) -> list[tuple[int, int]]:
    shown: list[tuple[int, int]] = []
    for slot in starts:
        record = looked_up(offs, slot, len(shown))
        if record is not None:
            shown.append((slot, record))
    return shown


@given(st.lists(st.integers(0, 30)), st.lists(st.booleans(), max_size=25), st.booleans())
def test_shown_as_by_single_lookups(offs: list[int], doubles: list[bool], is_sorted: bool) -> None:
    if is_sorted:
        offs = sorted(set(offs))
    is_start = bytearray()
    for is_double in doubles:
        is_start += b"\1\0" if is_double else b"\1"
    starts = [slot for slot, begins in enumerate(is_start) if begins]
    info = LineInfo(pack([(off, 0, 0, 0) for off in offs]))
    expected = walked(offs, starts)
    slots, records = info.shown(len(is_start), is_start)
    assert list(zip(slots, records)) == expected
    if len(starts) == len(is_start):
        slots, records = info.shown(len(is_start))
        assert list(zip(slots, records)) == expected
    cursor = LineCursor(offs)
    found = [(slot, cursor.find(slot)) for slot in starts]
    assert [pair for pair in found if pair[1] is not None] == expected
    for slot in range(35):
        assert info.find(slot) == looked_up(offs, slot, 0)


def test_crowded_records_repeat_the_last_one() -> None:
    info = LineInfo(pack([(off, 0, 0, 0) for off in (0, 0, 0, 5)]))
    slots, records = info.shown(8)
    assert list(zip(slots, records)) == [(0, 2), (1, 2), (2, 2), (5, 3)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", [0, 8])
def test_columns(order: str, extra: int) -> None:
    data = pack([(1, 2, 3, 7 << 10 | 9), (5, 6, 7, 8)], order, b"\xee" * extra)
    info = LineInfo(data + b"\1\2\3", 16 + extra, order)
    assert len(info) == 2
    assert list(info.insn_offs) == [1, 5]
    assert list(info.file_name_offs) == [2, 6]
    assert list(info.line_offs) == [3, 7]
    assert info.number(0) == (7, 9)
    assert info.number(1) == (0, 8)


@pytest.mark.parametrize("size", [0, 4, 8, 15, 18])
def test_records_of_a_useless_size(size: int) -> None:
    info = LineInfo(b"\1" * 90, size)
    assert len(info) == 0
    assert info.shown(4) == ((), ())
    assert info.find(3) is None


INFO = LineInfo(
    pack(
        [
            (0, 40, 1, 3 << 10 | 4),
            (1, 99, 20, 3 << 10),
            (2, 40, 99, 5),
            (3, 0, 60, 0),
            (4, 40, 0, 1 << 10 | 1),
        ]
    )
)


def filled(texts: list[str]) -> list[str]:
    return [text % () for text in texts]


def test_plain() -> None:
    assert filled(plain_formats(INFO, STRINGS.get, False)(range(5))) == [
        "; x = 5%d;\n",
        '; say("hi")\n',
        "",
        "; \n",
        "; \n",
    ]


def test_plain_with_numbers() -> None:
    assert filled(plain_formats(INFO, STRINGS.get, True)([0, 1, 2, 3, 0])) == [
        "; x = 5%d; [file:a.c line_num:3 line_col:4]\n",
        '; say("hi") [file: line_num:3 line_col:0]\n',
        "",
        ";  [file: line_num:0 line_col:0]\n",
        "; x = 5%d; [file:a.c line_num:3 line_col:4]\n",
    ]


def test_json() -> None:
    def name(text: str) -> str:
        return f"{text}="

    assert filled(json_formats(INFO, STRINGS.get, False, name)(range(3))) == [
        'src="x = 5%d;",',
        'src="say(\\"hi\\")",',
        "",
    ]
    assert filled(json_formats(INFO, STRINGS.get, True, name)(range(5))) == [
        'src="x = 5%d;",file="a.c",line_num=3,line_col=4,',
        'src="say(\\"hi\\")",line_num=3,',
        'file="a.c",line_col=5,',
        'src="",file="",',
        'src="",file="a.c",line_num=1,line_col=1,',
    ]


def test_jited_ranges() -> None:
    assert jited_line_ranges([100, 104, 200, 210], [100, 200], [50, 50]) == [
        range(2),
        range(2, 4),
    ]
    assert jited_line_ranges([100, 104], [100], [50]) == [range(2)]
    # Functions lie anywhere, one after the other too; an instruction may have no machine code.
    assert jited_line_ranges([200, 250, 250, 100, 150, 150, 150], [200, 100, 150], [50, 50, 9]) == [
        range(3),
        range(3, 4),
        range(4, 7),
    ]


@pytest.mark.parametrize(
    ("given", "mended"),
    [
        ([100, 104, 200], [100, 104, 200]),
        ([900, 904, 110, 200], [100, 110, 110, 200]),
        ([900, 104, 110, 200], [100, 104, 110, 200]),
        ([900, 904], [100, 150]),
        ([900], [100]),
        ([120, 900], [120, 900]),
        ([], []),
    ],
)
def test_addresses_that_the_kernel_wrote_over_the_first_ones(
    given: list[int], mended: list[int]
) -> None:
    assert list(line_addresses_mended(given, [100, 200], [50, 50])) == mended


def test_functions_without_records() -> None:
    assert jited_line_ranges([100, 104], [100, 200], [50, 50]) == [range(2), range(2, 2)]
    assert jited_line_ranges([100, 300], [100, 200, 300], [5, 5, 5]) == [
        range(1),
        range(1, 1),
        range(1, 2),
    ]


@pytest.mark.parametrize(
    ("addresses", "ksyms", "lens"),
    [
        ([], [100], [5]),
        ([100], [], []),
        ([100], [100], []),
        ([101], [100], [5]),
        ([100, 160, 200], [100, 200], [50, 50]),
        ([100, 110, 105, 200], [100, 200], [50, 50]),
        ([100, 104, 201], [100, 200], [50, 50]),
    ],
)
def test_jited_records_that_do_not_fit(
    addresses: list[int], ksyms: list[int], lens: list[int]
) -> None:
    assert jited_line_ranges(addresses, ksyms, lens) is None
