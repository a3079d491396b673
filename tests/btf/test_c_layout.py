"""A C dump, compiled, has the sizes, offsets, bit-fields and values that the BTF has."""

from __future__ import annotations

import functools
import random
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pybpftool.btf.c import dump as cdump
from pybpftool.btf.c import ordinary
from pybpftool.btf.c.text import Texts
from pybpftool.btf.load import vmlinux
from pybpftool.btf.table import Btf
from tests.support import btfsamples as samples
from tests.support.bpfc import bpf_clang
from tests.support.btfbuild import SIGNED, BtfBuilder, Member
from tests.support.cli import run

THROUGH = ("CONST", "VOLATILE", "RESTRICT", "TYPEDEF", "TYPE_TAG")
DEFINED = ("STRUCT", "UNION", "ENUM", "ENUM64")
Types = dict[int, dict[str, Any]]


def types_of(path: Path) -> Types:
    found = run("-j", "btf", "dump", "file", str(path)).json["types"]
    return {row["id"]: row for row in found}


def members_of(types: Types, row: dict[str, Any], base: int = 0) -> list[tuple[object, ...]]:
    """(name, bit offset, bits of a bit-field, size) of all that can be named."""
    found: list[tuple[object, ...]] = []
    for member in row["members"]:
        place = base + member["bits_offset"]
        id = member["type_id"]
        while id and types[id]["kind"] in THROUGH:
            id = types[id]["type_id"]
        target = types.get(id, {})
        if member["name"] == "(anon)":
            found += members_of(types, target, place)
        else:
            size = target.get("size"), target.get("nr_elems")
            found.append((member["name"], place, member.get("bitfield_size", 0), size))
    return sorted(found, key=str)


def layouts(types: Types) -> dict[str, object]:
    """What is to be kept of all structs, unions and enums with names."""
    found: dict[str, object] = {}
    for row in types.values():
        if row["kind"] in ("STRUCT", "UNION") and row["name"] != "(anon)":
            found[row["name"]] = (row["size"], members_of(types, row))
        elif row["kind"] in ("ENUM", "ENUM64") and row["name"] != "(anon)":
            values = [(value["name"], value["val"]) for value in row["values"]]
            found[row["name"]] = (row["size"], values)
    return found


@functools.cache
def knows_signs() -> bool:
    """Whether the compiler tells signed enumerations from others, as clang 15 does."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "sign.c")
        source.write_text("enum sign { BELOW = -1 } sign;\n")
        made = source.with_suffix(".o")
        words = [bpf_clang(), "-target", "bpf", "-g", "-c", str(source), "-o", str(made)]
        subprocess.run(words, check=True)
        return layouts(types_of(made))["sign"] == (4, [("BELOW", -1)])


def comparable(layout: Any) -> object:
    """A layout with what the compiler can keep of it: an old one, 32 bits of an enumerator."""
    size, named = layout
    if named and len(named[0]) == 2 and not knows_signs():
        return size, [(name, value & 0xFFFFFFFF) for name, value in named]
    return layout


def keyword(row: dict[str, Any]) -> str:
    return "enum" if row["kind"].startswith("ENUM") else str(row["kind"]).lower()


def assert_kept(path: Path, directory: Path, what: str, *form: str) -> int:
    """Compile the dump of a file and compare; the number of types that it has."""
    dump = run("btf", "dump", "file", str(path), "format", "c", *form)
    assert dump.status == 0, (what, dump.errors)
    types = types_of(path)
    before = layouts(types)
    if not before:
        return 0  # clang makes no BTF of nothing
    names = {
        row["name"]: keyword(row)
        for row in types.values()
        if row["kind"] in DEFINED and row["name"] in before
    }
    source = directory / "through.c"
    uses = "".join(f"{word} {name} use_{name};\n" for name, word in names.items())
    source.write_bytes(dump.out + uses.encode())
    made = directory / "through.o"
    words = [bpf_clang(), "-target", "bpf", "-g", "-O1", "-w", "-c", str(source), "-o", str(made)]
    compiled = subprocess.run(words, check=False, capture_output=True, text=True)
    assert compiled.returncode == 0, (what, compiled.stderr[:2000])
    after = layouts(types_of(made))
    for name, expected in before.items():
        if expected[0]:  # type: ignore[index]  # clang leaves out what has no size
            assert comparable(after[name]) == comparable(expected), f"{what}: {name}"
    return len(before)


CASES = """\
union slot { unsigned char raw[3]; } __attribute__((aligned(8)));
struct ring { union slot s; unsigned int tail; } ring;
union line { unsigned char raw[3]; int q; } __attribute__((aligned(64)));
struct lines { union line s; unsigned int tail; } lines;
struct bits { int x: 20; int y: 20; int z: 24; } __attribute__((packed));
struct around { struct bits a; char c; struct bits b; } around;
struct behind { char c; struct bits b __attribute__((aligned(4))); } behind;
enum half { HALF_A = 1, HALF_B = 50000 } __attribute__((mode(HI)));
enum byte { BYTE_A = -1, BYTE_B = 100 } __attribute__((mode(QI)));
enum wide { WIDE_A = -1, WIDE_B = 5 } __attribute__((mode(DI)));
enum high { HIGH_A = 1, HIGH_B = 1ull << 40 };
struct enums { enum half h, i; enum byte b; enum wide w; enum high g; } enums;
union tight { short s[3]; int x; } __attribute__((packed));
struct tights { char c; union tight t[3]; } tights;
struct quads { long c; __int128 i; long d; } __attribute__((packed, aligned(8)));
struct quad { int c; __int128 i; long d; };
struct more { struct quad a; struct quads b; char c; } more;
struct nothing { } __attribute__((aligned(32)));
struct far { int a; int b __attribute__((aligned(64))); char c; struct nothing d; } far;
struct flags { unsigned a: 1; unsigned: 0; unsigned b: 31; unsigned long c: 33; _Bool d: 1; } flags;
struct inner {
    union { struct { char a; int b; } __attribute__((packed)); char all[9]; };
    struct { short s: 3; short t: 9; } __attribute__((packed, aligned(16))) in[2];
} inner;
"""


def test_what_upstream_misplaces(tmp_path: Path) -> None:
    source = tmp_path / "case.c"
    source.write_text(CASES)
    made = tmp_path / "case.o"
    words = [bpf_clang(), "-target", "bpf", "-g", "-O1", "-c", str(source), "-o", str(made)]
    subprocess.run(words, check=True)
    assert assert_kept(made, tmp_path, "cases") == 21
    assert assert_kept(made, tmp_path, "cases", "unsorted") == 21


def c_text(builder: BtfBuilder) -> str:
    return "".join(cdump.blocks(Btf.from_bytes(builder.build())))


def test_upstream_s_form_where_it_leads_to_the_places() -> None:
    """``: 0`` aligns in what is packed, too, and numbers of 128 bits do in a union."""
    builder = BtfBuilder()
    char, number = builder.add_int("char", 1), builder.add_int("int", 4, SIGNED)
    pair = builder.add_struct("pair", 8, [("x", char, 0), ("y", number, 32)])
    builder.add_struct("p", 12, [("a", char, 0), ("b", pair, 8)])
    builder.add_struct("q", 12, [("a", number, 0, 3), ("b", number, 8, 0), ("c", number, 64, 0)])
    wide = builder.add_int("__int128", 16, SIGNED)
    builder.add_union("u", 16, [("a", builder.add_array(wide, number, 0), 0), ("c", char, 0)])
    text = c_text(builder)
    packed = "__attribute__((packed))"
    assert f"struct p {{\n\tchar a;\n\tstruct pair b;\n\tint: 0;\n}} {packed};" in text
    assert f"struct q {{\n\tint a: 3;\n\tint b;\n\tlong: 0;\n\tint c;\n}} {packed};" in text
    assert "union u {\n\t__int128 a[0];\n\tchar c;\n};" in text


def test_bit_fields_that_begin_a_unit_of_their_own() -> None:
    """Upstream has a compiler put them behind the member before them."""
    builder = BtfBuilder()
    char, number = builder.add_int("char", 1), builder.add_int("int", 4, SIGNED)
    high = builder.add_enum64("high", [("HIGH", 1 << 40)])
    builder.add_struct("q", 8, [("b", char, 0, 0), ("c", number, 32, 12)])
    builder.add_struct("r", 16, [("b", number, 0, 0), ("c", high, 64, 12)])
    text = c_text(builder)
    assert "struct q {\n\tchar b;\n\tint: 24;\n\tint c: 12;\n\tint: 20;\n}" in text
    assert "struct r {\n\tint b;\n\tint: 32;\n\tenum high c: 12;\n\tlong: 52;\n}" in text


def test_gaps_of_32_bit_machines() -> None:
    """There a long has 32 bits."""
    builder = BtfBuilder()
    long, char = builder.add_int("long int", 4, SIGNED), builder.add_int("char", 1)
    wide = builder.add_int("long long int", 8, SIGNED)
    builder.add_union("u", 16, [("a", long, 0)])
    builder.add_struct("q", 20, [("a", char, 0), ("b", wide, 0), ("c", char, 128)])
    builder.add_struct("r", 16, [("a", wide, 80, 48)])
    text = c_text(builder)
    assert "long: 32;" in text
    assert ": 64;" not in text


def is_compiled(name: str) -> bool:
    return name.startswith(("clang", "pahole"))


@pytest.mark.parametrize("name", [*filter(is_compiled, samples.blobs())])
def test_samples(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sample.btf"
    path.write_bytes(samples.blobs()[name])
    assert assert_kept(path, tmp_path, name) > 5


class Sample:
    """Types that no compiler need have made: members anywhere, also one upon the other."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.b = BtfBuilder()
        b = self.b
        self.numbers = [
            (b.add_int("char", 1), 8),
            (b.add_int("short", 2, SIGNED), 16),
            (b.add_int("unsigned int", 4), 32),
            (b.add_int("long", 8, SIGNED), 64),
        ]
        self.known = [*self.numbers, (b.add_ptr(0), 64)]
        if self.chance.random() < 0.3:
            self.known.append((b.add_int("__int128", 16, SIGNED), 128))
        self.count = 0
        for _ in range(self.chance.randrange(2, 12)):
            self.add()

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def add(self) -> None:
        what = self.chance.randrange(9)
        type_id, bits = self.chance.choice(self.known)
        if what == 0:
            count = self.chance.randrange(1, 5)
            array = self.b.add_array(type_id, self.numbers[2][0], count)
            self.known.append((array, bits * count))
        elif what == 1:
            self.known.append((self.b.add_typedef(self.name("t"), type_id), bits))
        elif what == 2:
            self.known.append(self.enum())
        else:
            self.known.append(self.composite("s" if what < 7 else "u"))

    def enum(self) -> tuple[int, int]:
        size = self.chance.choice((1, 2, 4, 8))
        signed = self.chance.random() < 0.5
        bits = 8 * size - (1 if signed else 0)
        name = self.name("e")
        values = []
        for index in range(self.chance.randrange(1, 5)):
            most = 1 << self.chance.randrange(1, bits + 1)
            value = self.chance.randrange(-most if signed else 0, most)
            values.append((f"{name}_{index}", value))
        add = self.b.add_enum64 if size == 8 else self.b.add_enum
        return add(name, values, size, signed=signed), 8 * size

    def composite(self, kind: str) -> tuple[int, int]:
        chance = self.chance
        members: list[Member] = []
        end = 0
        widest = 0
        is_wild = chance.random() < 0.3
        has_bits = chance.random() < 0.4
        for index in range(chance.randrange(0 if kind == "s" else 1, 6)):
            type_id, bits = chance.choice(self.known)
            place = 0
            if kind == "s":
                step = chance.choice((8, 8, 16, 32, 64))
                place = (end + step - 1) // step * step + 8 * chance.choice((0, 0, 0, 1, 4, 40))
                if is_wild and chance.random() < 0.3:
                    place = 8 * chance.randrange(64)
            elif is_wild and chance.random() < 0.2:
                place = 8 * chance.randrange(16)
            width = 0
            if has_bits and chance.random() < 0.6:
                type_id, bits = chance.choice(self.numbers)
                width = chance.randrange(1, bits + 1)
                place = end + chance.choice((0, 0, 0, 1, 7, 30)) if kind == "s" else 0
            members.append((f"m{index}", type_id, place, width))
            end = place + (width or bits)
            widest = max(widest, end)
        size = (widest + 7) // 8
        step = chance.choice((1, 2, 4, 8, 8, 64))
        size = (size + step - 1) // step * step
        name = self.name(kind) if chance.random() < 0.8 else ""
        add = self.b.add_struct if kind == "s" else self.b.add_union
        return add(name, size, members), 8 * size


@pytest.mark.parametrize("seed", range(6))
def test_random_types(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "random.btf"
    path.write_bytes(Sample(seed).b.build())
    assert_kept(path, tmp_path, f"seed {seed}")


def written(btf: Btf, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """The structs that are written together, after a dump's text was found to be the same
    as where each is written for itself."""
    together: dict[int, str] = {}

    def noted(texts: Texts, structs: Sequence[int]) -> dict[int, str]:
        together.update(ordinary.definitions(texts, structs))
        return together

    for is_sorted in (True, False):
        monkeypatch.setattr("pybpftool.btf.c.text.definitions", noted)
        text = "".join(cdump.blocks(btf, (), is_sorted))
        monkeypatch.setattr("pybpftool.btf.c.text.definitions", lambda texts, structs: {})
        assert text == "".join(cdump.blocks(btf, (), is_sorted))
    return together


def test_structs_that_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # Small ones are looked at one by one as a rule.
    monkeypatch.setattr("pybpftool.btf.c.text._FEW_WORDS", 0)
    blobs = [Sample(seed).b.build() for seed in range(600)]
    blobs += [samples.blobs()[name] for name in samples.blobs()]
    counts = [len(written(Btf.from_bytes(blob), monkeypatch)) for blob in blobs]
    assert sum(map(bool, counts)) > 100
    assert sum(counts) > 250


@pytest.mark.live
def test_the_kernel_s_structs_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.sched_getaffinity", lambda pid: {0})
    assert len(written(vmlinux(), monkeypatch)) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(2))
def test_many_random_types(tmp_path: Path, batch: int) -> None:
    path = tmp_path / "random.btf"
    for seed in range(1000 + batch * 40, 1040 + batch * 40):
        path.write_bytes(Sample(seed).b.build())
        assert_kept(path, tmp_path, f"seed {seed}")


@pytest.mark.slow  # a compiler at work on a whole kernel
@pytest.mark.live
def test_the_running_kernel(tmp_path: Path) -> None:
    """Of this kernel's structs and unions; enums share names of values, which get numbers."""
    path = Path("/sys/kernel/btf/vmlinux")
    dump = run("btf", "dump", "file", str(path), "format", "c")
    types = types_of(path)
    rows = [row for row in types.values() if row["kind"] in ("STRUCT", "UNION", "ENUM", "FWD")]
    names = [row["name"] for row in rows]
    single = {
        row["name"]: row
        for row in rows
        if row["kind"] in ("STRUCT", "UNION")
        and row["name"] != "(anon)"
        and names.count(row["name"]) == 1
        and row.get("size")
    }
    source = tmp_path / "through.c"
    uses = "".join(f"{keyword(row)} {name} use_{name};\n" for name, row in single.items())
    source.write_bytes(dump.out + uses.encode())
    made = tmp_path / "through.o"
    words = [bpf_clang(), "-target", "bpf", "-g", "-O0", "-w", "-c", str(source), "-o", str(made)]
    subprocess.run(words, check=True)
    before, after = layouts(types), layouts(types_of(made))
    different = [name for name in single if after.get(name) != before[name]]
    assert set(different) <= {"warn_args"}  # its va_list is another one for BPF
    assert len(single) > 5000
