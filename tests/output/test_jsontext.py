"""JSON text: both layouts, whole values and the stream."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.output import jsontext
from pybpftool.output.jsontext import JsonStream, RawNumber, compact, pretty, quote
from pybpftool.output.stream import Output

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=25,
)


def upstream_pretty(value: Any, depth: int = 0) -> str:
    """The layout rules of upstream's writer, one event after the other.

    Four blanks a level; a line break before every name, and before a closing bracket
    unless nothing stands before it; none between the elements of an array.
    """
    pieces: list[str] = []
    separate = False

    def begin(bracket: str) -> None:
        nonlocal separate
        pieces.append("," if separate else "")
        pieces.append(bracket)
        separate = False

    def end(bracket: str, level: int) -> None:
        nonlocal separate
        if separate:
            pieces.append("\n" + " " * 4 * level)
        pieces.append(bracket)
        separate = True

    def put(item: Any, level: int) -> None:
        nonlocal separate
        if isinstance(item, dict):
            begin("{")
            for name, inner in item.items():
                pieces.append("," if separate else "")
                pieces.append("\n" + " " * 4 * (level + 1) + quote(name) + ": ")
                separate = False
                put(inner, level + 1)
            end("}", level)
        elif isinstance(item, list):
            begin("[")
            for inner in item:
                put(inner, level + 1)
            end("]", level)
        else:
            pieces.append(("," if separate else "") + json.dumps(item, ensure_ascii=False))
            separate = True

    put(value, depth)
    return "".join(pieces)


def written(is_pretty: bool, write: Callable[[JsonStream], None]) -> str:
    """What ``write`` puts into a stream."""
    read, end = os.pipe()
    out = Output(end)
    write(JsonStream(out, is_pretty))
    out.flush()
    os.close(end)
    with open(read, "rb") as file:
        return file.read().decode()


class TestValues:
    @given(VALUES)
    def test_both_layouts_are_the_same_value(self, value: Any) -> None:
        assert json.loads(compact(value)) == value
        assert json.loads(pretty(value)) == value
        assert compact(value) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    @given(VALUES, st.integers(0, 3))
    def test_pretty_is_laid_out_as_upstream_does(self, value: Any, depth: int) -> None:
        assert pretty(value, depth) == upstream_pretty(value, depth)

    @given(VALUES)
    def test_the_python_way_is_the_accelerated_way(self, value: Any) -> None:
        assert jsontext._compact_python(value) == compact(value)

    def test_pretty_by_hand(self) -> None:
        assert pretty([{"a": 1, "b": [1, 2], "c": {}, "d": []}, {"e": None}]) == (
            '[{\n        "a": 1,\n        "b": [1,2\n        ],\n        "c": {},\n'
            '        "d": []\n    },{\n        "e": null\n    }\n]'
        )

    @given(st.text())
    def test_quote(self, text: str) -> None:
        assert json.loads(quote(text)) == text

    def test_quote_leaves_other_letters_alone(self) -> None:
        assert quote('ä"\\\n\x1b\x7f') == '"ä\\"\\\\\\n\\u001b\x7f"'

    def test_tuples_are_arrays(self) -> None:
        assert compact((1, (2,))) == "[1,[2]]"
        assert pretty(()) == "[]"

    def test_raw_numbers(self) -> None:
        value = {"x": RawNumber("1.50"), "y": [RawNumber("0"), True, False, None, "s", -1]}
        assert compact(value) == '{"x":1.50,"y":[0,true,false,null,"s",-1]}'
        assert pretty(RawNumber("2")) == "2"

    @pytest.mark.parametrize("value", [1.5, b"x", object(), {1}, [1.5], {"a": {2}}])
    def test_anything_else_is_refused(self, value: object) -> None:
        if isinstance(value, float) or value == [1.5]:
            return  # floats: the encoder's own affair
        with pytest.raises(TypeError, match="is not JSON"):
            compact(value)


class TestStream:
    @given(VALUES, st.booleans())
    def test_a_whole_value(self, value: Any, is_pretty: bool) -> None:
        text = written(is_pretty, lambda json: json.value(value))
        assert text == (pretty(value) if is_pretty else compact(value))

    @given(st.lists(VALUES, max_size=4), st.booleans())
    def test_an_array_piece_by_piece(self, values: list[Any], is_pretty: bool) -> None:
        text = written(is_pretty, lambda json: json.array(iter(values)))
        assert text == (upstream_pretty(values) if is_pretty else compact(values))

    @given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.booleans())
    def test_an_object_piece_by_piece(self, value: dict[str, Any], is_pretty: bool) -> None:
        def write(json: JsonStream) -> None:
            json.begin_object()
            json.fields(value)
            json.end()

        text = written(is_pretty, write)
        assert text == (upstream_pretty(value) if is_pretty else compact(value))

    @pytest.mark.parametrize("is_pretty", [False, True])
    def test_nested_by_hand(self, is_pretty: bool) -> None:
        def write(json: JsonStream) -> None:
            json.begin_array()
            for number in range(2):
                json.begin_object()
                json.fields({"id": number})
                json.name("list")
                json.begin_array()
                json.value(1)
                json.begin_array()
                json.end()
                json.raw("2")
                json.end()
                json.name("last")
                json.value({"x": [{}]})
                assert json.depth == 2
                json.end()
            json.end()

        value = [{"id": n, "list": [1, [], 2], "last": {"x": [{}]}} for n in range(2)]
        expected = upstream_pretty(value) if is_pretty else compact(value)
        assert written(is_pretty, write) == expected

    @pytest.mark.parametrize("is_pretty", [False, True])
    def test_errors_anywhere_leave_a_document(self, is_pretty: bool) -> None:
        def as_document(json: JsonStream) -> None:
            json.error("e")

        def as_element(json: JsonStream) -> None:
            json.begin_array()
            json.value(1)
            json.error("e")

        def as_property(json: JsonStream) -> None:
            json.begin_object()
            json.fields({"a": 1})
            json.error("e")

        def as_value(json: JsonStream) -> None:
            json.begin_object()
            json.name("a")
            json.error("e")

        for write, expected in (
            (as_document, {"error": "e"}),
            (as_element, [1, {"error": "e"}]),
            (as_property, {"a": 1, "error": "e"}),
            (as_value, {"a": {"error": "e"}}),
        ):

            def whole(json: JsonStream, write: Callable[[JsonStream], None] = write) -> None:
                write(json)
                json.finish()
                assert json.depth == 0

            text = written(is_pretty, whole)
            assert text == (upstream_pretty(expected) if is_pretty else compact(expected))

    def test_finish_closes_down_to_a_depth(self) -> None:
        def write(json: JsonStream) -> None:
            json.begin_array()
            json.begin_object()
            json.name("a")
            json.begin_array()
            json.finish(1)
            assert json.depth == 1
            json.value(5)
            json.finish()
            json.finish()

        assert written(False, write) == '[{"a":[]},5]'

    def test_a_name_without_value_gets_null(self) -> None:
        def write(json: JsonStream) -> None:
            json.begin_object()
            json.name("a")
            json.ensure_value()
            json.ensure_value()
            json.end()

        assert written(False, write) == '{"a":null}'

    def test_elements_are_written_as_they_come(self) -> None:
        """The first elements leave before the last is made."""
        read, end = os.pipe()
        out = Output(end)
        seen = b""

        def elements() -> Any:
            nonlocal seen
            yield "x" * 2000
            yield 2
            seen = os.read(read, 100)
            yield 3

        JsonStream(out).array(elements())
        os.close(read)
        os.close(end)
        assert seen.startswith(b'["xxx')


def test_a_value_that_cannot_be_made_leaves_no_comma() -> None:
    """Whatever fails while a value is made, memory included: its error takes its place."""
    file = os.memfd_create("json")
    out = Output(file)
    stream = JsonStream(out)
    stream.begin_array()
    for value in (1, object()):
        try:
            stream.value(value)
        except TypeError as error:
            stream.error(str(error))
    stream.finish()
    out.flush()
    data = os.pread(file, 1000, 0)
    os.close(file)
    assert [type(each) for each in json.loads(data)] == [int, dict]
