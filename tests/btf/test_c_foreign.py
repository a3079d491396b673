"""C dumps of what no compiler of C makes keep sizes, offsets, bit-fields and values.

As tests/btf/test_c_layout.py, for other languages' names, numbers and members.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pybpftool.btf.c.identifiers import Identifiers
from pybpftool.btf.keywords import is_identifier
from pybpftool.btf.load import from_file
from tests.support.bpfc import bpf_clang
from tests.support.btfbuild import BOOL, SIGNED, BtfBuilder, Member
from tests.support.btfsamples import FIXTURES
from tests.support.cli import run

THROUGH = ("CONST", "VOLATILE", "RESTRICT", "TYPEDEF", "TYPE_TAG")
TAGS = ("STRUCT", "UNION", "ENUM", "ENUM64", "FWD")
# Name, whether its width makes it a bit-field, then place, width (or size).
Field = tuple[str, int, int, object]


def types_of(path: Path) -> dict[int, dict[str, Any]]:
    found = run("-j", "btf", "dump", "file", str(path)).json["types"]
    return {row["id"]: row for row in found}


def behind(types: dict[int, dict[str, Any]], id: int) -> dict[str, Any]:
    while id and types[id]["kind"] in THROUGH:
        id = types[id]["type_id"]
    return types.get(id, {"kind": "VOID"})


def has_size(types: dict[int, dict[str, Any]], target: dict[str, Any]) -> bool:
    while target["kind"] == "ARRAY":
        target = behind(types, target["type_id"])
    return target["kind"] not in ("VOID", "FUNC_PROTO", "FWD")


def fields(types: dict[int, dict[str, Any]], row: dict[str, Any], base: int = 0) -> list[Field]:
    found: list[Field] = []
    for member in row["members"]:
        place = base + member["bits_offset"]
        target = behind(types, member["type_id"])
        width = member.get("bitfield_size", 0)
        if not has_size(types, target) or member["bits_offset"] >= row["size"] * 8 > 0:
            continue
        if target["kind"] == "INT" and not width and target["nr_bits"] < target["size"] * 8:
            place += target["bits_offset"]
            width = target["nr_bits"]
        direct = types.get(member["type_id"], {})
        if (
            (member["name"], direct.get("name")) == ("(anon)", "(anon)")
            and "members" in direct
            and not width
        ):
            found += fields(types, target, place)
        elif width:
            found.append((member["name"], place, width, None))
        else:
            found.append((member["name"], place, 0, (target.get("size"), target.get("nr_elems"))))
    return found


def unique(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count == 1 and name != "(anon)"}


def assert_kept(path: Path, directory: Path, what: str, *form: str, min_types: int = 1) -> None:
    dump = run("btf", "dump", "file", str(path), "format", "c", *form)
    assert dump.status == 0, (what, dump.errors)
    types = types_of(path)
    identifiers = Identifiers(from_file(str(path)))

    def in_c(name: str) -> str:
        return name if is_identifier(name) else identifiers.of(name)

    names = unique([row["name"] for row in types.values() if row["kind"] in (*TAGS, "INT")])
    rows = {
        in_c(row["name"]): row
        for row in types.values()
        if row["name"] in names
        and row["kind"] in TAGS[:4]
        and (row.get("members") or row.get("values"))
    }
    assert len(rows) >= min_types
    if not rows:
        return  # clang makes no BTF of nothing
    source = directory / "through.c"
    words = {"STRUCT": "struct", "UNION": "union", "ENUM": "enum", "ENUM64": "enum"}
    uses = "".join(f"{words[row['kind']]} {name} use_{name};\n" for name, row in rows.items())
    source.write_bytes(dump.out + uses.encode())
    made = directory / "through.o"
    command = [bpf_clang(), "-target", "bpf", "-g", "-O1", "-w", "-c", str(source), "-o", str(made)]
    compiled = subprocess.run(command, check=False, capture_output=True, text=True)
    assert compiled.returncode == 0, (what, compiled.stderr[:2000])
    after_types = types_of(made)
    after = {row["name"]: row for row in after_types.values() if row["kind"] in TAGS[:4]}
    for name, row in rows.items():
        if not row["size"]:
            continue  # clang leaves out what has no size
        place = (what, name)
        assert after[name]["size"] == row["size"], place
        if "values" in row:
            kept = [(value["name"], value["val"] & 0xFFFFFFFF) for value in row["values"]]
            found = [(value["name"], value["val"] & 0xFFFFFFFF) for value in after[name]["values"]]
            assert [value for _, value in found] == [value for _, value in kept], place
            continue
        before_fields = fields(types, row)
        after_fields = fields(after_types, after[name])
        assert sorted([str(field[1:]) for field in before_fields]) == sorted(
            [str(field[1:]) for field in after_fields]
        ), place
        own = unique([field[0] for field in before_fields])
        assert {in_c(field) for field in own} <= {field[0] for field in after_fields}, place


NAMES = (
    "Option<u32>", "Option(u32)", "{closure#0}", "[]const u8", "operator==", "int", "struct", "_",
    "default", "9", "größe", "*/", "a\nb", '"', "class", "\udcff", "%s", "typeof", "x", "y",
    "std::vector<int, std::allocator<int> >", "x___2",
)  # fmt: skip


class Foreign:
    """Types as other languages have them, old compilers or nobody."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.b = BtfBuilder()
        b = self.b
        self.int = b.add_int("int", 4, SIGNED)
        self.known: list[tuple[int, int]] = [
            (b.add_int("u8", 1), 8),
            (b.add_int("usize", 8), 64),
            (b.add_int("char", 4), 32),
            (b.add_int("bool", 1, BOOL), 8),
            (b.add_int("u24", 3), 24),
            (b.add_int("i128", 16, SIGNED), 128),
            (b.add_int("u3", 1, bits=3, offset=2), 8),
            (b.add_int("unsigned int", 4, bits=11, offset=self.chance.randrange(21)), 32),
            (b.add_int("unsigned int", 4), 32),
            (b.add_float("half", 2), 16),
            (b.add_float("f64", 8), 64),
            (b.add_float("long double", self.chance.choice((12, 16))), 0),
            (b.add_enum("never", [], self.chance.choice((1, 2, 4, 8))), 0),
            (b.add_enum("", [], 2), 16),
        ]
        self.known = [(id, bits) for id, bits in self.known if bits] + [(self.int, 32)]
        b.add_typedef("[]u8", self.int)
        fwd = b.add_fwd("x", union=self.chance.random() < 0.5)
        self.known.append((b.add_ptr(fwd), 64))
        self.sizeless = [0, fwd, b.add_func_proto(self.int, [("a", self.int), ("a", fwd), ("", 0)])]
        self.sizeless.append(b.add_array(fwd, self.int, 0))
        for _ in range(self.chance.randrange(3, 14)):
            self.add()

    def name(self) -> str:
        return self.chance.choice(NAMES) if self.chance.random() < 0.7 else f"n{self.b.next_id}"

    def add(self) -> None:
        type_id, bits = self.chance.choice(self.known)
        what = self.chance.randrange(8)
        if what == 0:
            self.known.append((self.b.add_array(type_id, self.int, 3), bits * 3))
        elif what == 1:
            self.known.append((self.b.add_typedef(f"{self.name()}t", type_id), bits))
        elif what == 2:
            values = [(self.name(), self.chance.randrange(100)) for _ in range(3)]
            self.known.append((self.b.add_enum(self.name(), values), 32))
        elif what == 3:
            least = [("least", -(1 << 63)), (self.name(), (1 << 63) - 1)]
            self.known.append((self.b.add_enum64(self.name(), least, signed=True), 64))
        else:
            self.known.append(self.composite(what == 4))

    def composite(self, is_union: bool) -> tuple[int, int]:
        chance = self.chance
        members: list[Member] = []
        end = widest = 0
        has_bits = chance.random() < 0.3
        for _ in range(chance.randrange(0, 6)):
            name = "" if chance.random() < 0.1 else self.name()
            if chance.random() < 0.15:
                members.append((name, chance.choice(self.sizeless), 8 * chance.randrange(64), 0))
                continue
            type_id, bits = chance.choice(self.known)
            place = 0 if is_union else (end + 7) // 8 * 8 + 8 * chance.choice((0, 0, 1, 5))
            is_bits = has_bits and bits and chance.random() < 0.5
            width = chance.randrange(1, min(bits, 64) + 1) if is_bits else 0
            members.append((name, type_id, place, width))
            end = place + (width or bits)
            widest = max(widest, end)
        size = (widest + 7) // 8
        step = chance.choice((1, 4, 8, 8))
        size = (size + step - 1) // step * step
        add = self.b.add_union if is_union else self.b.add_struct
        return add("" if chance.random() < 0.2 else self.name(), size, members), 8 * size


@pytest.mark.parametrize("seed", range(8))
def test_random_types(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "foreign.btf"
    path.write_bytes(Foreign(seed).b.build())
    assert_kept(path, tmp_path, f"seed {seed}", min_types=0)
    assert_kept(path, tmp_path, f"seed {seed}", "unsorted", min_types=0)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(2))
def test_many_random_types(tmp_path: Path, batch: int) -> None:
    path = tmp_path / "foreign.btf"
    for seed in range(1000 + batch * 60, 1060 + batch * 60):
        path.write_bytes(Foreign(seed).b.build())
        assert_kept(path, tmp_path, f"seed {seed}", min_types=0)


def test_rust(tmp_path: Path) -> None:
    assert_kept(FIXTURES / "foreign" / "rust.btf", tmp_path, "rust", min_types=80)


CXX = """\
namespace ns {
template <class T, int N> struct arr { T v[N]; bool operator==(const arr &) const; };
enum class Col : unsigned char { red = 1, blue = 255 };
struct Base { int first; };
struct D : Base, arr<int, 3> {
    Col c : 8; char16_t u; wchar_t w; bool x; int (*fp)(const D &, ...); int &ref;
    struct { int class_; };
};
template <class K, class V> struct map {
    struct node { K k; V v; node *l, *r; } *root; union { K k; V v; };
};
}
ns::map<ns::arr<int, 5>, ns::map<ns::Col, ns::D *>> table;
extern "C" int first(ns::D *d) { return d->v[0] + d->first + (d->c == ns::Col::red); }
extern "C" int size(ns::arr<int, 2> *a) { return a->v[1]; }
"""


def test_cxx(tmp_path: Path) -> None:
    source = tmp_path / "case.cc"
    source.write_text(CXX)
    made = tmp_path / "case.o"
    command = [bpf_clang(), "-x", "c++", "-std=c++17", "-target", "bpf", "-g", "-O1", "-c"]
    subprocess.run([*command, str(source), "-o", str(made)], check=True)
    assert_kept(made, tmp_path, "c++", min_types=4)
    assert (
        "/* no place for operator__ */" in run("btf", "dump", "file", str(made), "format", "c").text
    )


def dumped(builder: BtfBuilder, path: Path, *words: str) -> str:
    path.write_bytes(builder.build())
    result = run("btf", "dump", "file", str(path), "format", "c", *words)
    assert (result.status, result.errors) == (0, "")
    return result.text


def test_enums_without_values(tmp_path: Path) -> None:
    """Declared as ever where pointers lead to them, with their size where members are such."""
    btf = BtfBuilder()
    pointed = btf.add_enum("pointed", [])
    used = btf.add_enum("used", [], 2)
    btf.add_struct(
        "both",
        24,
        [("p", btf.add_ptr(pointed), 0), ("u", used, 64), ("n", btf.add_enum("", []), 96)],
    )
    for words in ((), ("unsorted",), ("root_id", str(btf.next_id - 1))):
        text = dumped(btf, tmp_path / "enums.btf", *words)
        assert "enum pointed;\n" in text
        assert "enum used : unsigned short;\n" in text
        assert "\tenum used u;\n" in text
        assert "\tunsigned int n;\n" in text


def test_bit_fields_of_old_compilers(tmp_path: Path) -> None:
    btf = BtfBuilder()
    flag = btf.add_int("unsigned int", 4, bits=1)
    rest = btf.add_typedef("rest_t", btf.add_int("unsigned int", 4, bits=31, offset=1))
    btf.add_struct("flags", 4, [("flag", flag, 0), ("rest", rest, 0)])
    text = dumped(btf, tmp_path / "bits.btf")
    assert "struct flags {\n\tunsigned int flag: 1;\n\trest_t rest: 31;\n};\n" in text


def test_declared_as_something_else(tmp_path: Path) -> None:
    """A tag that is a struct and declared as a union is two in C."""
    btf = BtfBuilder()
    forward = btf.add_ptr(btf.add_fwd("x", union=True))
    number = btf.add_int("int", 4)
    btf.add_struct("x", 16, [("p", forward, 0), ("n", number, 64)])
    text = dumped(btf, tmp_path / "tags.btf")
    assert text.count("union x___2") + text.count("struct x___2") >= 1
    assert_kept(tmp_path / "tags.btf", tmp_path, "tags", min_types=0)


def test_members_of_one_name(tmp_path: Path) -> None:
    btf = BtfBuilder()
    number = btf.add_int("int", 4)
    btf.add_struct(
        "go", 16, [("_", number, 0), ("_", number, 32), ("", number, 64), ("x", number, 96)]
    )
    text = dumped(btf, tmp_path / "go.btf")
    assert "{\n\tint _;\n\tint __2;\n\tint _64;\n\tint x;\n}" in text
