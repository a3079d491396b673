"""Values of C in memory: read, written, refused."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.errors import BpfError
from pybpftool.skeleton import (
    BOOL,
    F32,
    I8,
    I64,
    U8,
    U16,
    U128,
    ArrayOf,
    Bits,
    Blob,
    Chars,
    Field,
    Struct,
    StructOf,
)
from pybpftool.skeleton.memory import Memory


class point(Struct):
    __slots__ = ()
    _size = 4
    x = Field(0, U16)
    y = Field(2, U16)


class shape(Struct):
    __slots__ = ()
    _size = 12
    points = Field(0, ArrayOf(StructOf(point), 2))
    low = Bits(64, 3, True)
    high = Bits(67, 13)


def test_numbers() -> None:
    assert I8.encode(-1) == b"\xff"
    assert I64.decode(I64.encode(-2)) == -2
    assert U128.decode(U128.encode(1 << 127)) == 1 << 127
    assert BOOL.decode(b"\2") is True
    assert F32.decode(F32.encode(0.5)) == 0.5


@pytest.mark.parametrize(
    ("codec", "value", "sentence"),
    [
        (U8, 256, "256 does not fit 1 unsigned bytes"),
        (I8, 128, "128 does not fit 1 signed bytes"),
        (F32, 1e300, "1e+300 does not fit"),
        (Chars(2), b"abc", "3 bytes do not fit"),
        (Blob(2), b"a", "1 bytes are given for 2"),
        (ArrayOf(U8, 1), [1, 2], "2 values are given for an array of 1"),
        (StructOf(point), shape(), "is no point"),
    ],
)
def test_what_does_not_fit(codec: Chars, value: bytes, sentence: str) -> None:
    with pytest.raises(BpfError, match=sentence.replace("+", r"\+")):
        codec.encode(value)


def test_windows_write_through() -> None:
    one = shape(points=[point(x=1)])
    second = one.points[-1]
    second.y = 7
    assert [p.y for p in one.points] == [0, 7]
    one.points[0] = point(x=3)
    assert one.points == [point(x=3), point(y=7)]
    assert bytes(one.points) == bytes(point(x=3)) + bytes(second)
    assert len(one.points) == 2
    with pytest.raises(IndexError):
        one.points[2]
    assert repr(one) == ("shape(points=[point(x=3, y=0), point(x=0, y=7)], low=0, high=0)")
    assert {point(x=1): 2}[point(x=1)] == 2
    assert point() != shape()


def test_nothing_changes_if_one_element_does_not_fit() -> None:
    one = shape(points=[point(x=1), point(x=2)])
    with pytest.raises(BpfError):
        one.points = [point(), shape()]  # type: ignore[list-item]
    assert one.points == [point(x=1), point(x=2)]


@given(st.integers(-4, 3), st.integers(0, 8191))
def test_bits(low: int, high: int) -> None:
    one = shape(low=low, high=high)
    assert (one.low, one.high) == (low, high)
    if sys.byteorder == "little":
        assert int.from_bytes(bytes(one)[8:10], "little") == (low & 7) | high << 3
    with pytest.raises(BpfError, match="does not fit 3 bits"):
        one.low = 4


def test_memory_that_is_gone_or_constant() -> None:
    memory = Memory(memoryview(b"\1\0\2\0"), "the variables")
    window = point._at(memory, 0)
    assert (window.x, window.y) == ((1, 2) if sys.byteorder == "little" else (256, 512))
    with pytest.raises(BpfError, match="the variables cannot be changed"):
        window.x = 3
    memory.move(None)
    with pytest.raises(BpfError, match="the variables is closed"):
        window.x  # noqa: B018
