"""Names that are no identifiers in C: dumps compile, and tell what stands for what."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pybpftool.btf.c.identifiers import Identifiers
from pybpftool.btf.keywords import is_identifier
from pybpftool.btf.table import Btf
from tests.support.bpfc import find_clang
from tests.support.btfbuild import SIGNED, BtfBuilder, Member
from tests.support.cli import run
from tests.support.elffile import object_file

NAMES = [
    "Option<core::num::NonZero<u32>>",
    "Option(core::num::NonZero(u32))",  # the same but for what C does not have
    "Option_core__num__NonZero_u32__",  # which this one has by itself
    "{closure#0}",
    "[]const u8",
    "std::vector<int, std::allocator<int> >",
    "operator==",
    "struct",
    "int",
    "register",
    "typeof",
    "__attribute__",
    "class",
    "9lives",
    "",
    " ",
    "größe",
    "größe<u8>",
    "$first$",
    "\u0301x",  # an accent that nothing stands before
    "e\u0301t\xe9",
    "x\u202ey\u200d",  # signs that change how text is shown
    "🦀",
    "a\nb",
    'quo"te',
    "back\\slash",
    "*/ int x; /*",
    "/* /",
    "\udcff\udcfe",
    "\x1b[31m",
    "%s%d%",
    "x" * 300 + "<a>",
    "x" * 300 + "<b>",
    "twin",
    "twin___2",
]


def every_kind() -> bytes:
    """Each name as that of a struct, a typedef, a value, an enum and a member."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    pointed = [btf.add_ptr(btf.add_fwd(f"{name}f")) for name in NAMES]
    for index, name in enumerate([*NAMES, "twin"]):
        struct = btf.add_struct(name, 4, [(name, number, 0)])
        btf.add_union(
            f"{name}u", 8, [(name, number, 0), (f"{name}2", struct, 0), ("p", pointed[0], 0)]
        )
        btf.add_typedef(name, struct)
        btf.add_enum(f"{name}e", [(f"{name}v", index)])
    btf.add_enum("values", [(name, index) for index, name in enumerate(NAMES)])
    proto = btf.add_func_proto(number, [(name, pointed[index]) for index, name in enumerate(NAMES)])
    function = btf.add_func("kfunc", proto)
    btf.add_decl_tag("bpf_kfunc", function)
    tagged = btf.add_type_tag('t"a\\g\n', number)
    btf.add_struct("tagged", 8, [("p", btf.add_ptr(tagged), 0)])
    return btf.build()


@pytest.mark.parametrize("form", ["", "unsorted"])
def test_names(tmp_path: Path, form: str) -> None:
    path = tmp_path / "names.btf"
    path.write_bytes(every_kind())
    dump = run("btf", "dump", "file", str(path), "format", "c", *form.split())
    assert (dump.status, dump.errors) == (0, "")
    text = dump.text
    assert "struct Option_core__num__NonZero_u32__ {\n" in text
    assert (
        "struct Option_core__num__NonZero_u32___2 {\n\tint Option_core__num__NonZero_u32___2;\n}"
        in text
    )
    assert " * Option_core__num__NonZero_u32___2: Option<core::num::NonZero<u32>>\n" in text
    assert " * Option_core__num__NonZero_u32___3: Option(core::num::NonZero(u32))\n" in text
    assert "struct größe {\n\tint größe;\n}" in text  # letters of all languages are C's
    assert "struct größe_u8_ {\n\tint größe_u8_;\n}" in text
    assert "struct $first$ {\n\tint $first$;\n}" in text
    assert "struct e\u0301t\xe9 {\n\tint e\u0301t\xe9;\n}" in text
    assert "struct _\u0301x {\n\tint _\u0301x;\n}" in text
    assert "struct x_y_ {" in text
    assert " * a_b: a\\x0ab\n" in text
    assert ": \\xff\\xfe\n" in text
    assert "struct class {\n\tint class;\n};" in text
    assert "struct int_ {\n\tint int_;\n};" in text
    assert "struct twin___3 {" in text
    clang = find_clang()
    if clang is None:
        pytest.skip("there is no clang")
    source = tmp_path / "names.c"
    source.write_bytes(dump.out)
    command = [clang, "-target", "bpf", "-g", "-w", "-c", str(source), "-o", "/dev/null"]
    assert subprocess.run(command, capture_output=True, check=False).stderr == b""


def test_names_of_one_type(tmp_path: Path) -> None:
    """A dump of one type has the names of a dump of all."""
    btf = Btf.from_bytes(every_kind())
    path = tmp_path / "names.btf"
    path.write_bytes(every_kind())
    wanted = btf.find(NAMES[1])
    result = run("btf", "dump", "file", str(path), "format", "c", "root_id", str(wanted))
    assert "struct Option_core__num__NonZero_u32___3 {" in result.text
    assert " * Option_core__num__NonZero_u32___3: Option(core::num::NonZero(u32))\n" in result.text


def test_by_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "names.btf"
    path.write_bytes(every_kind())
    words = ("btf", "dump", "file", str(path), "format", "c")
    alone = run(*words).text
    monkeypatch.setattr("pybpftool.btf.c.dump._WORTH_TWO", 1)
    monkeypatch.setattr("posix.sched_getaffinity", lambda pid: {0, 1})
    assert run(*words).text == alone


def test_identifiers_are_different() -> None:
    btf = Btf.from_bytes(every_kind())
    for until in ((), (0,), (btf.string_end // 2,), (btf.string_end - 1,)):
        names = Identifiers(btf, until)
        found = [names[offset] for offset in btf.names.fresh() if offset]
        assert all(map(is_identifier, found))
        assert len(set(found)) == len(found)


def test_numbers_of_other_languages(tmp_path: Path) -> None:
    btf = BtfBuilder()
    members: list[Member] = []
    place = 0
    for name, size, encoding in (
        ("u8", 1, 0),
        ("i128", 16, SIGNED),
        ("bool", 1, 4),
        ("char", 4, 0),
        ("int", 8, SIGNED),
        ("u24", 3, 0),
        ("()", 0, 0),
        ("_Bool", 4, 4),
        ("long unsigned int", 8, 0),
    ):
        members.append((f"m{len(members)}", btf.add_int(name, size, encoding), place))
        place += 128
    for name, size in (("f16", 2), ("f64", 8), ("long double", 16), ("float", 8), ("x87", 12)):
        members.append((f"m{len(members)}", btf.add_float(name, size), place))
        place += 128
    btf.add_struct("all", place // 8, members)
    btf.add_typedef("twice", btf.add_int("twice", 4))
    path = tmp_path / "numbers.btf"
    path.write_bytes(btf.build())
    text = run("btf", "dump", "file", str(path), "format", "c").text
    assert "typedef unsigned char u8;\n" in text
    assert "\tu8 m0;\n" in text
    assert "typedef __int128 i128;\n" in text
    assert "typedef _Bool bool;\n" in text
    assert "\tunsigned int m3;\n" in text
    assert "\tlong long m4;\n" in text
    assert (
        "struct __number3 {\n\tunsigned char bytes[3];\n};\n\ntypedef struct __number3 u24;\n"
        in text
    )
    assert "\tstruct __number0 m6;\n" in text
    assert "\tunsigned int m7;\n" in text
    assert "\tlong unsigned int m8;\n" in text
    assert "typedef unsigned short f16;\n" in text
    assert "typedef double f64;\n" in text
    assert "\t__int128 m11;\n" in text
    assert "\tdouble m12;\n" in text
    assert "typedef struct __number12 x87;\n" in text
    assert "typedef unsigned int twice;\n" in text


def test_numbers_of_other_machines(tmp_path: Path) -> None:
    """An ELF file of one tells that C is for its compilers; else C is for BPF."""
    btf = BtfBuilder()
    long, quad = btf.add_int("long double", 16), btf.add_int("_Float128", 16)
    half, other = btf.add_float("_Float16", 2), btf.add_int("long double", 8)
    members: list[Member] = [("a", long, 0), ("b", quad, 128), ("c", half, 256)]
    btf.add_struct("all", 48, members)
    btf.add_struct("one", 8, [("d", other, 0)])
    path = tmp_path / "numbers.o"
    for machine in (62, 247):
        data = bytearray(object_file({".BTF": btf.build()}))
        data[18:20] = machine.to_bytes(2, "little")
        path.write_bytes(data)
        text = run("btf", "dump", "file", str(path), "format", "c").text
        if machine != 247:
            assert "\tlong double a;\n\t_Float128 b;\n\t_Float16 c;\n" in text
        else:
            assert "\tunsigned __int128 a;\n\tunsigned __int128 b;\n\tunsigned short c;\n" in text
        assert "typedef" not in text
