"""Object files as libbpf opens them: what is found, in which order, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pybpftool.elf.relocatable import Relocatable
from pybpftool.errors import FormatError
from pybpftool.gen.bpf_object import internal_map_name, object_name
from pybpftool.gen.opening import open_bytes, open_file
from pybpftool.gen.section_names import program_type
from tests.support.bpfc import compile_object
from tests.support.objbuild import small_object

WHOLE = """
struct pair { int a; char b; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, int); __type(value, struct pair); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 5000); } events SEC(".maps");
int last = 1;
static volatile int own = 2;
const volatile long limit = 3;
int more SEC(".data.more") = 4;
__attribute__((visibility("hidden"))) int hidden;
static __attribute__((noinline)) int sub(int x) { return x * last; }
SEC("tc") int second(struct __sk_buff *skb)
{
    int key = 1;
    return bpf_map_lookup_elem(&flows, &key) ? sub(own) : limit + more + hidden;
}
SEC("?xdp") int first(struct xdp_md *ctx) { return sub(2); }
"""


def test_whole(tmp_path: Path) -> None:
    obj = open_file(compile_object(tmp_path, WHOLE, "a.b-c"))
    assert obj.name == "a_b_c"
    assert obj.license == "GPL"
    assert [(one.name, one.section, one.type, one.autoload) for one in obj.programs] == [
        ("second", "tc", "sched_cls", True),
        ("first", "xdp", "xdp", False),
    ]
    assert [one.name for one in obj.functions if one.is_subprog] == ["sub"]
    names = ["flows", "events", "a_b_c.data", "a_b_c.rodata", ".data.more", "a_b_c.bss"]
    assert sorted(one.name for one in obj.maps) == sorted(names)
    assert [one.name for one in obj.maps][:2] == names[:2]
    maps = {one.name: one for one in obj.maps}
    assert maps["flows"].definition.value_size == 8
    assert maps["events"].definition.max_entries == 8192
    assert maps["a_b_c.rodata"].data == (3).to_bytes(8, "little")
    # All of it is hidden, so that a program cannot look.
    assert [one.name for one in obj.maps if one.is_internal and not one.is_mmapable] == [
        "a_b_c.bss"
    ]
    assert {one.name for one in obj.programs[0].relocations} >= {"flows", ".data.more"}
    assert [one.kind for one in obj.programs[1].relocations] == ["call"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_by_hand(order: str) -> None:
    obj = open_bytes(small_object(order), "t")
    assert [one.name for one in obj.programs] == ["main"]
    assert [(one.name, one.definition.type) for one in obj.maps] == [("flows", 1), ("t.bss", 2)]
    assert obj.maps[1].is_mmapable


def test_variables_in_a_section_without_a_type() -> None:
    data = bytearray(small_object())
    bss = Relocatable(bytes(data)).section_of(".bss")
    (table,) = struct.unpack_from("<Q", data, 40)
    assert bss is not None
    struct.pack_into("<I", data, table + 64 * bss.number + 4, 0)  # SHT_NULL
    assert [one.name for one in open_bytes(bytes(data), "t").maps] == ["flows"]


REFUSED = [
    ('int x SEC("maps");', "old way"),
    ('struct { __uint(bogus, 1); } m SEC(".maps");', "unknown attribute 'bogus'"),
    ('struct { __uint(max_entries, 1); } m SEC(".maps");', "has no type"),
    ('int m SEC(".maps");', "not defined by a struct"),
    ('static struct { __uint(type, 1); } m SEC(".maps");', "static"),
    (
        'struct { __uint(type, 1); __uint(key_size, 8); __type(key, int); } m SEC(".maps");',
        "two",
    ),
    ('struct { __uint(type, 1); __uint(pinning, 7); } m SEC(".maps");', "pinning 7"),
    ('SEC("xdp") static int f(void *c) { return 1; }', "is static"),
    ('extern int far; SEC("xdp") int f(void *c) { return far; }', "neither .kconfig nor .ksyms"),
    (
        'int x SEC("own") = 1; SEC("xdp") int f(void *c) { return *(volatile int *)&x; }',
        "no map is",
    ),
    ('SEC(".struct_ops") int ops = 1;', "not a struct with a name"),
    ('long x SEC("version") = 1;', "not a kernel version"),
]


@pytest.mark.parametrize(("source", "sentence"), REFUSED)
def test_refused(tmp_path: Path, source: str, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        open_file(compile_object(tmp_path, source))


def test_initial_values(tmp_path: Path) -> None:
    source = """
    struct in { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
                __type(key, int); __type(value, int); } one SEC(".maps"), two SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 3); __type(key, int);
             struct in *values[]; } outer SEC(".maps") = { .values = { &one, 0, &two } };
    """
    obj = open_file(compile_object(tmp_path, source))
    outer = next(one for one in obj.maps if one.name == "outer")
    assert outer.slots == {0: "one", 2: "two"}
    assert outer.definition.inner is not None
    assert outer.definition.inner.max_entries == 1


def test_kconfig_order(tmp_path: Path) -> None:
    source = """
    #define K SEC(".kconfig") __attribute__((weak))
    extern char CONFIG_A K; extern long CONFIG_B K; extern _Bool CONFIG_C K;
    extern int CONFIG_D K; extern char CONFIG_E[5] K;
    SEC("xdp") int f(void *c)
    { return CONFIG_A + CONFIG_B + CONFIG_C + CONFIG_D + CONFIG_E[1]; }
    """
    obj = open_file(compile_object(tmp_path, source.replace("used", "")))
    (section,) = [one for one in obj.datasecs.values() if one.name == ".kconfig"]
    assert [(one.name[-1], one.offset) for one in section.variables] == [
        *(("B", 0), ("D", 8), ("A", 12)),
        *(("C", 13), ("E", 14)),
    ]
    assert obj.maps[-1].name == "t.kconfig"
    assert obj.maps[-1].definition.value_size == 19


MAP = """
struct {
    int (*type)[2];
    int (*max_entries)[1];
    int *key;
    int *value;
} counts __attribute__((section(".maps")));
"""
PROGRAM = """
int run(void *context) __attribute__((section("socket")));
int run(void *context) { return 0; }
"""


@pytest.mark.parametrize("is_needed", [True, False])
def test_damaged_btf_ext(tmp_path: Path, is_needed: bool) -> None:
    path = compile_object(tmp_path, MAP + PROGRAM if is_needed else PROGRAM)
    data = Path(path).read_bytes()
    section = Relocatable(data).section_of(".BTF.ext")
    assert section is not None
    at = section.offset + 2  # the version
    damaged = data[:at] + b"\x07" + data[at + 1 :]
    assert open_bytes(data, "t").btf_ext is not None
    if is_needed:
        with pytest.raises(FormatError, match="unknown form"):
            open_bytes(damaged, "t")
    else:
        assert open_bytes(damaged, "t").btf_ext is None


def test_every_byte_changed() -> None:
    whole = small_object()
    for at in range(len(whole)):
        for value in (0, 0x7F, 0xFF):
            try:
                open_bytes(whole[:at] + bytes([value]) + whole[at + 1 :], "t")
            except FormatError:
                pass


@pytest.mark.parametrize(
    ("section", "name"),
    [
        (".bss", "object_n.bss"),
        (".rodata", "object_n.rodata"),
        (".kconfig", "object_.kconfig"),
        (".data.a_very_long_one", ".data.a_very_lo"),
    ],
)
def test_internal_names(section: str, name: str) -> None:
    assert internal_map_name("object_name", section) == name


def test_object_names() -> None:
    assert object_name("a/b.bpf.o") == "b_bpf"
    assert object_name("b.o.o/") == "b_o"
    assert object_name("x" * 70 + ".o") == "x" * 63
    assert object_name("é.o") == "__"


def test_program_types() -> None:
    assert program_type("kprobe/do_exit") == program_type("kprobe") == "kprobe"
    assert program_type("xdp") == "xdp"
    assert program_type("xdp/eth0") == ""
    assert program_type("cgroup/dev") == "cgroup_device"
    assert program_type("kprobes") == program_type("") == ""


def test_names_that_are_empty_and_tables_that_are_compressed(tmp_path: Path) -> None:
    data = bytearray(Path(compile_object(tmp_path, "int x = 1;" + WHOLE)).read_bytes())
    elf = Relocatable(bytes(data))
    symbol = next(one for one in elf.symbols if one.name == "second")
    names = elf.sections[elf.symbol_table.link]
    place = elf.symbol_table.offset + 24 * symbol.number
    word, long = struct.Struct(f"{elf.order}I"), struct.Struct(f"{elf.order}Q")
    # The end of another name: an empty one, which is a name all the same.
    word.pack_into(data, place, bytes(data[names.offset :]).index(b"\0", 1))
    assert "" in [one.name for one in open_bytes(bytes(data), "t").programs]
    word.pack_into(data, place, names.size + 8)
    with pytest.raises(FormatError, match="has no name"):
        open_bytes(bytes(data), "t")
    (table,) = long.unpack_from(data, 40)
    long.pack_into(data, table + 64 * elf.names_index + 8, 0x800)
    with pytest.raises(FormatError, match="names are compressed"):
        Relocatable(bytes(data))
