"""Values as text and JSON, as upstream's ``map dump`` printed the same bytes."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator

import pytest

from pybpftool.btf import builders, scalars, values
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.output import jsontext
from tests.support import btfsamples as samples
from tests.support.btfbuild import BOOL, CHAR, SIGNED, BtfBuilder


def recorded() -> Iterator[tuple[str, bytes, str, str | None]]:
    """Name of the type, bytes, pretty text at depth 2, compact JSON if upstream's is valid."""
    for folder in sorted(samples.FIXTURES.glob("values/*")):
        compact = folder / "json"
        yield (
            folder.name.rpartition("-")[0],
            bytes.fromhex(folder.joinpath("bytes").read_text()),
            folder.joinpath("text").read_text(),
            compact.read_text() if compact.exists() else None,
        )


RECORDED = list(recorded())
BTF = Btf.from_bytes(samples.FIXTURES.joinpath("values.btf").read_bytes())


@pytest.mark.parametrize("name", sorted({name for name, *_ in RECORDED}))
def test_as_upstream(name: str) -> None:
    type_id = BTF.find(name)
    assert type_id is not None
    as_text = values.compile_text(BTF, type_id, 2, True)
    as_json = values.compile_json(BTF, type_id)
    for type, raw, text, compact in RECORDED:
        if type != name:
            continue
        shown = as_text(b"xyz" + raw, 3)
        built = jsontext.compact(builders.python_value(BTF, type_id, raw))
        assert built == as_json(raw, 0)
        if "(unsupported-kind)" in text:
            # Upstream gives up at floating-point numbers.
            assert json.loads(shown) == json.loads(built)
            assert any(isinstance(leaf, float) for leaf in _leaves(json.loads(built)))
        else:
            assert shown == _unsigned(text)
        if compact is not None:
            compact = _unsigned(compact)
            assert built == compact
            pretty = values.compile_json(BTF, type_id, 1, True)(raw, 0)
            assert json.loads(pretty) == json.loads(compact)


def _unsigned(text: str) -> str:
    """An answer of upstream, which shows unsigned enums signed, set right."""

    def enum64(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2]) + (1 << 64)}"

    return re.sub(r'("e64v": ?)(-[0-9]+)', enum64, text)


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return (
        [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]
    )


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("is_wide", [False, True])
def test_enums_have_their_own_sign(size: int, is_wide: bool) -> None:
    bits = 8 * size
    top = (1 << (bits if is_wide else min(bits, 32))) - 1
    builder = BtfBuilder()
    add = builder.add_enum64 if is_wide else builder.add_enum
    plain = add("plain", [("ZERO", 0), ("TOP", top)], size)
    signed = add("signed", [("ZERO", 0), ("LOW", -1)], size, signed=True)
    old = add("old", [("LOW", 0xFFFFFFFF)], size) if not is_wide else plain
    btf = Btf.from_bytes(builder.build())

    def show(type_id: int, value: int) -> object:
        raw = (value & (1 << bits) - 1).to_bytes(size, "little")
        text = values.text(btf, type_id, raw)
        assert values.compile_json(btf, type_id)(raw, 0) == text
        built = builders.python_value(btf, type_id, raw)
        assert jsontext.compact(built) == text
        return built

    assert show(plain, top) == "TOP"
    assert show(plain, (1 << bits) - 2) == (1 << bits) - 2
    assert show(plain, 0) == show(signed, 0) == "ZERO"
    assert show(signed, -1) == "LOW"
    assert show(signed, -2) == -2
    if not is_wide:
        # Compilers of before Linux 6.0 mark no enum as signed.
        assert show(old, -1) == "LOW"


def test_floating_point_in_text() -> None:
    builder = BtfBuilder()
    double = builder.add_float("double", 8)
    single = builder.add_float("float", 4)
    extended = builder.add_float("long double", 16)
    pair = builder.add_struct("pair", 16, [("d", double, 0), ("f", single, 64), ("g", single, 96)])
    btf = Btf.from_bytes(builder.build())
    raw = struct.pack("<dff", -2.5, 0.75, float("inf"))
    assert values.text(btf, pair, raw) == '{"d":-2.5,"f":0.75,"g":"inf"}'
    with pytest.raises(values.BadValue, match="cannot be shown"):
        values.text(btf, extended, bytes(16))


def test_short_data() -> None:
    type_id = BTF.find("big") or 0
    for compiled in (values.compile_text, values.compile_json, builders.compile_python):
        with pytest.raises(FormatError, match="fewer than its type"):
            compiled(BTF, type_id)(bytes(20), 0)


@pytest.mark.parametrize("order", ["little", "big"])
def test_bit_fields_of_both_orders(order: str) -> None:
    builder = BtfBuilder("little" if order == "little" else "big")
    number = builder.add_int("unsigned int", 4)
    fields = [("a", number, 0, 3), ("b", number, 3, 13), ("c", number, 16, 16)]
    packed = builder.add_struct("s", 4, fields)
    btf = Btf.from_bytes(builder.build())
    if order == "little":
        data = (5 | 0x1234 << 3 | 0xBEEF << 16).to_bytes(4, "little")
    else:
        data = (5 << 29 | 0x1234 << 16 | 0xBEEF).to_bytes(4, "big")
    assert values.text(btf, packed, data) == '{"a":0x5,"b":0x1234,"c":0xbeef}'
    assert builders.python_value(btf, packed, data) == {"a": "0x5", "b": "0x1234", "c": "0xbeef"}
    assert values.text(btf, number, struct.pack("<I" if order == "little" else ">I", 7)) == "7"


def test_kinds_without_values() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    fwd = builder.add_fwd("later")
    to_fwd = builder.add_typedef("t", fwd)
    tag = builder.add_type_tag("tag", number)
    proto = builder.add_func_proto(0)
    void = builder.add_typedef("nothing", 0)
    odd = builder.add_raw(6, "odd", 3, b"")
    strange = builder.add_raw(1, "strange", 4, struct.pack("<I", 9 << 24 | 32))
    holder = builder.add_struct("h", 8, [("n", number, 0), ("x", strange, 32), ("y", number, 0)])
    data = builder.add_array(fwd, number, 2)
    many = builder.add_array(proto, number, 2)
    tiny = builder.add_raw(1, "three", 3, struct.pack("<I", 24))
    btf = Btf.from_bytes(builder.build())

    def bad(type_id: int) -> str:
        with pytest.raises(values.BadValue) as error:
            values.text(btf, type_id, bytes(8))
        return error.value.text

    assert bad(fwd) == "(fwd-kind-invalid)"
    assert bad(to_fwd) == bad(void) == bad(odd) == bad(data) == bad(many) == ""
    assert bad(proto) == "(unsupported-kind)"
    assert values.text(btf, tag, b"\2\0\0\0") == "2"
    assert bad(holder) == '{"n":0,"x":}'
    assert values.text(btf, 0, b"") == "(unknown)"
    assert values.text(btf, tiny, b"\1\2\3") == "0x30201"
    as_json = values.compile_json(btf, holder)(bytes(8), 0)
    assert json.loads(as_json) == {"n": 0, "x": "0x0", "y": 0}
    for type_id in (fwd, to_fwd, proto, void, odd, data, many, 0):
        assert values.compile_json(btf, type_id)(bytes(8), 0) == "null"
        assert builders.python_value(btf, type_id, bytes(8)) is None
    assert builders.python_value(btf, tag, b"\2\0\0\0") == 2


def test_sections_and_variables() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    boolean = builder.add_int("_Bool", 1, BOOL)
    first = builder.add_var("first", number)
    second = builder.add_var("second", boolean)
    section = builder.add_datasec(".data", 5, [(first, 0, 4), (second, 4, 1)])
    btf = Btf.from_bytes(builder.build())
    data = b"\5\0\0\0\1"
    expected = '{".data":[{"first":5},{"second":true}]}'
    assert values.text(btf, section, data) == expected
    assert jsontext.compact(builders.python_value(btf, section, data)) == expected
    pretty = values.text(btf, section, data, 0, 0, True)
    assert pretty == jsontext.pretty(builders.python_value(btf, section, data))


def test_characters() -> None:
    builder = BtfBuilder()
    char = builder.add_int("char", 1, CHAR)
    text = builder.add_array(char, char, 4)
    btf = Btf.from_bytes(builder.build())
    assert values.text(btf, char, b"a") == '"a"'
    assert values.text(btf, char, b'"') == '"""'
    assert values.text(btf, char, b"\x80") == "0x80"
    assert values.compile_json(btf, char)(b'"', 0) == '"\\""'
    assert values.compile_json(btf, char)(b"\n", 0) == '"\\u000a"'
    assert values.text(btf, text, b'a"\0z') == '"a\\""'
    assert values.text(btf, text, b"abcd") == '["a","b","c","d"]'
    assert builders.python_value(btf, text, b"ab\0\0") == "ab"


def test_function_pointers() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    callback = builder.add_ptr(builder.add_func_proto(number, [("a", number)]))
    ops = builder.add_struct(
        "ops", 24, [("f", callback, 0), ("g", callback, 64), ("h", callback, 128)]
    )
    btf = Btf.from_bytes(builder.build())
    data = struct.pack("<3Q", 0, 7, 1 << 40)
    names = {7: "prog"}
    shown = values.compile_text(btf, ops, prog_name=names.get)(data, 0)
    assert shown == '{"f":"int (int a) 0","g":"int (int a) prog/prog_id:7","h":"0x10000000000"}'
    built = builders.python_value(btf, ops, data, prog_name=lambda prog_id: None)
    assert built == {
        "f": "int (int a) 0",
        "g": "int (int a) <unknown_prog_name>/prog_id:7",
        "h": 1 << 40,
    }
    assert len(scalars.func_pointer_text("x" * 1015, 123456, names.get)) == 1023


def test_types_made_to_explode() -> None:
    builder = BtfBuilder()
    inner = builder.add_int("int", 4)
    for _ in range(40):
        inner = builder.add_struct("s", 4, [("a", inner, 0), ("b", inner, 0)])
    empty = builder.add_array(builder.add_struct("e", 0), inner, 0x7FFFFFFF)
    loop = builder.add_struct("loop", 4, [("again", builder.next_id, 0)])
    btf = Btf.from_bytes(builder.build())
    for type_id in (inner, empty, loop):
        with pytest.raises(FormatError):
            values.text(btf, type_id, bytes(4))


def test_an_array_beyond_what_a_32_bit_python_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_MOST_BYTES", (1 << 31) - 1)
    builder = BtfBuilder()
    number = builder.add_int("unsigned int", 4)
    array = builder.add_array(number, number, 1 << 29)
    record = builder.add_struct("big", 1 << 31, [("all", array, 0)])
    with pytest.raises(FormatError, match="an array of 2147483648 bytes does not fit the memory"):
        values.compile_text(Btf.from_bytes(builder.build()), record)
