"""Layouts of structs: holes, padding, cache lines."""

from __future__ import annotations

from pybpftool.btf.layout import Gap
from pybpftool.btf.python import Type
from pybpftool.btf.table import Btf
from pybpftool.btf.types import Types
from tests.support.btfbuild import BtfBuilder


def build() -> Types:
    b = BtfBuilder()
    u8 = b.add_int("u8", 1)
    u32 = b.add_int("u32", 4)
    u64 = b.add_int("u64", 8)
    inner = b.add_struct("", 16, [("x", u8, 0), ("y", u64, 64)])
    big = b.add_array(u8, u32, 60)
    b.add_struct("holed", 24, [("a", u8, 0), ("b", u64, 64), ("c", u32, 128)])
    b.add_struct("bits", 8, [("f", u32, 0, 3), ("g", u32, 8, 4), ("h", u32, 32)])
    b.add_union("either", 8, [("a", u8, 0), ("b", u64, 0)])
    b.add_struct("nested", 88, [("big", big, 0), ("in", inner, 512), ("last", u32, 640)])
    b.add_struct("empty", 0)
    b.add_struct("tight", 8, [("a", u32, 0), ("b", u32, 32)])
    return Types(Btf.from_bytes(b.build()))


def layout_of(name: str) -> Type:
    return build()[name]


def test_holes_and_padding() -> None:
    layout = layout_of("holed").layout()
    assert layout.holes == [Gap(8, 56, "u8 a")]
    assert (layout.holes[0].offset, layout.holes[0].size) == (1, 7)
    assert layout.padding == Gap(160, 32, "u32 c")
    assert layout.unused == 11
    assert layout.cache_lines == 1


def test_without_holes() -> None:
    layout = layout_of("tight").layout()
    assert (layout.holes, layout.padding, layout.unused) == ([], None, 0)
    assert layout_of("empty").layout().padding is None
    either = layout_of("either").layout()
    assert (either.holes, either.padding) == ([], None)


def test_holes_of_bits() -> None:
    layout = layout_of("bits").layout()
    assert [(hole.bit_offset, hole.bit_size) for hole in layout.holes] == [(3, 5), (12, 20)]
    assert "/* XXX 5 bits hole */" in str(layout)
    assert "/* XXX 2 bytes and 4 bits hole */" in str(layout)


def test_text() -> None:
    assert str(layout_of("holed").layout()) == (
        "struct holed {\n"
        "\tu8 a;                                    /*     0     1 */\n"
        "\n"
        "\t/* XXX 7 bytes hole */\n"
        "\n"
        "\tu64 b;                                   /*     8     8 */\n"
        "\tu32 c;                                   /*    16     4 */\n"
        "\n"
        "\t/* size: 24, cachelines: 1, members: 3 */\n"
        "\t/* holes: 1, sum holes: 7 */\n"
        "\t/* padding: 4 bytes */\n"
        "\t/* last cacheline: 24 bytes */\n"
        "};\n"
    )


def test_nameless_structs_are_written_out_with_offsets_from_the_outermost() -> None:
    text = str(layout_of("nested").layout())
    assert "\t\tu64 y;                           /*    72     8 */" in text
    assert "\t} in;                                    /*    64    16 */" in text
    assert "\t/* --- cacheline 1 boundary (64 bytes) --- */" in text


def test_as_plain_data() -> None:
    data = layout_of("bits").layout().as_json()
    assert data["size"] == 8
    assert data["members"][0] == {
        "name": "f",
        "type": "u32",
        "offset": 0,
        "size": 4,
        "bit_offset": 0,
        "bit_size": 3,
    }
    assert data["holes"][0] == {"bit_offset": 3, "bit_size": 5}
    assert data["padding"] is None
