"""The types of several BTF objects under numbers and names that all share."""

from __future__ import annotations

import pytest

from pybpftool.btf.concat import concatenated
from pybpftool.btf.encode import encode
from pybpftool.btf.rawdump import text_blocks
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from tests.support.btfbuild import SIGNED, BtfBuilder


def _base() -> Btf:
    builder = BtfBuilder()
    builder.add_int("int", 4, SIGNED)
    builder.add_struct("shared", 4, [("a", 1, 0)])
    return Btf.from_bytes(builder.build())


BASE = _base()


def _part(name: str, member: str) -> Btf:
    builder = BtfBuilder(first_id=BASE.count, base_strings=BASE.string_end)
    pointer = builder.add_ptr(2)
    struct_id = builder.add_struct(name, 16, [("a", pointer, 0), (member, 1, 64)])
    builder.add_func(f"{name}_work", builder.add_func_proto(1, [("x", struct_id)]))
    return Btf.from_bytes(builder.build(), BASE)


def _lines(types: list[list[int]], strings: bytes) -> list[str]:
    btf = Btf.from_bytes(encode(types, strings), BASE)
    return "".join(text_blocks(btf)).splitlines()


def test_types_follow_one_another_and_refer_to_their_own() -> None:
    types, strings = concatenated([("1", _part("one", "n")), ("2", _part("two", "n"))], BASE)
    assert _lines(types, strings) == [
        "[3] PTR '(anon)' type_id=2",
        "[4] STRUCT 'one' size=16 vlen=2",
        "\t'a' type_id=3 bits_offset=0",
        "\t'n' type_id=1 bits_offset=64",
        "[5] FUNC_PROTO '(anon)' ret_type_id=1 vlen=1",
        "\t'x' type_id=4",
        "[6] FUNC 'one_work' type_id=5 linkage=static",
        "[7] PTR '(anon)' type_id=2",
        "[8] STRUCT 'two' size=16 vlen=2",
        "\t'a' type_id=7 bits_offset=0",
        "\t'n' type_id=1 bits_offset=64",
        "[9] FUNC_PROTO '(anon)' ret_type_id=1 vlen=1",
        "\t'x' type_id=8",
        "[10] FUNC 'two_work' type_id=9 linkage=static",
    ]


def test_equal_strings_have_one_offset_the_bases_if_it_has_them() -> None:
    types, strings = concatenated([("1", _part("one", "n")), ("2", _part("one", "m"))], BASE)
    first, second = types[1], types[5]
    assert (first[0], first[3]) == (second[0], second[3])
    assert BASE.names[first[3]] == "a"
    section = b"".join((BASE.names.raw, strings))
    assert [section[at:].split(b"\0")[0] for at in (first[0], first[6], second[6])] == [
        b"one",
        b"n",
        b"m",
    ]


def test_a_name_may_be_the_end_of_another_string() -> None:
    part = _part("one", "n")
    words = [*part.words]
    at = part.own_offsets()[1] - 1
    words[at] += 1
    raw = encode([words], part.names.raw)
    types, strings = concatenated([("1", Btf.from_bytes(raw, BASE))], BASE)
    assert _lines(types, strings)[1].startswith("[4] STRUCT 'ne' ")


def test_the_end_of_a_string_may_be_a_string_of_the_base_or_of_another() -> None:
    found = []
    for shared in ("un_shared", "un_fresh"):
        part = _part(shared, "n")
        words = [*part.words]
        words[part.own_offsets()[1] - 1] += 3
        found.append(Btf.from_bytes(encode([words], part.names.raw), BASE))
    types, strings = concatenated([("1", found[0]), *[("2", found[1])] * 2], BASE)
    assert types[1][0] == BASE.words[BASE.own_offsets()[1] - 1]
    assert types[5][0] == types[9][0] >= BASE.string_end
    assert b"".join((BASE.names.raw, strings))[types[5][0] :].startswith(b"fresh\0")


def test_another_base_is_refused() -> None:
    with pytest.raises(FormatError, match="'other' has a base of its own"):
        concatenated([("other", _base())], BASE)
